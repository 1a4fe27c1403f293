package issuer

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
	"github.com/rogpeppe/go-internal/lockedfile"

	"postseal/internal/failure"
	"postseal/internal/https"
	"postseal/internal/printable"
	"postseal/issuer/cert"
	"postseal/issuer/store"
	"postseal/state"
)

// AccountOptions are for making an account. They are not looked at where there
// is one.
type AccountOptions struct {
	Contact    []string // addresses
	AgreeTerms bool
	// Ask shows the URL of the terms of service and asks whether to agree. Nil if
	// there is nobody to ask.
	Ask        func(terms string) (bool, error)
	EABKid     string
	EABKeyFile string
}

// accountFile is accounts/CA/account.json; key.pem stands beside it.
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

// The files of an account. A rollover that is not finished has both keys.
const (
	accountName = "account.json"
	accountKey  = "key.pem"
	nextKey     = "key.next.pem"
)

// caName writes the URL of a directory so that it is readable as a file name.
func caName(server string) string {
	s := strings.TrimPrefix(server, "https://")
	s = strings.NewReplacer("%", "%25", "+", "%2B", "/", "+").Replace(strings.TrimSuffix(s, "/"))
	if strings.HasPrefix(s, ".") {
		s = "%2E" + s[1:]
	}
	return s
}

func (c *ca) accountDir() string { return c.issuer.Dir.Path("accounts", caName(c.server)) }

// acme returns the account in the form that acmez takes.
func (a *account) acme() acme.Account {
	a.mu.Lock()
	defer a.mu.Unlock()
	return acme.Account{Status: acme.StatusValid, Location: a.file.URL, PrivateKey: a.key}
}

// thumbprint returns the digest of the account key (RFC 7638).
func (a *account) thumbprint() (string, error) {
	acct := a.acme()
	return acct.Thumbprint()
}

func (a *account) save() error {
	return store.Write(filepath.Join(a.dir, accountName), &a.file)
}

// loadAccount returns nil if there is none.
func (c *ca) loadAccount() (*account, error) {
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
	file := new(accountFile)
	switch err := store.Read(path, file, func() bool { return file.Version == store.Version }); {
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

// ready makes sure that there is an account: the one on disk, else a new one. It
// is called before anything is ordered.
func (c *ca) ready(ctx context.Context) error {
	if c.current() != nil {
		return nil
	}
	dir, err := c.directory(ctx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.accountDir(), 0o700); err != nil {
		return store.Error(c.accountDir(), err)
	}
	lock := filepath.Join(c.accountDir(), ".lock")
	unlock, err := lockedfile.MutexAt(lock).Lock()
	if err != nil {
		return store.Error(c.accountDir(), err)
	}
	defer unlock()
	if err := os.Chmod(lock, 0o600); err != nil { // the library leaves that to the umask
		return store.Error(lock, err)
	}
	if c.current() != nil {
		return nil // another order of this run was faster
	}
	a, err := c.loadAccount()
	if err == nil && a == nil {
		a, err = c.createAccount(ctx, dir)
	} else if err == nil {
		err = c.finishRollover(ctx, a)
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.account = a
	c.mu.Unlock()
	return nil
}

func (c *ca) current() *account {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.account
}

// createAccount registers with the CA. The key is on disk before the CA knows
// it: after a kill in between, the same key finds the same account.
func (c *ca) createAccount(ctx context.Context, dir *acme.Directory) (*account, error) {
	o := c.issuer.Account
	terms, err := c.agree(printable.Line(dir.Meta.TermsOfService, maxWord))
	if err != nil {
		return nil, err
	}
	a := &account{dir: c.accountDir()}
	a.file = accountFile{Version: store.Version, Server: c.server, Contact: o.Contact, Terms: terms, EABKid: o.EABKid, Created: c.issuer.now().UTC()}
	if a.key, err = keepKey(filepath.Join(a.dir, accountKey)); err != nil {
		return nil, err
	}
	if err := c.register(ctx, a, dir.Meta.ExternalAccountRequired); err != nil {
		return nil, err
	}
	c.issuer.step(StepAccount, "", "", "made an account at "+c.server)
	return a, a.save()
}

// keepKey reads the key at path, or makes one there that survives a power cut.
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
	return key, state.WriteFile(path, data, 0o600)
}

// agree returns the URL of the terms that were agreed to, "" if there are none.
func (c *ca) agree(terms string) (string, error) {
	o := c.issuer.Account
	if terms == "" || o.AgreeTerms {
		return terms, nil
	}
	agreed := false
	if o.Ask != nil {
		c.issuer.asking.Lock() // one question at a time: the orders of a batch go to several CAs
		var err error
		agreed, err = o.Ask(terms)
		c.issuer.asking.Unlock()
		if err != nil {
			return "", err
		}
	}
	if !agreed {
		return "", failure.Failed(failure.AgreeToTerms, "the CA's terms of service are not agreed to: %s", terms)
	}
	return terms, nil
}

func (c *ca) register(ctx context.Context, a *account, needsEAB bool) error {
	request := acme.Account{PrivateKey: a.key, Contact: mailURLs(a.file.Contact), TermsOfServiceAgreed: a.file.Terms != ""}
	if err := c.bind(ctx, &request, needsEAB); err != nil {
		return err
	}
	return c.do(ctx, making, func(ctx context.Context) error {
		made, err := c.client.NewAccount(ctx, request)
		if err == nil && made.Status != "" && made.Status != acme.StatusValid {
			err = failure.Failed(failure.ForgetAccount, "the account at %s is %s", c.server, printable.Line(made.Status, maxWord))
		}
		if err == nil && !https.URL(made.Location) {
			err = fault("the CA does not say where the account is, with an https URL: %s", quoted(made.Location))
		}
		a.file.URL = made.Location
		return err
	})
}

// bind adds the external account binding (RFC 8555, Section 7.3.4).
func (c *ca) bind(ctx context.Context, request *acme.Account, required bool) error {
	o := c.issuer.Account
	if o.EABKid == "" && o.EABKeyFile == "" {
		if required {
			return failure.Failed(problemHints[acme.ProblemTypeExternalAccountRequired], "%s makes accounts only for its customers", c.server)
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
		return failure.In(settingEABKey, failure.Config("the file holds the key in base64url, as the CA issued it", "%q: %v", o.EABKeyFile, err))
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

// errNoAccount says that there is nothing to show or change.
func (c *ca) errNoAccount() error {
	return failure.Failed("the first order makes one", "there is no account at %s", c.server)
}

// onDisk fails if there is no account.
func (c *ca) onDisk() error {
	if err := c.issuer.prepare(); err != nil {
		return err
	}
	if !store.Exists(filepath.Join(c.accountDir(), accountName)) {
		return c.errNoAccount()
	}
	return nil
}

func (c *ca) existing(ctx context.Context) (*account, error) {
	if err := c.onDisk(); err != nil {
		return nil, err
	}
	if err := c.ready(ctx); err != nil {
		return nil, fmt.Errorf("account: %w", err)
	}
	return c.current(), nil
}
