package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"postseal/internal/failure"
	"postseal/issuer"
	"postseal/issuer/ca"
	"postseal/issuer/cert"
	"postseal/issuer/store"
)

// certCmd are the flags of "postseal cert".
type certCmd struct {
	Email    []string `short:"e" placeholder:"ADDR" help:"An address to certify (repeatable)."`
	Kind     []string `env:"-" placeholder:"K" help:"A certificate of this kind, [kind.K] of the configuration, beside those of others (repeatable)."`
	Each     bool     `help:"One certificate for each address, instead of one naming all."`
	FromFile string   `placeholder:"FILE" help:"Addresses, one a line, each for a certificate of its own; - is stdin."`

	accountFlags
	orderFlags
	KeyPath string `placeholder:"FILE" help:"Use this private key (PEM) instead of a new one."`
	Out     string `placeholder:"FILE" help:"Copy the PKCS#12 container there too."`

	Force       bool `help:"Order though nothing is due."`
	DryRun      bool `help:"Go all the way at the staging directory, or at --server, and store nothing."`
	Interactive bool `help:"Answer the challenge mail by hand."`
}

// accountFlags are for the account at the CA, should there be none yet.
type accountFlags struct {
	Contact        []string `placeholder:"ADDR" help:"Where the CA may reach the account's holder."`
	AgreeTOS       bool     `name:"agree-tos" help:"Agree to the CA's terms of service."`
	EABKid         string   `name:"eab-kid" placeholder:"ID" help:"Key identifier of an external account binding."`
	EABHMACKeyFile string   `name:"eab-hmac-key-file" placeholder:"FILE" help:"Its key, in base64url."`
}

func (a *accountFlags) options() ca.AccountOptions {
	return ca.AccountOptions{Contact: a.Contact, AgreeTerms: a.AgreeTOS, EABKid: a.EABKid, EABKeyFile: a.EABHMACKeyFile}
}

// orderFlags say what a certificate is to be, and how it is ordered.
type orderFlags struct {
	Profile  string   `placeholder:"NAME" help:"ACME profile; 'postseal account show' lists them."`
	KeyType  string   `placeholder:"TYPE" help:"rsa2048 (default), rsa3072, rsa4096, p256, p384."`
	ReuseKey bool     `help:"Keep the private key now and at each renewal."`
	Usage    []string `placeholder:"USE" help:"digitalSignature, contentCommitment, keyEncipherment, keyAgreement (repeatable; default: the CA's)."`

	passFlags
	P12 string `name:"p12" env:"POSTSEAL_P12" placeholder:"FORMAT" help:"modern (default) or legacy: 3DES, for old phones and gpgsm."`

	Timeout time.Duration `default:"30m" placeholder:"D" help:"How long to wait for the mail (default: ${default})."`
	Jobs    int           `placeholder:"N" default:"32" help:"How many orders go on at a time at each CA (default: ${default})."`
	caFlags
	DeployHook string `placeholder:"CMD" help:"Run this after success."`
	FailHook   string `placeholder:"CMD" help:"Run this after an order has failed for good."`
}

func (o *orderFlags) check() error {
	switch {
	case o.Jobs < 1:
		return failure.Usage("the default is 32", "--jobs %d is too few", o.Jobs)
	case o.Timeout <= 0:
		return failure.Usage("use a duration such as 30m", "--timeout must be positive")
	}
	return o.passFlags.check()
}

// request returns what all certificates have in common.
func (o *orderFlags) request(s *session, server string) (req issuer.Request, err error) {
	req = issuer.Request{
		Settings: store.Settings{
			Server: server, CABundle: s.CABundle, Profile: o.Profile, KeyType: o.KeyType, Usages: o.Usage,
			KeepKey: o.ReuseKey, P12: o.P12, DeployHook: o.DeployHook, FailHook: o.FailHook,
		},
		Timeout: o.Timeout,
	}
	o.caFlags.into(&req.Settings)
	req.Passphrase, err = o.choose()
	return req, err
}

// caFlags say how to deal with the CA.
type caFlags struct {
	Settle    *time.Duration `placeholder:"D" help:"Pause between our reply and telling the CA (default: 2s, or what the CA has taught)."`
	TokenJoin string         `placeholder:"HOW" help:"How the CA joins the token's parts: auto (default), string, bytes."`
	Trigger   string         `placeholder:"WHEN" help:"When to tell the CA: auto (default), reply (after it), post (at once)."`
	Compat    []string       `placeholder:"WHAT" help:"certbot: for CAs built around certbot; serial: one validation at a time."`
}

// passFlags say how the container is locked.
type passFlags struct {
	Passphrase     string `placeholder:"P" help:"Passphrase of the container; better in a file."`
	PassphraseFile string `placeholder:"FILE" help:"Read it from the first line of a file."`
	NoPassphrase   bool   `help:"Leave it empty."`
}

func (p *passFlags) check() error {
	given := 0
	for _, is := range []bool{p.Passphrase != "", p.PassphraseFile != "", p.NoPassphrase} {
		if is {
			given++
		}
	}
	if given > 1 {
		return failure.Usage("give one of them", "--passphrase, --passphrase-file and --no-passphrase contradict each other")
	}
	return nil
}

// choose returns how to lock a new container; nothing if the flags do not say.
func (p *passFlags) choose() (cert.Passphrase, error) {
	switch {
	case p.NoPassphrase:
		return cert.Passphrase{Kind: cert.PassNone}, nil
	case p.PassphraseFile != "":
		_, err := cert.ReadPassphrase(p.PassphraseFile)
		return cert.Passphrase{Kind: cert.PassFile, Path: p.PassphraseFile}, err
	case p.Passphrase != "":
		return cert.Passphrase{Kind: cert.PassGiven, Value: p.Passphrase}, nil
	}
	return cert.Passphrase{}, nil
}

func (c *certCmd) run(ctx context.Context, s *session) error {
	c.Kind = unique(c.Kind)
	emails, each, err := c.addresses()
	if err != nil {
		return err
	}
	if err := c.check(s, each); err != nil {
		return err
	}
	req, err := c.request(s)
	if err != nil {
		return err
	}
	if err := s.account(c.accountFlags.options()); err != nil {
		return err
	}
	sets := [][]string{emails}
	if each {
		sets = slices.Collect(slices.Chunk(emails, 1))
	}
	reqs, err := c.requests(s, req, sets)
	if err != nil {
		return err
	}
	if len(reqs) == 1 && !each {
		return s.one(ctx, reqs[0])
	}
	jobs := c.Jobs
	if c.Interactive {
		jobs = 1
	}
	return s.many(ctx, reqs, jobs)
}

// unique returns each name once, in the order in which they were given.
func unique(names []string) (once []string) {
	for _, name := range names {
		if !slices.Contains(once, name) {
			once = append(once, name)
		}
	}
	return once
}

// requests returns what to order: for each kind one certificate for each set of addresses.
// Those of one address follow each other, so the next kind comes when all have the first.
func (c *certCmd) requests(s *session, req issuer.Request, sets [][]string) (all []issuer.Request, err error) {
	of := []issuer.Request{req}
	for n, name := range c.Kind {
		r, err := s.ofKind(req, name)
		if err != nil {
			return nil, err
		}
		if len(sets) > 1 && r.KeyPath != "" {
			return nil, failure.Config("leave it out", "key-path of [kind.%s] is for one certificate: two people must not share a key", name)
		}
		of = append(of[:n], r)
	}
	for _, r := range of {
		for _, emails := range sets {
			r.Emails = emails
			all = append(all, r)
		}
	}
	return all, nil
}

// addresses returns the addresses, and whether each has its own certificate.
func (c *certCmd) addresses() (emails []string, each bool, err error) {
	var typed []cert.Typed
	for n, addr := range c.Email {
		typed = append(typed, cert.Typed{Text: addr})
		if len(c.Email) > 1 || c.FromFile != "" {
			typed[n].Where = fmt.Sprintf("-e number %d", n+1)
		}
	}
	if c.FromFile != "" {
		lines, err := readAddresses(c.FromFile)
		if err != nil {
			return nil, false, err
		}
		typed = append(typed, lines...)
	}
	if len(typed) == 0 {
		return nil, false, failure.Usage("give one with -e, or a list with --from-file", "no address is given")
	}
	emails, err = cert.ParseTyped(typed)
	return emails, c.Each || c.FromFile != "", err
}

// readAddresses reads one address a line; blank lines and those that begin with
// # are left out. Windows' line ends and byte order mark do no harm.
func readAddresses(path string) ([]cert.Typed, error) {
	read := func() ([]byte, error) { return os.ReadFile(path) }
	if path == "-" {
		read = func() ([]byte, error) { return io.ReadAll(os.Stdin) }
	}
	data, err := read()
	if err != nil {
		return nil, failure.Config("give a file with one address a line", "--from-file: %v", err)
	}
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) || bytes.IndexByte(data, 0) >= 0 {
		return nil, failure.Usage("convert it: iconv -f UTF-16 -t UTF-8 FILE >NEWFILE", "--from-file: %q is text in UTF-16, or no text", path)
	}
	var addrs []cert.Typed
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(string(data), "\ufeff")) {
		number++
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			addrs = append(addrs, cert.Typed{Text: line, Where: fmt.Sprintf("line %d", number)})
		}
	}
	return addrs, nil
}

// check refuses what contradicts itself.
func (c *certCmd) check(s *session, each bool) error {
	switch {
	case c.Interactive && s.NonInteractive:
		return failure.Usage("leave one out", "--interactive and --non-interactive contradict each other")
	case c.Interactive && c.FromFile == "-":
		return failure.Usage("give the list in a file", "--interactive and --from-file - both read stdin")
	case (each || len(c.Kind) > 1) && c.Out != "":
		return failure.Usage("the containers are in certs/ of the state directory", "--out is for one certificate")
	case len(c.Kind) > 1 && c.KeyPath != "":
		return failure.Usage("leave --key-path out", "--key-path is for one certificate: each kind has a key of its own")
	case each && c.KeyPath != "":
		return failure.Usage("leave --key-path out", "--key-path is for one certificate: two people must not share a key")
	}
	if c.Out != "" {
		if err := failure.In("out", store.CheckOut(c.Out)); err != nil {
			return err
		}
	}
	return c.orderFlags.check()
}

func (c *certCmd) request(s *session) (issuer.Request, error) {
	server := s.server()
	if c.DryRun && s.Server == "" {
		server = issuer.StagingServer
	}
	req, err := c.orderFlags.request(s, server)
	req.Out, req.KeyPath, req.Force, req.DryRun = c.Out, c.KeyPath, c.Force, c.DryRun
	s.provenance(&req)
	if c.Interactive {
		req.Interactive = &issuer.Interactive{Ask: anyone(s.term).ask, Out: s.prose(), Dir: filepath.Dir(c.Out)} // beside --out, or here
	}
	if s.term != nil {
		// Once for a whole batch, and only if something is ordered.
		req.AskPassphrase = sync.OnceValues(s.term.newPassphrase)
	}
	return req, err
}

// provenance tells what was asked for in so many words from what the configuration says of
// all certificates.
func (s *session) provenance(req *issuer.Request) {
	for _, name := range []string{store.SettingDeployHook, store.SettingKeyType, store.SettingP12} {
		if !s.given(name) && !(name == store.SettingKeyType && req.KeyPath != "") {
			req.Configured = append(req.Configured, name)
		}
	}
	for _, name := range []string{"server", "profile", "key-type", "usage"} {
		if s.given(name) || name == "server" && s.given("test") {
			req.Asked = append(req.Asked, name)
		}
	}
}

// prose is where explanations go: stdout, unless that is to be JSON.
func (s *session) prose() io.Writer {
	if s.JSON {
		return os.Stderr
	}
	return os.Stdout
}

func (c *caFlags) into(settings *store.Settings) {
	settings.TokenJoin, settings.Trigger, settings.Compat = c.TokenJoin, c.Trigger, c.Compat
	if c.Settle != nil {
		settle := store.Duration(*c.Settle)
		settings.Settle = &settle
	}
}
