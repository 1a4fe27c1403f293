package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"postseal/internal/cli"
	"postseal/internal/failure"
	"postseal/internal/setup"
	"postseal/internal/submit"
	"postseal/issuer"
	"postseal/issuer/cert"
	"postseal/state"
)

// initCmd are the flags of "postseal init".
type initCmd struct {
	Email    []string `short:"e" placeholder:"ADDR" help:"An address of yours, for the check and the examples."`
	Via      string   `placeholder:"NAME" help:"Who hands over the mail: postfix, sendmail, exim, opensmtpd, dovecot, procmail, maildrop, postfix-pipe or none (default: what is found)."`
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
	out := &initReport{session: s, machine: machine, o: o, plan: plan, dryRun: c.DryRun, address: c.address()}
	if err := out.run(); err != nil {
		return err
	}
	return c.check(ctx, s)
}

// options reads the flags. What they cannot be is refused before anything is asked.
func (c *initCmd) options(s *session, file *cli.File) (setup.Options, error) {
	o := setup.Options{Personal: os.Geteuid() != 0, Path: initPath(file), State: s.opts.Dir, Redis: cli.IsURL(s.State), Bin: programs()}
	if c.Via != "" {
		if o.Neighbour = setup.ByName(c.Via); o.Neighbour == nil {
			return o, failure.Usage("use one of "+strings.Join(setup.Names(), ", "), "--via: unknown mail server %q", c.Via)
		}
	}
	for _, addrs := range []*[]string{&c.Email, &c.Contact} {
		var err error
		if *addrs, err = cert.ParseAddresses(*addrs); err != nil {
			return o, err
		}
	}
	var err error
	if o.Config, err = c.config(s, file, o.Personal); err != nil {
		return o, err
	}
	if o.Personal {
		if o.Home, err = os.UserHomeDir(); err != nil || o.Path == "" {
			return o, failure.Failed("set HOME to a directory of this user, or run this as root for the whole machine", "HOME and XDG_CONFIG_HOME lead to nothing that is this user's own")
		}
		if s.State == state.SystemDir { // of the machine's configuration
			o.State = state.Open(cli.DefaultState())
		}
	}
	return o, nil
}

func (c *initCmd) config(s *session, file *cli.File, personal bool) (setup.Config, error) {
	conf := setup.Config{DefaultState: cli.DefaultState(), DefaultServer: issuer.DefaultServer, CABundle: s.CABundle, Contact: c.Contact, AgreeTOS: c.AgreeTOS, Resolver: c.Resolver}
	switch {
	case personal && s.State == state.SystemDir: // of the machine's configuration
		conf.State = cli.DefaultState()
	case !cli.HasPassword(s.State):
		conf.State = s.State
	case file.Path == "": // else it is that of the file, which stays as it is
		return conf, failure.Usage("name a file that holds it: password-file=FILE in the URL", "--state: a password is not for a file that everybody may read")
	}
	if server := s.server(); server != issuer.DefaultServer {
		conf.Server = server
	}
	if c.SMTP != "" && c.SMTP != setup.DefaultSMTP {
		conf.SMTP = c.SMTP
	}
	if err := checkSMTP(c.SMTP); err != nil {
		return conf, err
	}
	if err := cli.CheckResolver(c.Resolver); err != nil {
		return conf, err
	}
	for _, value := range c.DKIMKey {
		key, err := parseDKIMKey(value)
		if err != nil {
			return conf, err
		}
		conf.DKIM = append(conf.DKIM, key)
	}
	if !cli.IsURL(conf.State) {
		if err := absolute(&conf.State); err != nil {
			return conf, err
		}
	}
	return conf, absolute(&conf.CABundle)
}

// initPath is the file that init writes: the one in use, unless that is the
// machine's and this user another than root.
func initPath(file *cli.File) string {
	own := cli.UserConfig()
	switch {
	case file.Path != "" && (os.Geteuid() == 0 || file.Path != cli.DefaultConfig):
		return file.Path
	case os.Geteuid() == 0:
		return cli.DefaultConfig
	}
	return own
}

// programs returns the directory of this program if the others are there too, "" for
// the usual one.
func programs() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	dir := filepath.Dir(self)
	if _, err := os.Stat(filepath.Join(dir, "postseal-pipe")); err != nil {
		return ""
	}
	return dir
}

// address is one for the examples.
func (c *initCmd) address() string {
	for _, addrs := range [][]string{c.Email, c.Contact} {
		if len(addrs) > 0 {
			return addrs[0]
		}
	}
	return "you@example.org"
}

// check runs "postseal check" as a program of its own: it reads the configuration that
// has just been written.
func (c *initCmd) check(ctx context.Context, s *session) error {
	if !c.Check && !c.DryRun && s.term != nil {
		answer, err := s.term.ask(ctx, "Is that done? Then \"postseal check\" can look at it now. [y/N] ")
		if err != nil {
			return err
		}
		c.Check = yes(answer)
	}
	if !c.Check || c.DryRun {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return failure.Failed("run: postseal check", "this program cannot be found: %v", err)
	}
	args := []string{"check"}
	for _, addr := range c.Email {
		args = append(args, "-e", addr)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stdout, cmd.Stderr = s.prose(), os.Stderr
	if err := cmd.Run(); err != nil {
		return failure.Failed("see its hints above; run it again with: postseal check", "the check found something: %v", err)
	}
	return nil
}

func yes(answer string) bool {
	answer = strings.ToLower(answer)
	return answer == "y" || answer == "yes"
}

// checkSMTP refuses what the mail half would, among it a password: everybody may read
// the file.
func checkSMTP(value string) error {
	if value == "" {
		return nil
	}
	hint := "for example: --smtp " + setup.DefaultSMTP
	if _, err := submit.ParseServer(value); err != nil {
		if errors.Is(err, submit.ErrPassword) {
			hint = "put it into a file, and name that as smtp-password-file in the configuration"
		}
		return failure.Usage(hint, "--smtp: %v", err)
	}
	return nil
}

// parseDKIMKey reads DOMAIN:SELECTOR:FILE and looks whether the file is there.
func parseDKIMKey(value string) (setup.DKIMKey, error) {
	const hint = "for example: --dkim-key example.org:s1:/etc/postseal/example.org.pem"
	f := strings.SplitN(value, ":", 3)
	if len(f) < 3 || f[0] == "" || f[1] == "" || f[2] == "" {
		return setup.DKIMKey{}, failure.Usage(hint, "--dkim-key: %q is not DOMAIN:SELECTOR:FILE", value)
	}
	key := setup.DKIMKey{Domain: f[0], Selector: f[1], Key: f[2]}
	if err := absolute(&key.Key); err != nil {
		return key, err
	}
	data, err := os.ReadFile(key.Key)
	if err != nil {
		return key, failure.Config("give a PEM file with the private key", "--dkim-key: %v", err)
	}
	if !strings.Contains(string(data), "PRIVATE KEY-----") {
		return key, failure.Config("give a PEM file, PKCS#8 or PKCS#1, RSA or Ed25519", "--dkim-key: %q holds no private key", key.Key)
	}
	return key, nil
}

// absolute makes a file name survive a change of the working directory.
func absolute(path *string) (err error) {
	if *path == "" {
		return nil
	}
	if *path, err = filepath.Abs(*path); err != nil {
		return failure.Failed("give the whole path", "%s: %v", *path, err)
	}
	if strings.ContainsFunc(*path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return failure.Usage("rename it", "%q has control characters", *path)
	}
	return nil
}
