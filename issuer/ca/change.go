package ca

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"postseal/internal/failure"
	"postseal/issuer/cert"
	"postseal/issuer/store"

	"github.com/mholt/acmez/v3/acme"
)

// AccountInfo is what is known about an account and its CA. The field names of its JSON are
// stable.
type AccountInfo struct {
	Server     string            `json:"server"`
	URL        string            `json:"url"`
	Status     string            `json:"status"`
	Contact    []string          `json:"contact"`
	Created    time.Time         `json:"created"`
	Terms      string            `json:"terms_agreed"`
	NewTerms   string            `json:"terms_now"`
	EABKid     string            `json:"eab_kid,omitempty"`
	Thumbprint string            `json:"thumbprint"`
	Key        string            `json:"key"`
	Profiles   map[string]string `json:"profiles"`
	ARI        bool              `json:"renewal_info"`
	Learned    LearnedInfo       `json:"learned"`
}

// LearnedInfo is what we learned about the CA; other fields are empty.
type LearnedInfo struct {
	MailAfterPost bool   `json:"mail_after_post,omitempty"`
	Settle        string `json:"settle,omitempty"` // a duration
}

func (l learned) info() LearnedInfo {
	info := LearnedInfo{MailAfterPost: l.MailAfterPost}
	if l.settle() != defaultSettle {
		info.Settle = l.settle().String()
	}
	return info
}

// Show asks the CA for the account.
func (c *CA) Show(ctx context.Context) (*AccountInfo, error) {
	if err := c.Existing(ctx); err != nil {
		return nil, err
	}
	dir, err := c.Directory(ctx)
	if err != nil {
		return nil, err
	}
	a := c.current()
	var there acme.Account
	err = c.do(ctx, "reading the account", func(ctx context.Context) error {
		there, err = c.client.GetAccount(ctx, acme.Account{PrivateKey: a.acme().PrivateKey})
		return err
	})
	if err != nil {
		return nil, err
	}
	thumbprint, err := c.Thumbprint()
	if err != nil {
		return nil, err
	}
	return &AccountInfo{
		Server: c.Server, URL: a.file.URL, Status: there.Status, Contact: append([]string{}, there.Contact...), Created: a.file.Created,
		Terms: a.file.Terms, NewTerms: dir.Meta.TermsOfService, EABKid: a.file.EABKid, Thumbprint: thumbprint,
		Key: filepath.Join(a.dir, accountKey), Profiles: maps.Collect(maps.All(dir.Meta.Profiles)), ARI: dir.RenewalInfo != "",
		Learned: a.learned(c.now()).info(),
	}, nil
}

// change makes sure of the account, and changes it at the CA.
func (c *CA) change(ctx context.Context, what string, into acme.Account) error {
	if err := c.Existing(ctx); err != nil {
		return err
	}
	account := c.acme()
	into.Location, into.PrivateKey = account.Location, account.PrivateKey
	return c.do(ctx, what, func(ctx context.Context) error {
		_, err := c.client.UpdateAccount(ctx, into)
		return err
	})
}

// SetContact changes the contact addresses of the account (RFC 8555, Section 7.3.2).
func (c *CA) SetContact(ctx context.Context, addrs []string) error {
	contact, err := cert.ParseAddresses(addrs)
	if err != nil {
		return err
	}
	if err := c.change(ctx, "updating the account", acme.Account{Contact: mailURLs(contact)}); err != nil {
		return err
	}
	a := c.current()
	a.file.Contact = contact
	return a.save()
}

// ResetLearned forgets what we learned about the CA, without asking it.
func (c *CA) ResetLearned() error {
	if err := c.onDisk(); err != nil {
		return err
	}
	a := &account{dir: c.accountDir()}
	return a.learn(func(learned) learned { return learned{} })
}

// Deactivate ends the account for good (RFC 8555, Section 7.3.6). It keeps the files aside,
// since somebody may ask for the key; the next order makes a new account.
func (c *CA) Deactivate(ctx context.Context) (keptAt string, err error) {
	err = c.change(ctx, "deactivating the account", acme.Account{Status: acme.StatusDeactivated})
	if err != nil && !goneAccount(err) {
		return "", err
	}
	dir := c.accountDir()
	keptAt = c.options.Disk.Path("accounts", "."+filepath.Base(dir)+".deactivated-"+c.now().UTC().Format("20060102T150405Z"))
	c.mu.Lock()
	c.account = nil
	c.mu.Unlock()
	return keptAt, os.Rename(dir, keptAt)
}

// goneAccount reports whether the CA has deactivated or forgotten the account already.
func goneAccount(err error) bool {
	return isProblem(err, acme.ProblemTypeAccountDoesNotExist) || isProblem(err, acme.ProblemTypeUnauthorized)
}

// Rollover changes the account's key (RFC 8555, Section 7.3.5). It refuses while orders are
// in flight, since their replies depend on the old key's thumbprint.
func (c *CA) Rollover(ctx context.Context) error {
	if err := c.Existing(ctx); err != nil {
		return err
	}
	if err := c.refuseInFlight(); err != nil {
		return err
	}
	a := c.current()
	// Both keys are on disk before the CA decides which one is the account's.
	key, err := writeNewKey(filepath.Join(a.dir, nextKey))
	if err != nil {
		return store.Error(a.dir, err)
	}
	err = c.do(ctx, "changing the account key", func(ctx context.Context) error {
		_, err := c.client.AccountKeyRollover(ctx, a.acme(), key)
		return err
	})
	if p, ok := ProblemOf(err); ok && p.Status < 500 {
		os.Remove(filepath.Join(a.dir, nextKey))
	}
	if err != nil {
		return err
	}
	return a.take(key)
}

func (c *CA) refuseInFlight() error {
	orders, err := c.options.Disk.Orders(func(string, error) {})
	if err != nil {
		return err
	}
	for _, o := range orders {
		if o.Server == c.Server && !o.Stored {
			return failure.Failed("finish it first: run its command again", "the order for %s is in flight", strings.Join(o.Emails, ", "))
		}
	}
	return nil
}
