package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"postseal/internal/cli"
	"postseal/internal/failure"
	"postseal/internal/hostport"
	"postseal/internal/setup"
	"postseal/issuer"
	"postseal/issuer/cert"
	"postseal/state"
)

// initCmd are the flags of "postseal init".
type initCmd struct {
	Email    []string `short:"e" placeholder:"ADDR" help:"An address of yours, for the check and the examples."`
	Via      string   `placeholder:"NAME" help:"Who hands over the mail: postfix, sendmail, exim, opensmtpd, courier, dovecot, procmail, maildrop, postfix-pipe or none (default: what is found)."`
	Contact  []string `placeholder:"ADDR" help:"Where the CA may reach you."`
	AgreeTOS bool     `name:"agree-tos" help:"Agree to the CA's terms of service."`
	DKIMKey  []string `name:"dkim-key" sep:"none" placeholder:"DOMAIN:SELECTOR:FILE" help:"Let postseal sign its replies with this key (default: the mail server signs)."`
	SMTP     string   `name:"smtp" placeholder:"URL" help:"Where replies go (default: smtp://localhost:25)."`
	Resolver string   `placeholder:"HOST:PORT" help:"DNS server for DKIM keys (default: the system's)."`
	DryRun   bool     `help:"Show what would be done, and change nothing."`
	Check    bool     `help:"Run \"postseal check\" at the end."`
}

// initRun is one run of the command.
type initRun struct {
	*initCmd
	*session
	file    *cli.File
	machine *setup.Machine
	servers []*setup.MailServer // of which the caller can choose one
	hint    string              // introduces their names
	options setup.Options
}

func (c *initCmd) run(ctx context.Context, s *session, file *cli.File) error {
	r := &initRun{
		initCmd: c, session: s, file: file, machine: setup.Find(""), servers: setup.Servers, hint: "use one of ",
		options: setup.Options{Path: cmp.Or(file.Path, cli.DefaultConfig), State: s.opts.Dir, Bin: programs(), DryRun: c.DryRun},
	}
	if err := r.complete(ctx); err != nil {
		return err
	}
	if err := r.report(r.machine.Plan(r.options)); err != nil {
		return err
	}
	return r.check(ctx)
}

// complete reads the flags, and asks for what is missing. It refuses invalid ones before it
// asks anything.
func (r *initRun) complete(ctx context.Context) error {
	if os.Geteuid() != 0 {
		if err := r.ofUser(); err != nil {
			return err
		}
	}
	if err := r.configure(); err != nil {
		return err
	}
	if err := r.choose(ctx); err != nil {
		return err
	}
	return r.ask(ctx)
}

// ofUser turns to what is a user's own, even if that user has read the machine's configuration.
func (r *initRun) ofUser() error {
	r.servers, r.hint = setup.Own, "run it as root for the whole machine, or use one of "
	r.options.Personal, r.options.Path = true, cli.UserConfig()
	r.options.Home, _ = os.UserHomeDir() // without it, the recipe says ~
	if r.State == state.SystemDir {
		r.State = cli.DefaultState()
		r.options.State = state.Open(r.State)
	}
	if r.options.Path == "" {
		return failure.Failed("set HOME to a directory of this user, or run this as root for the whole machine",
			"HOME and XDG_CONFIG_HOME lead to nothing that is this user's own")
	}
	return nil
}

// choose finds out who hands over the mail: the only one that is there, unless a flag or the
// person at the keyboard names another.
func (r *initRun) choose(ctx context.Context) error {
	choices := r.machine.Choices(r.servers)
	if len(choices) == 0 {
		choices = r.servers
	}
	names := strings.Join(setup.Names(choices), ", ")
	name := cmp.Or(r.Via, choices[0].Name)
	if r.Via == "" && len(choices) > 1 {
		if r.term == nil {
			return failure.Usage(r.hint+names, "--via is missing; found: %s", r.found())
		}
		answer, err := r.term.ask(ctx, fmt.Sprintf("Found: %s. Which one hands over the mail? (%s) [%s] ", r.found(), names, name))
		if err != nil {
			return err
		}
		name = cmp.Or(answer, name)
	}
	known := setup.Names(r.servers)
	n := slices.Index(known, name)
	if n < 0 {
		return failure.Usage(r.hint+strings.Join(known, ", "), "--via: unknown mail server %q", name)
	}
	r.options.Via = r.servers[n]
	return nil
}

// found names the mail servers of the machine.
func (r *initRun) found() string {
	return cmp.Or(strings.Join(setup.Titles(r.machine.Servers), ", "), "no mail server")
}

// ask asks for flags that a new configuration should have.
func (r *initRun) ask(ctx context.Context) error {
	if _, err := os.Stat(r.options.Path); err == nil { // an admin was asked when that was written
		return nil
	}
	if r.machine.Signed() == "" {
		if err := r.fill(ctx, &r.DKIMKey, "Replies must leave with a DKIM signature, and no signer was found that sees them.\n"+
			"A key for postseal to sign with, as DOMAIN:SELECTOR:FILE? (Enter: somebody else signs) "); err != nil {
			return err
		}
	}
	return r.fill(ctx, &r.Contact, "An address where the CA may reach you? (Enter: none) ")
}

// fill asks for a flag that is missing, and refuses an invalid answer before the next question.
func (r *initRun) fill(ctx context.Context, flag *[]string, prompt string) error {
	if len(*flag) > 0 {
		return nil
	}
	answer, err := r.term.ask(ctx, prompt)
	if answer == "" {
		return err
	}
	*flag = []string{answer}
	return r.configure()
}

// configure reads the flags that the file will have.
func (r *initRun) configure() (err error) {
	conf := setup.Config{
		State: absolute(r.State), DefaultState: cli.DefaultState(), Server: r.server(), DefaultServer: issuer.DefaultServer,
		CABundle: absolute(r.CABundle), AgreeTOS: r.AgreeTOS, SMTP: r.SMTP, Resolver: r.Resolver,
	}
	if conf.Contact, err = cert.ParseAddresses(r.Contact); err != nil {
		return err
	}
	if err := cmp.Or(checkSMTP(cmp.Or(r.SMTP, setup.DefaultSMTP)), cli.CheckResolver(r.Resolver)); err != nil {
		return err
	}
	for _, value := range r.DKIMKey {
		key, err := readKey(value)
		if err != nil {
			return err
		}
		conf.DKIM = append(conf.DKIM, key)
	}
	if cli.HasPassword(r.State) {
		conf.State = "" // it is that of the file, which stays as it is
		if r.file.Path == "" {
			return failure.Usage("name a file that holds it: password-file=FILE in the URL",
				"--state: a password is not for a file that everybody may read")
		}
	}
	r.options.Config = conf
	return nil
}

// absolute makes a path, if it is one, independent of the directory that this runs in.
func absolute(path string) string {
	if path == "" || cli.IsURL(path) {
		return path
	}
	abs, _ := filepath.Abs(path)
	return cmp.Or(abs, path)
}

// checkSMTP refuses what the mail half would, among it a password: everybody may read the file.
func checkSMTP(value string) error {
	_, err := hostport.ParseSMTP(value)
	switch {
	case errors.Is(err, hostport.ErrPassword):
		return failure.Usage("put it into a file, and name that as smtp-password-file in the configuration", "--smtp: %v", err)
	case err != nil:
		return failure.Usage("for example: --smtp "+setup.DefaultSMTP, "--smtp: %v", err)
	}
	return nil
}

var dkimKey = regexp.MustCompile(`^([^:]+):([^:]+):(.+)$`)

// readKey reads DOMAIN:SELECTOR:FILE and looks whether the file is there.
func readKey(value string) (key setup.DKIMKey, err error) {
	f := dkimKey.FindStringSubmatch(value)
	if f == nil {
		return key, failure.Usage("for example: --dkim-key example.org:s1:/etc/postseal/example.org.pem",
			"--dkim-key: %q is not DOMAIN:SELECTOR:FILE", value)
	}
	key = setup.DKIMKey{Domain: f[1], Selector: f[2], Key: absolute(f[3])}
	data, err := os.ReadFile(key.Key)
	if err != nil {
		return key, failure.Config("give a PEM file with the private key", "--dkim-key: %v", err)
	}
	if !strings.Contains(string(data), "PRIVATE KEY-----") {
		return key, failure.Config("give a PEM file, PKCS#8 or PKCS#1, RSA or Ed25519", "--dkim-key: %q holds no private key", key.Key)
	}
	return key, nil
}

// programs returns the directory of this program if the others are there too, else the usual
// one.
func programs() string {
	self, err := os.Executable()
	dir := filepath.Dir(self)
	if _, missing := os.Stat(filepath.Join(dir, "postseal-pipe")); errors.Join(err, missing) != nil {
		return "/usr/bin"
	}
	return dir
}

// report does the steps and tells of them, and of what is left to the admin.
func (r *initRun) report(plan *setup.Plan) error {
	out := r.prose()
	if r.JSON {
		out = io.Discard
	}
	fmt.Fprintf(out, "%-10s  %s; %s signs replies\n", "found", r.found(), cmp.Or(plan.Signer, "nobody that is known"))
	for i := range plan.Steps {
		step := &plan.Steps[i]
		if !r.DryRun {
			if err := step.Do(); err != nil {
				return failure.Failed("put that right and run it again: what is done stays", "%v", err)
			}
		}
		fmt.Fprintf(out, "%-10s  %s (%s)\n", step.Status, step.What, step.Detail)
	}
	if r.JSON {
		return printJSON(plan)
	}
	for _, step := range plan.Steps {
		indented(out, step.What+" would be:", step.Text)
	}
	fmt.Fprintf(out, "\nThe rest is yours: postseal changes no file of %s.\n", r.options.Via.Title)
	for _, l := range plan.Lines {
		indented(out, fmt.Sprintf(where[l.Place], l.File, l.Mode), l.Text)
	}
	indented(out, "Then run:", strings.Join(plan.Commands, "\n"))
	address := slices.Concat(r.Email, r.Contact, []string{"you@example.org"})[0]
	indented(out, "To see that it works, and for the first certificate:", "postseal check -e "+address+"\npostseal cert -e "+address)
	for _, note := range plan.Notes {
		fmt.Fprintf(out, "\nNote: %s\n", note)
	}
	return nil
}

// where says in words where lines go.
var where = map[setup.Place]string{
	setup.NewFile: "Make the file %[1]s (mode %[2]s) with:",
	setup.AtEnd:   "Add at the end of %[1]s:",
	setup.AtStart: "Add at the beginning of %[1]s (mode %[2]s if it is new):",
	setup.Instead: "In %[1]s, instead of what has the same name there:",
	setup.Above:   "Add to %[1]s, above MAILER_DEFINITIONS:",
}

var hasText = regexp.MustCompile(`(?m)^.*\S`)

// indented shows text below a line that says what it is, unless there is none.
func indented(out io.Writer, title, text string) {
	if text != "" {
		fmt.Fprintf(out, "\n%s\n\n%s\n", title, hasText.ReplaceAllString(strings.TrimRight(text, "\n"), "    $0"))
	}
}

// check runs "postseal check" as a program of its own: it reads the configuration that has
// just been written.
func (r *initRun) check(ctx context.Context) error {
	if !r.Check || r.DryRun {
		return nil
	}
	cmd := exec.CommandContext(ctx, os.Args[0], "check")
	for _, addr := range r.Email {
		cmd.Args = append(cmd.Args, "-e", addr)
	}
	cmd.Stdout, cmd.Stderr = r.prose(), os.Stderr
	if err := cmd.Run(); err != nil {
		return failure.Failed("see its hints above; run it again with: postseal check", "the check found something: %v", err)
	}
	return nil
}
