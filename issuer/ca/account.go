package ca

import (
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"postseal/internal/failure"
	"postseal/internal/https"
	"postseal/internal/printable"
	"postseal/issuer/cert"
	"postseal/issuer/store"
	"postseal/state"
)

// AccountOptions are for making an account. An existing account ignores them.
type AccountOptions struct {
	Contact    []string // addresses
	AgreeTerms bool
	// Ask shows the URL of the terms of service and asks whether to agree. It is nil if
	// there is nobody to ask.
	Ask        func(terms string) (bool, error)
	EABKid     string
	EABKeyFile string
}

// accountFile is accounts/CA/account.json; key.pem is beside it.
type accountFile struct {
	Version int       `json:"version"`
	Server  string    `json:"server"`
	URL     string    `json:"url"`
	Contact []string  `json:"contact,omitempty"` // addresses
	Terms   string    `json:"terms-agreed,omitempty"`
	EABKid  string    `json:"eab-kid,omitempty"`
	Created time.Time `json:"created"`
	Learned learned   `json:"learned"`
}

// account is our account at a CA.
type account struct {
	dir  string
	mu   sync.Mutex
	file accountFile
	key  crypto.Signer
}

// The files of an account. An unfinished rollover has both keys.
const (
	accountName = "account.json"
	accountKey  = "key.pem"
	nextKey     = "key.next.pem"
	accountLock = ".lock"
)

// caName turns the URL of a directory into a readable file name.
func caName(server string) string {
	s := strings.TrimPrefix(server, "https://")
	s = strings.NewReplacer("%", "%25", "+", "%2B", "/", "+").Replace(strings.TrimSuffix(s, "/"))
	if strings.HasPrefix(s, ".") {
		s = "%2E" + s[1:]
	}
	return s
}

func (c *CA) accountDir() string { return accountDir(c.options.Disk.Dir, c.Server) }

func accountDir(dir *state.Dir, server string) string { return dir.Path("accounts", caName(server)) }

// KnownAccount returns the URL of the account at a CA, from the disk; "" if there is none.
func KnownAccount(dir *state.Dir, server string) string {
	file, err := readAccountFile(accountDir(dir, server))
	if err != nil {
		return ""
	}
	return file.URL
}

// acme returns the account in the form that acmez takes.
func (a *account) acme() acme.Account {
	a.mu.Lock()
	defer a.mu.Unlock()
	return acme.Account{Status: acme.StatusValid, Location: a.file.URL, PrivateKey: a.key}
}

// acme returns the account, which Ready has made sure of.
func (c *CA) acme() acme.Account { return c.current().acme() }

// AccountURL returns the URL of the account.
func (c *CA) AccountURL() string { return c.acme().Location }

// Thumbprint returns the digest of the account key (RFC 7638).
func (c *CA) Thumbprint() (string, error) {
	account := c.acme()
	return account.Thumbprint()
}

func (a *account) save() error {
	return store.Write(filepath.Join(a.dir, accountName), &a.file)
}

// loadAccount returns the account on disk, nil if there is none.
func (c *CA) loadAccount() (*account, error) {
	a := &account{dir: c.accountDir()}
	file, err := readAccountFile(a.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	a.file = *file
	a.key, err = readAccountKey(filepath.Join(a.dir, accountKey))
	return a, err
}

func readAccountFile(dir string) (*accountFile, error) {
	path := filepath.Join(dir, accountName)
	switch file, err := store.Read(path, func(f *accountFile) bool { return f.Version == store.Version }); {
	case err == nil:
		return file, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, err
	case state.Newer(err) != nil, errors.As(err, new(*fs.PathError)):
		return nil, store.Error(dir, err)
	}
	return nil, failure.Config("restore it from a backup, or move it away to make a new account",
		"%s is not an account of version %d", path, store.Version)
}

func readAccountKey(path string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := cert.ParseKey(data)
	if err != nil {
		return nil, failure.Config("restore it from a backup", "%s: %v", path, err)
	}
	return key, nil
}

// Ready makes sure that there is an account: the one on disk, or a new one, which it reports.
// Callers call it before they order.
func (c *CA) Ready(ctx context.Context) (made bool, err error) {
	if c.current() != nil {
		return false, nil
	}
	dir, err := c.Directory(ctx)
	if err != nil {
		return false, err
	}
	unlock, err := c.lockAccount()
	if err != nil {
		return false, store.Error(c.accountDir(), err)
	}
	defer unlock()
	if c.current() != nil {
		return false, nil // another order of this run was faster
	}
	a, err := c.loadAccount()
	switch {
	case err != nil:
		return false, err
	case a == nil:
		made = true
		a, err = c.createAccount(ctx, dir)
	default:
		err = c.finishRollover(ctx, a)
	}
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.account = a
	return made, nil
}

// lockAccount makes this process the only one that makes or finds the account.
func (c *CA) lockAccount() (unlock func(), err error) {
	if err := os.MkdirAll(c.accountDir(), 0o700); err != nil {
		return nil, err
	}
	return store.Lock(filepath.Join(c.accountDir(), accountLock))
}

func (c *CA) current() *account {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.account
}

// createAccount registers with the CA. The key is on disk before the CA knows
// it: after a kill in between, the same key finds the same account.
func (c *CA) createAccount(ctx context.Context, dir *acme.Directory) (*account, error) {
	o := c.options.Account
	terms, err := c.agree(printable.Line(dir.Meta.TermsOfService, MaxWord))
	if err != nil {
		return nil, err
	}
	a := &account{dir: c.accountDir()}
	a.file = accountFile{
		Version: store.Version, Server: c.Server, Contact: o.Contact, Terms: terms, EABKid: o.EABKid, Created: c.now().UTC(),
	}
	if a.key, err = keepKey(filepath.Join(a.dir, accountKey)); err != nil {
		return nil, err
	}
	if err := c.register(ctx, a, dir.Meta.ExternalAccountRequired); err != nil {
		return nil, err
	}
	return a, a.save()
}

// keepKey reads the key at path, or writes a new one there that survives a power cut.
func keepKey(path string) (crypto.Signer, error) {
	key, err := readAccountKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = writeNewKey(path)
	}
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(path)
	return key, errors.Join(state.SyncDir(dir), state.SyncDir(filepath.Dir(dir)))
}

func writeNewKey(path string) (crypto.Signer, error) {
	key, err := cert.NewKey("p256")
	if err != nil {
		return nil, err
	}
	data, err := cert.MarshalKey(key)
	if err != nil {
		return nil, err
	}
	return key, state.WriteDurable(path, data, 0o600)
}

// agree returns the URL of the terms that the user agreed to, "" if there are none.
func (c *CA) agree(terms string) (string, error) {
	o := c.options.Account
	if terms == "" || o.AgreeTerms {
		return terms, nil
	}
	if o.Ask != nil {
		if agreed, err := o.Ask(terms); agreed || err != nil {
			return terms, err
		}
	}
	return "", failure.Failed(failure.AgreeToTerms, "the CA's terms of service are not agreed to: %s", terms)
}

func (c *CA) register(ctx context.Context, a *account, needsEAB bool) error {
	request := acme.Account{PrivateKey: a.key, Contact: mailURLs(a.file.Contact), TermsOfServiceAgreed: a.file.Terms != ""}
	if err := c.bind(ctx, &request, needsEAB); err != nil {
		return err
	}
	return c.do(ctx, making, func(ctx context.Context) error {
		made, err := c.client.NewAccount(ctx, request)
		if err == nil && made.Status != "" && made.Status != acme.StatusValid {
			err = failure.Failed(failure.ForgetAccount, "the account at %s is %s", c.Server, printable.Line(made.Status, MaxWord))
		}
		if err == nil && !https.URL(made.Location) {
			err = Fault("the CA does not say where the account is, with an https URL: %s", Quoted(made.Location))
		}
		a.file.URL = made.Location
		return err
	})
}

// bind adds the external account binding (RFC 8555, Section 7.3.4).
func (c *CA) bind(ctx context.Context, request *acme.Account, required bool) error {
	o := c.options.Account
	if o.EABKid == "" && o.EABKeyFile == "" {
		if required {
			return failure.Failed(problemHints[acme.ProblemTypeExternalAccountRequired], "%s makes accounts only for its customers", c.Server)
		}
		return nil
	}
	if o.EABKid == "" || o.EABKeyFile == "" {
		return failure.Usage(failure.BindAccount, "the key of an external account binding and its identifier go together")
	}
	data, err := os.ReadFile(o.EABKeyFile)
	if err != nil {
		return failure.In(settingEABKey, failure.Config("give the file with the key the CA issued", "%v", err))
	}
	mac, err := decodeHMACKey(string(data))
	if err != nil {
		return failure.In(settingEABKey, failure.Config("the file holds the key in base64url, as the CA issued it",
			"%q: %v", o.EABKeyFile, err))
	}
	return request.SetExternalAccountBinding(ctx, c.client, acme.EAB{KeyID: o.EABKid, MACKey: mac})
}

const settingEABKey = "eab-hmac-key-file"

// decodeHMACKey accepts base64 in all its spellings and returns base64url.
func decodeHMACKey(s string) (string, error) {
	s = strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(strings.TrimSpace(s))
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil && len(raw) == 0 {
		err = errors.New("it is empty")
	}
	return s, err
}

func mailURLs(addrs []string) []string {
	var urls []string
	for _, a := range addrs {
		urls = append(urls, "mailto:"+a)
	}
	return urls
}

// onDisk fails if there is no account.
func (c *CA) onDisk() error {
	if !store.Exists(filepath.Join(c.accountDir(), accountName)) {
		return failure.Failed("the first order makes one", "there is no account at %s", c.Server)
	}
	return nil
}

// Existing makes sure of an account that exists already.
func (c *CA) Existing(ctx context.Context) error {
	if err := c.onDisk(); err != nil {
		return err
	}
	if _, err := c.Ready(ctx); err != nil {
		return fmt.Errorf("account: %w", err)
	}
	return nil
}

// take makes the next key the account's key.
func (a *account) take(key crypto.Signer) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.key = key
	return os.Rename(filepath.Join(a.dir, nextKey), filepath.Join(a.dir, accountKey))
}

// finishRollover finds out which key the CA knows after somebody killed a rollover.
func (c *CA) finishRollover(ctx context.Context, a *account) error {
	next, err := readAccountKey(filepath.Join(a.dir, nextKey))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = c.do(ctx, "looking for the account", func(ctx context.Context) error {
		_, err := c.client.GetAccount(ctx, acme.Account{PrivateKey: next})
		return err
	})
	if isProblem(err, acme.ProblemTypeAccountDoesNotExist) {
		return os.Remove(filepath.Join(a.dir, nextKey))
	}
	if err != nil {
		return err
	}
	return a.take(next)
}

// LockSerial makes an order the only one whose challenges the CA looks at (compat "serial"),
// among all processes on this state directory.
func (c *CA) LockSerial(ctx context.Context) (unlock func(), err error) {
	return store.LockWait(ctx, filepath.Join(c.accountDir(), ".serial"), func() {})
}

// registerAgain makes the account again with the same key if the CA has lost it. The user has
// agreed to the terms before.
func (c *CA) registerAgain(ctx context.Context) error {
	dir, err := c.Directory(ctx)
	if err != nil {
		return err
	}
	a := c.current()
	c.options.Note("the CA does not know our account any more: making it anew")
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := c.register(ctx, a, dir.Meta.ExternalAccountRequired); err != nil {
		return err
	}
	return a.save()
}
