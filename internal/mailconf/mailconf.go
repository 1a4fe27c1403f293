// Package mailconf makes a challenge.Responder from the flags, environment and configuration
// file of the two programs of the mail half.
package mailconf

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"postseal/internal/challenge"
	"postseal/internal/cli"
	"postseal/internal/failure"
	"postseal/internal/hostport"
	"postseal/internal/submit"
	"postseal/state"
	"postseal/state/redis"
)

// Flags are the flags of both programs of the mail half.
type Flags struct {
	State            string `placeholder:"DIR" help:"State directory that the issuing half writes, or the URL of a Redis that both share: redis://HOST/DB."`
	SMTP             string `name:"smtp" placeholder:"URL" default:"smtp://localhost:25" help:"Where the reply goes: smtp://HOST[:25], smtp+starttls://[USER@]HOST[:587], smtps://[USER@]HOST[:465] or lmtp+unix:PATH."`
	SMTPCA           string `name:"smtp-ca" placeholder:"FILE" help:"PEM roots for the SMTP server's certificate (default: the system's)."`
	SMTPPasswordFile string `name:"smtp-password-file" placeholder:"FILE" help:"File that holds the password of the SMTP user (or: POSTSEAL_SMTP_PASSWORD)."`
	Helo             string `placeholder:"NAME" help:"Name of this host in EHLO (default: its fully qualified name, else its address)."`
	Resolver         string `placeholder:"HOST:PORT" help:"DNS server for DKIM keys (default: the system's)."`
	MaxAnswers       []int  `placeholder:"N[,ALL]" default:"10000,50000" help:"Replies an hour, to one CA and in all (default: ${default}); what is over goes later."`
}

// Check reads the flags as far as that needs no file and no network, so that the first
// message shows a mistake, not the first challenge.
func (f *Flags) Check() (*submit.Server, error) {
	server, err := submit.ParseServer(f.SMTP)
	if err != nil {
		return nil, failure.Usage("for example: --smtp smtp://localhost:25", "--smtp: %v", err)
	}
	if err := cli.CheckResolver(f.Resolver); err != nil {
		return nil, err
	}
	if f.Helo != "" {
		if err := hostport.CheckName(f.Helo); err != nil {
			return nil, failure.Usage("for example: --helo mx1.example.org", "--helo: %v", err)
		}
	}
	if _, err := f.rate(); err != nil {
		return nil, err
	}
	return server, f.checkState()
}

func (f *Flags) checkState() error {
	if err := cli.CheckState(f.State); err != nil || !cli.IsURL(f.State) {
		return err
	}
	if err := redis.Check(f.State); err != nil {
		return cli.StateError(err)
	}
	return nil
}

// name returns the name for EHLO. It looks up this host's name now: that may take a moment,
// which the first challenge should not have to wait.
func (f *Flags) name() func() string {
	if f.Helo != "" {
		return func() string { return f.Helo }
	}
	return submit.HostName()
}

// rate reads --max-answers. A single number allows five times as many in all as to one CA.
func (f *Flags) rate() (r challenge.Rate, err error) {
	switch n := f.MaxAnswers; {
	case len(n) == 1 && n[0] > 0:
		return challenge.Rate{PerCA: n[0], Total: 5 * n[0]}, nil
	case len(n) == 2 && n[0] > 0 && n[1] > 0:
		return challenge.Rate{PerCA: n[0], Total: n[1]}, nil
	}
	return r, failure.Usage("for example: --max-answers 10000,50000", "--max-answers: want one or two positive numbers: for one CA, and in all")
}

// Store returns the store where the two halves meet. It logs damaged records by name.
func (f *Flags) Store(log *slog.Logger) (state.Store, error) {
	if err := f.checkState(); err != nil {
		return nil, err
	}
	if cli.IsURL(f.State) {
		return f.redis(log)
	}
	path := f.State
	if path == "" {
		path = cli.DefaultMailState()
	}
	dir := state.Open(path)
	dir.Damaged = func(path string, err error) {
		log.Warn("damaged file in the state directory is skipped", "file", path, "error", err)
	}
	return dir, nil
}

func (f *Flags) redis(log *slog.Logger) (state.Store, error) {
	if cli.PasswordInArgs(os.Args[1:]) {
		log.Warn(cli.PasswordWarning)
	}
	store, err := redis.Open(f.State)
	if err != nil {
		return nil, cli.StateError(err)
	}
	store.Damaged = func(key string, err error) {
		log.Warn("damaged record in Redis is skipped", "key", key, "error", err)
	}
	return store, nil
}

// Responder returns the responder that the flags and the file describe. All its errors
// concern the configuration (exit 78) or the command line (exit 64).
func (f *Flags) Responder(file *cli.File, store state.Store, log *slog.Logger) (*challenge.Responder, error) {
	server, err := f.Check()
	if err != nil {
		return nil, err
	}
	if server.Password, err = file.Password(f.SMTPPasswordFile); err != nil {
		return nil, failure.Unreadable(err, "give a file that holds the password and that the mail half can read", "--smtp-password-file: %v", err)
	}
	server.CAFile, server.Name = f.SMTPCA, f.name()
	if err := server.Check(); err != nil {
		return nil, failure.Config("put the password into --smtp-password-file or POSTSEAL_SMTP_PASSWORD", "--smtp: %v", err)
	}
	keys, err := loadKeys(file)
	if err != nil {
		return nil, err
	}
	rate, err := f.rate()
	if err != nil {
		return nil, err
	}
	return &challenge.Responder{
		State:      store,
		LookupTXT:  challenge.Resolver(f.Resolver),
		Send:       server.Send,
		Keys:       keys,
		Roots:      roots(file.SMIME.Roots),
		Log:        log,
		MaxAnswers: rate,
	}, nil
}

// Needs returns the part of the file system that a responder keeps using: pending/ to read
// and answers/ to write in a state directory, and the roots, which it reads when it needs
// them. Keys and passwords are in memory by then.
func (f *Flags) Needs(file *cli.File, store state.Store) cli.Needs {
	var n cli.Needs
	if dir, ok := store.(*state.Dir); ok {
		n.Read, n.Write = []string{cli.Nearest(dir.Path("pending"))}, []string{dir.Path("answers")}
	}
	for _, path := range []string{f.SMTPCA, file.SMIME.Roots} {
		if path != "" {
			n.Read = append(n.Read, path)
		}
	}
	return n
}

func loadKeys(file *cli.File) ([]challenge.Key, error) {
	var keys []challenge.Key
	for _, k := range file.DKIM {
		signer, err := k.Signer()
		if err != nil {
			return nil, failure.Unreadable(err, "[[dkim]] key is a PEM file, PKCS#8 or PKCS#1, RSA or Ed25519", "DKIM key of %s: %v", k.Domain, cause(err))
		}
		keys = append(keys, challenge.Key{Domain: k.Domain, Selector: k.Selector, Signer: signer})
	}
	return keys, nil
}

func cause(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w (the mail half must be able to read it)", err)
	}
	return err
}

// roots returns a reader of the PEM file with the roots of S/MIME signers; only a message
// that is signed with S/MIME needs it.
func roots(path string) func() (*x509.CertPool, error) {
	if path == "" {
		return nil
	}
	return func() (*x509.CertPool, error) {
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", path)
		}
		return pool, nil
	}
}
