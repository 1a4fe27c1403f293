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

func (c *initCmd) run(ctx context.Context, s *session, file *cli.File) error {
	machine := setup.Find("")
	o, err := c.options(ctx, s, file, machine)
	if err != nil {
		return err
	}
	plan := machine.Plan(o)
	if err := c.report(s, plan, setup.Titles(machine.Servers), o.Via.Title); err != nil {
		return err
	}
	return c.check(ctx, s)
}

// options reads the flags, and asks for what is missing. Invalid ones are refused before
// anything is asked.
func (c *initCmd) options(ctx context.Context, s *session, file *cli.File, m *setup.Machine) (o setup.Options, err error) {
	o = setup.Options{Path: cmp.Or(file.Path, cli.DefaultConfig), State: s.opts.Dir, Bin: programs(), DryRun: c.DryRun}
	servers, hint := setup.Servers, "use one of "
	if os.Geteuid() != 0 {
		servers, hint = setup.Own, "run it as root for the whole machine, or use one of "
		if err := ofUser(s, &o); err != nil {
			return o, err
		}
	}
	if _, err := c.config(s, file); err != nil {
		return o, err
	}
	if o.Via, err = c.mailServer(ctx, s, m, servers, hint); err != nil {
		return o, err
	}
	if err := c.ask(ctx, s, file, m, o.Path); err != nil {
		return o, err
	}
	o.Config, err = c.config(s, file)
	return o, err
}

// ofUser leads to what is a user's own, though the machine's configuration was read.
func ofUser(s *session, o *setup.Options) error {
	o.Personal, o.Path = true, cli.UserConfig()
	o.Home, _ = os.UserHomeDir() // without it, the recipe says ~
	if s.State == state.SystemDir {
		s.State = cli.DefaultState()
		o.State = state.Open(s.State)
	}
	if o.Path == "" {
		return failure.Failed("set HOME to a directory of this user, or run this as root for the whole machine",
			"HOME and XDG_CONFIG_HOME lead to nothing that is this user's own")
	}
	return nil
}

// mailServer returns the one that hands over the mail: the only one that is found, unless a
// flag or the person at the keyboard names another.
func (c *initCmd) mailServer(ctx context.Context, s *session, m *setup.Machine, servers []*setup.MailServer, hint string) (*setup.MailServer, error) {
	choices := m.Choices(servers)
	if len(choices) == 0 {
		choices = servers
	}
	found := cmp.Or(strings.Join(setup.Titles(m.Servers), ", "), "no mail server")
	names := strings.Join(setup.Names(choices), ", ")
	name := cmp.Or(c.Via, choices[0].Name)
	if c.Via == "" && len(choices) > 1 {
		if s.term == nil {
			return nil, failure.Usage(hint+names, "--via is missing; found: %s", found)
		}
		answer, err := s.term.ask(ctx, fmt.Sprintf("Found: %s. Which one hands over the mail? (%s) [%s] ", found, names, name))
		if err != nil {
			return nil, err
		}
		name = cmp.Or(answer, name)
	}
	via := setup.ByName(servers, name)
	if via == nil {
		return nil, failure.Usage(hint+strings.Join(setup.Names(servers), ", "), "--via: unknown mail server %q", name)
	}
	return via, nil
}

// ask asks for flags that a new configuration should have.
func (c *initCmd) ask(ctx context.Context, s *session, file *cli.File, m *setup.Machine, path string) error {
	if _, err := os.Stat(path); err == nil { // an admin was asked when that was written
		return nil
	}
	if m.Signed() == "" {
		if err := c.fill(ctx, s, file, &c.DKIMKey, "Replies must leave with a DKIM signature, and no signer was found that sees them.\n"+
			"A key for postseal to sign with, as DOMAIN:SELECTOR:FILE? (Enter: somebody else signs) "); err != nil {
			return err
		}
	}
	return c.fill(ctx, s, file, &c.Contact, "An address where the CA may reach you? (Enter: none) ")
}

// fill asks for a flag that is missing, and refuses an invalid answer before the next question.
func (c *initCmd) fill(ctx context.Context, s *session, file *cli.File, flag *[]string, prompt string) error {
	if len(*flag) > 0 {
		return nil
	}
	answer, err := s.term.ask(ctx, prompt)
	if answer == "" {
		return err
	}
	*flag = []string{answer}
	_, err = c.config(s, file)
	return err
}

// config reads the flags that the file will have.
func (c *initCmd) config(s *session, file *cli.File) (conf setup.Config, err error) {
	conf = setup.Config{
		State: s.State, DefaultState: cli.DefaultState(), Server: s.server(), DefaultServer: issuer.DefaultServer,
		AgreeTOS: c.AgreeTOS, SMTP: c.SMTP, Resolver: c.Resolver,
	}
	conf.CABundle = absolute(s.CABundle)
	if conf.Contact, err = cert.ParseAddresses(c.Contact); err != nil {
		return conf, err
	}
	if err := cmp.Or(checkSMTP(cmp.Or(c.SMTP, setup.DefaultSMTP)), cli.CheckResolver(c.Resolver)); err != nil {
		return conf, err
	}
	for _, value := range c.DKIMKey {
		key, err := readKey(value)
		if err != nil {
			return conf, err
		}
		conf.DKIM = append(conf.DKIM, key)
	}
	if cli.HasPassword(s.State) {
		conf.State = "" // it is that of the file, which stays as it is
		if file.Path == "" {
			err = failure.Usage("name a file that holds it: password-file=FILE in the URL",
				"--state: a password is not for a file that everybody may read")
		}
	}
	return conf, err
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
func (c *initCmd) report(s *session, plan *setup.Plan, found []string, via string) error {
	out := s.prose()
	if s.JSON {
		out = io.Discard
	}
	fmt.Fprintf(out, "%-10s  %s; %s signs replies\n", "found",
		cmp.Or(strings.Join(found, ", "), "no mail server"), cmp.Or(plan.Signer, "nobody that is known"))
	for i := range plan.Steps {
		step := &plan.Steps[i]
		if !c.DryRun {
			if err := step.Do(); err != nil {
				return failure.Failed("put that right and run it again: what is done stays", "%v", err)
			}
		}
		fmt.Fprintf(out, "%-10s  %s (%s)\n", step.Status, step.What, step.Detail)
	}
	if s.JSON {
		return printJSON(plan)
	}
	for _, step := range plan.Steps {
		indented(out, step.What+" would be:", step.Text)
	}
	fmt.Fprintf(out, "\nThe rest is yours: postseal changes no file of %s.\n", via)
	for _, l := range plan.Lines {
		indented(out, fmt.Sprintf(where[l.Place], l.File, l.Mode), l.Text)
	}
	indented(out, "Then run:", strings.Join(plan.Commands, "\n"))
	address := slices.Concat(c.Email, c.Contact, []string{"you@example.org"})[0]
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
func (c *initCmd) check(ctx context.Context, s *session) error {
	if !c.Check || c.DryRun {
		return nil
	}
	cmd := exec.CommandContext(ctx, os.Args[0], "check")
	for _, addr := range c.Email {
		cmd.Args = append(cmd.Args, "-e", addr)
	}
	cmd.Stdout, cmd.Stderr = s.prose(), os.Stderr
	if err := cmd.Run(); err != nil {
		return failure.Failed("see its hints above; run it again with: postseal check", "the check found something: %v", err)
	}
	return nil
}
