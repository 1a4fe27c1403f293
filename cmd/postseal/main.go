// Command postseal orders, renews, exports and revokes S/MIME certificates over ACME.
//
// It is the issuing half: it holds the keys and never looks at mail. The
// challenge mails are answered by postseal-milter or postseal-pipe, and what
// "postseal check" looks at is looked at by postseal-check. See
// postseal(1), and package issuer for the life of an order.
package main

import (
	"cmp"
	"context"
	"os"
	"slices"

	"postseal/internal/cli"
	"postseal/internal/failure"
	"postseal/issuer"
	"postseal/issuer/ca"
	"postseal/issuer/cert"
	"postseal/issuer/store"
	"postseal/state"
	"postseal/state/redis"
)

func main() { os.Exit(Main()) }

type flags struct {
	cli.Common
	common

	Cert       certCmd       `cmd:"" help:"Order a certificate."`
	Renew      renewCmd      `cmd:"" help:"Renew what is due."`
	Enroll     enrollCmd     `cmd:"" help:"Make the certificates follow the mailboxes."`
	Export     exportCmd     `cmd:"" help:"Write the keys of an address to files for mail programs."`
	Cancel     cancelCmd     `cmd:"" help:"Give up an order in flight."`
	Revoke     revokeCmd     `cmd:"" help:"Revoke a certificate."`
	Status     statusCmd     `cmd:"" help:"Show certificates, orders in flight, and challenges that are waited for."`
	Account    accountCmd    `cmd:"" help:"Show or change the account at a CA."`
	Init       initCmd       `cmd:"" help:"Prepare this machine: configuration, user, directories; say what the mail server needs."`
	Check      checkCmd      `cmd:"" help:"Look at all that has to be right before a challenge can be answered."`
	Completion completionCmd `cmd:"" help:"Write a script that completes command lines in a shell."`
}

// examples end the --help of each command.
var examples = map[string]string{
	"cert":               "postseal cert -e alice@example.org --agree-tos",
	"renew":              "postseal renew -n --jitter 1h",
	"enroll":             "postseal enroll --plan",
	"export":             "postseal export -e alice@example.org --to alice.mobileconfig --format mobileconfig --former",
	"cancel":             "postseal cancel -e alice@example.org",
	"revoke":             "postseal revoke --cert-path alice.p12 --reason keycompromise",
	"status":             "postseal status -e alice@example.org",
	"account":            "postseal account show",
	"account show":       "postseal account show --test",
	"account update":     "postseal account update --contact postmaster@example.org",
	"account rollover":   "postseal account rollover",
	"account deactivate": "postseal account deactivate --test",
	"init":               "postseal init --dry-run",
	"check":              "postseal check -e alice@example.org --mail-to me@example.net",
	"completion":         "postseal completion bash",
	"completion bash":    "postseal completion bash",
	"completion zsh":     "postseal completion zsh",
	"completion fish":    "postseal completion fish",
}

// common are the flags of all commands.
type common struct {
	State          string `placeholder:"DIR" help:"State directory (default: /var/lib/postseal as root, else the XDG state directory), or the URL of a Redis that the mail half shares: redis://HOST/DB."`
	Server         string `placeholder:"URL" help:"ACME directory of the CA (default: CASTLE's)."`
	Test           bool   `short:"t" help:"Use CASTLE's staging directory."`
	CABundle       string `name:"ca-bundle" placeholder:"FILE" help:"PEM file with roots for the ACME server, beside the system's."`
	NonInteractive bool   `short:"n" help:"Never ask."`
	Verbose        bool   `short:"v" help:"Show each step."`
	JSON           bool   `name:"json" help:"Write results as JSON."`
	SuccessStatus  []int  `placeholder:"N" enum:"2,75" help:"Exit with 0 in place of these, 2 and 75: for schedulers that know success and failure only."`
}

func (f *flags) program() cli.Program {
	return cli.Program{
		Name: "postseal",
		Description: "Get S/MIME certificates over ACME (RFC 8823). The challenge mail is answered on the mail server " +
			"by postseal-milter or postseal-pipe, which share the state directory.",
		Example:  examples["cert"],
		Examples: examples,
		Flags:    f,
	}
}

// Main runs the program and returns its exit status.
func Main() int {
	_ = cli.NoDump() // keys and passphrases are for no core file; without it the modes of files still hold
	f := new(flags)
	status := f.program().Main(func(ctx context.Context, parsed *cli.Parsed) error { return hinted(f.run(ctx, parsed)) })
	if slices.Contains(f.SuccessStatus, status) {
		return cli.ExitOK
	}
	return status
}

func (f *flags) run(ctx context.Context, parsed *cli.Parsed) error {
	s, err := f.session(parsed)
	if err != nil {
		return err
	}
	defer s.voice.done()
	return f.command(ctx, s, parsed)
}

func (f *flags) command(ctx context.Context, s *session, parsed *cli.Parsed) error {
	switch parsed.Kong.Command() {
	case "cert":
		return f.Cert.run(ctx, s)
	case "renew":
		return s.ended(ctx, store.RunRenew, f.Renew.run(ctx, s), "email", "kind", "server", "test")
	case "enroll":
		return s.ended(ctx, store.RunEnroll, f.Enroll.run(ctx, s, parsed.File), "plan", "domain")
	case "export":
		return f.Export.run(s)
	case "cancel":
		return f.Cancel.run(ctx, s)
	case "revoke":
		return f.Revoke.run(ctx, s, parsed)
	case "status":
		return f.Status.run(s, parsed.File)
	case "init":
		return f.Init.run(ctx, s, parsed.File)
	case "check":
		return f.Check.run(ctx, s, parsed.File)
	default:
		return f.Account.run(ctx, s, parsed.Kong.Command())
	}
}

// session is what a command works with.
type session struct {
	common
	voice  *voice
	term   *terminal
	issuer *issuer.Issuer
	opts   issuer.Options
	given  func(flag string) bool // on the command line itself
}

// session makes it from the flags of all commands.
func (f *flags) session(parsed *cli.Parsed) (*session, error) {
	if f.Test && f.Server != "" {
		return nil, failure.Usage("leave one out", "--test and --server contradict each other")
	}
	if f.Server != "" {
		if err := ca.CheckServer(f.Server); err != nil {
			return nil, err
		}
	}
	if f.State == "" {
		f.State = cli.DefaultState()
	}
	if err := cli.CheckState(f.State); err != nil {
		return nil, err
	}
	s := &session{common: f.common, voice: newVoice(f.Verbose, f.JSON), term: newTerminal(f.NonInteractive), given: parsed.Given}
	dir, shared, err := s.openState()
	if err != nil {
		return nil, err
	}
	s.opts = issuer.Options{Dir: dir, Store: shared, Version: cli.Version(), CA: caSettings(parsed.File), OnStep: s.voice.step, CABundle: s.CABundle, Now: now}
	s.opts.Defaults = store.Defaults{
		DeployHook: parsed.Configured(store.SettingDeployHook), KeyType: parsed.Configured(store.SettingKeyType), P12: parsed.Configured(store.SettingP12),
	}
	if s.opts.Kinds, err = kindsOf(parsed.File); err != nil {
		return nil, err
	}
	s.issuer = issuer.New(s.opts)
	return s, nil
}

// server returns the directory that is asked for, or the default.
func (s *session) server() string {
	switch {
	case s.Server != "":
		return s.Server
	case s.Test:
		return issuer.StagingServer
	}
	return issuer.DefaultServer
}

// account makes the session able to make accounts.
func (s *session) account(a ca.AccountOptions) error {
	var err error
	if a.Contact, err = cert.ParseAddresses(a.Contact); err != nil {
		return err
	}
	if s.term != nil {
		a.Ask = s.term.agree
	}
	s.opts.Account = a
	s.issuer = issuer.New(s.opts)
	return nil
}

// caSettings translates the [ca] table of the configuration file.
func caSettings(file *cli.File) func(server string) ca.Settings {
	return func(server string) ca.Settings {
		t := file.CAFor(server)
		s := ca.Settings{TokenJoin: t.TokenJoin, Trigger: t.Trigger, Settle: t.Settle, Compat: t.Compat}
		s.Policy.DKIM, s.Policy.AutoSubmitted = t.DKIM, t.AutoSubmitted
		s.Policy.Unsigned, s.Policy.TrustedAuthservID = t.Unsigned, t.TrustedAuthservID
		return s
	}
}

// ended notes the end of a run for those who watch that the timers work, and returns its
// error. A run is theirs if it was neither interrupted nor narrowed on its command line.
func (s *session) ended(ctx context.Context, command string, err error, narrowing ...string) error {
	if ctx.Err() == nil && failure.KindOf(err) != failure.KindUsage && !slices.ContainsFunc(narrowing, s.given) {
		s.issuer.Ended(command, cli.ExitCode(err))
	}
	return err
}

// openState returns the state directory, and where the two halves meet if that is not
// there but in Redis.
func (s *session) openState() (*state.Dir, state.Store, error) {
	if !cli.IsURL(s.State) {
		dir := state.Open(s.State)
		dir.Damaged = s.voice.damaged
		return dir, dir, nil
	}
	if cli.PasswordInArgs(os.Args[1:]) {
		s.voice.step(issuer.Step{Kind: issuer.StepHint, Text: cli.PasswordWarning})
	}
	shared, err := redis.Open(s.State)
	if err != nil {
		return nil, nil, cli.StateError(err)
	}
	dir := state.Open(cmp.Or(shared.Dir(), cli.DefaultState()))
	dir.Private = true
	shared.Damaged, dir.Damaged = s.voice.damaged, s.voice.damaged
	return dir, shared, nil
}

// kindsOf reads the [kind] tables of the configuration file.
func kindsOf(file *cli.File) (map[string]*issuer.Kind, error) {
	kinds := map[string]*issuer.Kind{}
	for name, t := range file.Kinds {
		k := issuer.Kind(t)
		if err := cmp.Or(issuer.CheckKindName(name), k.Check()); err != nil {
			return nil, failure.Config(failure.HintOf(err), "%s: [kind.%s]: %v", file.Path, name, err)
		}
		kinds[name] = &k
	}
	return kinds, nil
}

// describing are the flags that say what a certificate is, so that a kind needs no table.
var describing = []string{"usage", "key-type", "profile", "server", "test"}

// ofKind makes a request one for a certificate of a kind. Its table wins over what the
// environment and the rest of the file say of all certificates, and the command line wins
// over the table.
//
// A name without a table that nothing describes is a misspelt one.
func (s *session) ofKind(req issuer.Request, name string) (issuer.Request, error) {
	if err := issuer.CheckKindName(name); err != nil {
		return req, err
	}
	k := s.opts.Kinds[name]
	if k == nil && !slices.ContainsFunc(describing, s.given) {
		return req, failure.In("kind", failure.Usage(failure.DescribeKind, "unknown kind %q", name))
	}
	req.Kind = name
	if k == nil {
		k = new(issuer.Kind)
	}
	k.Into(&req, func(flag string) bool {
		return s.given(flag) || flag == "server" && (req.DryRun || s.given("test")) // the staging directory
	})
	return req, nil
}
