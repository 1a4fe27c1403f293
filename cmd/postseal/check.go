package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"postseal/internal/check"
	"postseal/internal/cli"
	"postseal/internal/failure"
	"postseal/internal/hostport"
	"postseal/internal/printable"
	"postseal/issuer/ca"
	"postseal/issuer/cert"
)

// checkCmd are the flags of "postseal check".
type checkCmd struct {
	Email            []string `short:"e" placeholder:"ADDR" help:"An address that a certificate is for (repeatable)."`
	Milter           string   `placeholder:"ADDR" help:"Where postseal-milter listens: unix:PATH or inet:PORT@HOST (default: its \"listen\" in the configuration file, else what smtpd_milters says)."`
	Listen           string   `hidden:""` // of postseal-milter, whose file this is too
	PostfixConfig    string   `placeholder:"DIR" help:"Directory of Postfix's configuration (default: its own)."`
	MailUser         string   `placeholder:"USER" help:"Who the mail half runs as (default: postseal)."`
	SMTP             string   `name:"smtp" placeholder:"URL" default:"smtp://localhost:25" help:"Where replies go, as for postseal-milter (default: ${default})."`
	SMTPCA           string   `name:"smtp-ca" placeholder:"FILE" help:"PEM roots for the SMTP server's certificate (default: the system's)."`
	SMTPPasswordFile string   `name:"smtp-password-file" placeholder:"FILE" help:"File that holds the password of the SMTP user (or: POSTSEAL_SMTP_PASSWORD)."`
	Helo             string   `placeholder:"NAME" help:"Name of this host in EHLO, as for postseal-milter (default: its fully qualified name, else its address)."`
	Resolver         string   `placeholder:"HOST:PORT" help:"DNS server (default: the system's)."`
	MailTo           string   `placeholder:"ADDR" help:"Send a message in the form of a reply there, from the address given with -e."`
	Mailbox          string   `placeholder:"PATH" help:"Maildir or mbox file where it arrives: wait for it and look at it."`
	Message          string   `placeholder:"FILE" help:"Look at this copy of one that arrived."`
}

const failureHint = "do what the hint below each failure says, then run the same command again"

// checkJSON is the JSON document of check. The names are stable.
type checkJSON struct {
	Checks   []check.Finding `json:"checks"`
	Skipped  int             `json:"skipped"` // not looked at
	Warnings int             `json:"warnings"`
	Failures int             `json:"failures"`
}

func (c *checkCmd) run(ctx context.Context, s *session, file *cli.File) error {
	o, err := c.options(s, file)
	if err != nil {
		return err
	}
	doc := checkJSON{Checks: []check.Finding{}}
	lookErr := look(ctx, o, func(f check.Finding) {
		f.Text, f.Hint = cli.OneLine(f.Text), cli.OneLine(f.Hint)
		doc.add(f)
		if !s.JSON {
			fmt.Print(findingLine(f, colours(os.Stdout)))
		}
	})
	if s.JSON && len(doc.Checks) > 0 {
		if err := printJSON(doc); err != nil {
			return err
		}
	}
	if lookErr != nil {
		return lookErr
	}
	return doc.err()
}

func (d *checkJSON) add(f check.Finding) {
	d.Checks = append(d.Checks, f)
	switch f.Status {
	case check.Skipped:
		d.Skipped++
	case check.Warning:
		d.Warnings++
	case check.Failure:
		d.Failures++
	}
}

func (d *checkJSON) err() error {
	switch d.Failures {
	case 0:
		return nil
	case 1:
		return failure.Failed(failureHint, "1 failure")
	}
	return failure.Failed(failureHint, "%d failures", d.Failures)
}

// findingLine is the line about a finding, and a second one with what to do.
func findingLine(f check.Finding, coloured bool) string {
	status := fmt.Sprintf("%-8s", f.Status)
	if coloured {
		status = statusColours[f.Status] + status + plainAgain
	}
	line := fmt.Sprintf("%s %s: %s\n", status, f.Check, f.Text)
	if f.Hint != "" {
		line += "         hint: " + f.Hint + "\n"
	}
	return line
}

func (c *checkCmd) options(s *session, file *cli.File) (check.Options, error) {
	emails, err := cert.ParseAddresses(c.Email)
	if err != nil {
		return check.Options{}, err
	}
	if c.MailTo != "" {
		if _, err := cert.ParseAddresses([]string{c.MailTo}); err != nil {
			return check.Options{}, err
		}
	}
	if err := cli.CheckResolver(c.Resolver); err != nil {
		return check.Options{}, err
	}
	if c.Helo != "" {
		if err := hostport.CheckName(c.Helo); err != nil {
			return check.Options{}, failure.Usage("for example: --helo mx1.example.org", "--helo: %v", err)
		}
	}
	password, _ := file.Password(c.SMTPPasswordFile) // an unreadable file is a finding of the check, not an error here
	redis := ""
	if cli.IsURL(s.State) {
		redis = s.State
	}
	return check.Options{
		Config: c.config(s, file), State: s.opts.Dir.Path(), Redis: redis, MailUser: c.MailUser, Version: cli.Version(),
		Server: s.server(), Account: ca.KnownAccount(s.opts.Dir, s.server()), CABundle: s.CABundle, Emails: emails, Resolver: c.Resolver,
		PostfixConfig: c.PostfixConfig, Milter: cmp.Or(c.Milter, c.Listen),
		SMTP: c.SMTP, Helo: c.Helo, SMTPCA: c.SMTPCA, SMTPPassword: password,
		MailTo: c.MailTo, Mailbox: c.Mailbox, Message: c.Message,
	}, nil
}

func (c *checkCmd) config(s *session, file *cli.File) check.Config {
	conf := check.Config{Path: file.Path, SMIMERoots: file.SMIME.Roots, SMTPPasswordFile: c.SMTPPasswordFile, Passphrase: file.Has("passphrase")}
	for _, name := range []string{"*", s.server()} {
		if _, ok := file.CA[name]; ok {
			conf.CATable, conf.TrustedAuthservID = name, file.CA[name].TrustedAuthservID
		}
	}
	for _, k := range file.DKIM {
		key := check.DKIMKey{Domain: k.Domain, Selector: k.Selector, Path: k.Key}
		signer, err := k.Signer()
		if err == nil {
			key.Public, err = x509.MarshalPKIXPublicKey(signer.Public())
		}
		if err != nil && !errors.As(err, new(*fs.PathError)) { // postseal-check says if the file is unreadable
			key.Wrong = err.Error()
		}
		conf.DKIM = append(conf.DKIM, key)
	}
	return conf
}

// libexec is where packages put programs that only other programs start.
var libexec = "/usr/libexec/postseal"

// look has postseal-check look at everything, and tells each finding. The options,
// a password among them, go to its standard input and nowhere else.
func look(ctx context.Context, o check.Options, tell func(check.Finding)) error {
	program, err := findProgram("postseal-check")
	if err != nil {
		return err
	}
	options, err := json.Marshal(o)
	if err != nil {
		return err
	}
	child, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(child, program)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(options), printable.Writer(os.Stderr)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "POSTSEAL_") })
	// In a group of its own, so that Ctrl-C is for us alone, and ends what it has started, too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return failure.Unreadable(err, "see whether this user may run it", "cannot start postseal-check: %v", err)
	}
	said := readFindings(out, tell)
	if said != nil && said != io.EOF {
		stop()
	}
	ended := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case child.Err() != nil:
		return failure.Failed("install postseal and postseal-check from the same release", "%s: %v", program, said)
	case ended != nil:
		return failure.Failed("run the same command again; if that does not help, report it", "%s did not come to its end: %v", program, ended)
	case said != nil:
		return failure.Failed("install postseal and postseal-check from the same release", "%s found nothing to say", program)
	}
	return nil
}

// findProgram looks beside this program, then where packages put it.
func findProgram(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	dirs := []string{filepath.Dir(self), libexec}
	for _, dir := range dirs {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", failure.Config("install it from the same release, beside postseal", "%s is neither in %s nor in %s", name, dirs[0], dirs[1])
}

// Bounds of postseal-check's output: it reads mail, so it is not trusted either.
const (
	maxFinding  = 64 << 10
	maxFindings = 10_000
)

// readFindings tells each finding, one a line, of which there is at least one.
func readFindings(in io.Reader, tell func(check.Finding)) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxFinding)
	n := 0
	for lines.Scan() {
		n++
		var f check.Finding
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil || statusColours[f.Status] == "" || n > maxFindings {
			return fmt.Errorf("line %d is not a finding", n)
		}
		tell(f)
	}
	if n == 0 && lines.Err() == nil {
		return io.EOF
	}
	return lines.Err()
}
