package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	o, err := c.options(s, file)
	if err != nil {
		return err
	}
	machine := setup.Find("")
	if err := c.ask(ctx, s, machine, &o); err != nil {
		return err
	}
	plan, err := machine.Plan(o)
	if err != nil {
		return failure.Config("correct the file, or move it away", "%s: %v", o.Path, err)
	}
	if err := c.report(s, plan, o, setup.Titles(machine.Servers)); err != nil {
		return err
	}
	return c.check(ctx, s)
}

// options reads the flags. Invalid ones are refused before anything is asked.
func (c *initCmd) options(s *session, file *cli.File) (o setup.Options, err error) {
	o = setup.Options{Personal: os.Geteuid() != 0, State: s.opts.Dir, Bin: programs(), DryRun: c.DryRun}
	if o.Personal && s.State == state.SystemDir { // of the machine's configuration
		s.State = cli.DefaultState()
		o.State = state.Open(s.State)
	}
	if o.Via, err = mailServer(c.Via); err != nil {
		return o, err
	}
	for _, addrs := range []*[]string{&c.Email, &c.Contact} {
		if *addrs, err = cert.ParseAddresses(*addrs); err != nil {
			return o, err
		}
	}
	if o.Config, err = c.config(s, file); err != nil {
		return o, err
	}
	o.Path = cmp.Or(file.Path, cli.UserConfig(), cli.DefaultConfig)
	if o.Personal && o.Path == cli.DefaultConfig { // which is the machine's
		o.Path = cli.UserConfig()
	}
	if o.Home, err = os.UserHomeDir(); o.Personal && (err != nil || o.Path == "") {
		return o, failure.Failed("set HOME to a directory of this user, or run this as root for the whole machine",
			"HOME and XDG_CONFIG_HOME lead to nothing that is this user's own")
	}
	return o, nil
}

func (c *initCmd) config(s *session, file *cli.File) (conf setup.Config, err error) {
	conf = setup.Config{
		State: s.State, DefaultState: cli.DefaultState(), DefaultServer: issuer.DefaultServer,
		Contact: c.Contact, AgreeTOS: c.AgreeTOS, Resolver: c.Resolver,
	}
	if server := s.server(); server != issuer.DefaultServer {
		conf.Server = server
	}
	if c.SMTP != setup.DefaultSMTP {
		conf.SMTP = c.SMTP
	}
	for _, err := range []error{checkSMTP(cmp.Or(c.SMTP, setup.DefaultSMTP)), cli.CheckResolver(c.Resolver)} {
		if err != nil {
			return conf, err
		}
	}
	for _, value := range c.DKIMKey {
		if err := addKey(&conf, value); err != nil {
			return conf, err
		}
	}
	switch {
	case !cli.IsURL(s.State):
		conf.State, err = filepath.Abs(s.State)
	case cli.HasPassword(s.State) && file.Path == "":
		err = failure.Usage("name a file that holds it: password-file=FILE in the URL",
			"--state: a password is not for a file that everybody may read")
	case cli.HasPassword(s.State): // it is that of the file, which stays as it is
		conf.State = ""
	}
	if err == nil && s.CABundle != "" {
		conf.CABundle, err = filepath.Abs(s.CABundle)
	}
	return conf, err
}

// programs returns the directory of this program if the others are there too, else the
// usual one.
func programs() string {
	self, err := os.Executable()
	dir := filepath.Dir(self)
	if _, missing := os.Stat(filepath.Join(dir, "postseal-pipe")); errors.Join(err, missing) != nil {
		return "/usr/bin"
	}
	return dir
}

// check runs "postseal check" as a program of its own: it reads the configuration that
// has just been written.
func (c *initCmd) check(ctx context.Context, s *session) error {
	if !c.Check && !c.DryRun {
		answer, err := s.term.ask(ctx, "Is that done? Then \"postseal check\" can look at it now. [y/N] ")
		if err != nil {
			return err
		}
		c.Check = yes(answer)
	}
	if !c.Check || c.DryRun {
		return nil
	}
	args := []string{"check"}
	for _, addr := range c.Email {
		args = append(args, "-e", addr)
	}
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Stdout, cmd.Stderr = s.prose(), os.Stderr
	if err := cmd.Run(); err != nil {
		return failure.Failed("see its hints above; run it again with: postseal check", "the check found something: %v", err)
	}
	return nil
}

// mailServer returns that of a name, and nil for none.
func mailServer(name string) (*setup.MailServer, error) {
	if s := setup.ByName(name); s != nil || name == "" {
		return s, nil
	}
	return nil, failure.Usage("use one of "+strings.Join(setup.Names(setup.Servers), ", "), "--via: unknown mail server %q", name)
}

// checkSMTP refuses what the mail half would, among it a password: everybody may read
// the file.
func checkSMTP(value string) error {
	if value == "" {
		return nil
	}
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

// addKey reads DOMAIN:SELECTOR:FILE and looks whether the file is there.
func addKey(conf *setup.Config, value string) error {
	f := dkimKey.FindStringSubmatch(value)
	if f == nil {
		return failure.Usage("for example: --dkim-key example.org:s1:/etc/postseal/example.org.pem",
			"--dkim-key: %q is not DOMAIN:SELECTOR:FILE", value)
	}
	path, err := filepath.Abs(f[3])
	if err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return failure.Config("give a PEM file with the private key", "--dkim-key: %v", err)
	}
	if !strings.Contains(string(data), "PRIVATE KEY-----") {
		return failure.Config("give a PEM file, PKCS#8 or PKCS#1, RSA or Ed25519", "--dkim-key: %q holds no private key", path)
	}
	conf.DKIM = append(conf.DKIM, setup.DKIMKey{Domain: f[1], Selector: f[2], Key: path})
	return nil
}
