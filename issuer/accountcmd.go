package issuer

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"postseal/internal/failure"
	"postseal/issuer/cert"

	"github.com/mholt/acmez/v3/acme"
)

// AccountInfo is what there is to know of an account and its CA. The field names
// of its JSON are stable.
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

// LearnedInfo is what the CA has taught. What it has not is empty.
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

// account returns the account at a CA, which must be there.
func (i *Issuer) account(ctx context.Context, server, bundle string) (*ca, *account, error) {
	c, err := i.ca(server, bundle)
	if err != nil {
		return nil, nil, err
	}
	a, err := c.existing(ctx)
	return c, a, err
}

// ShowAccount asks the CA for the account.
func (i *Issuer) ShowAccount(ctx context.Context, server, bundle string) (*AccountInfo, error) {
	c, a, err := i.account(ctx, server, bundle)
	if err != nil {
		return nil, err
	}
	dir, err := c.directory(ctx)
	if err != nil {
		return nil, err
	}
	there, err := c.lookUp(ctx, a)
	if err != nil {
		return nil, err
	}
	thumbprint, err := a.thumbprint()
	if err != nil {
		return nil, err
	}
	info := &AccountInfo{
		Server: server, URL: a.file.URL, Status: there.Status, Contact: there.Contact, Created: a.file.Created,
		Terms: a.file.Terms, NewTerms: dir.Meta.TermsOfService, EABKid: a.file.EABKid, Thumbprint: thumbprint,
		Key: filepath.Join(a.dir, accountKey), Profiles: maps.Clone(dir.Meta.Profiles), ARI: dir.RenewalInfo != "",
		Learned: a.learned(i.now()).info(),
	}
	if info.Contact == nil {
		info.Contact = []string{}
	}
	if info.Profiles == nil {
		info.Profiles = map[string]string{}
	}
	return info, nil
}

func (c *ca) lookUp(ctx context.Context, a *account) (there acme.Account, err error) {
	err = c.do(ctx, "reading the account", func(ctx context.Context) error {
		there, err = c.client.GetAccount(ctx, acme.Account{PrivateKey: a.acme().PrivateKey})
		return err
	})
	return there, err
}

// AccountUpdate says what to change of an account.
type AccountUpdate struct {
	Contact      []string // addresses; nil leaves them
	ResetLearned bool     // forget what the CA has taught
}

// UpdateAccount changes the contact (RFC 8555, Section 7.3.2), or forgets what
// was learned.
func (i *Issuer) UpdateAccount(ctx context.Context, server, bundle string, u AccountUpdate) error {
	if u.Contact == nil && !u.ResetLearned {
		return failure.Usage(failure.ChangeSomething, "nothing to update")
	}
	contact, err := cert.ParseAddresses(u.Contact)
	if err != nil {
		return err
	}
	if u.ResetLearned {
		if err := i.resetLearned(server, bundle); err != nil {
			return err
		}
	}
	if u.Contact == nil {
		return nil
	}
	c, a, err := i.account(ctx, server, bundle)
	if err != nil {
		return err
	}
	change := acme.Account{Location: a.file.URL, PrivateKey: a.key, Contact: mailURLs(contact)}
	err = c.do(ctx, "updating the account", func(ctx context.Context) error {
		_, err := c.client.UpdateAccount(ctx, change)
		return err
	})
	if err != nil {
		return err
	}
	a.file.Contact = contact
	return a.save()
}

// resetLearned forgets what a CA has taught. That is ours alone: the CA is not asked.
func (i *Issuer) resetLearned(server, bundle string) error {
	c, err := i.ca(server, bundle)
	if err != nil {
		return err
	}
	if err := c.onDisk(); err != nil {
		return err
	}
	a := &account{dir: c.accountDir()}
	return a.learn(func(learned) learned { return learned{} })
}

// DeactivateAccount ends the account for good (RFC 8555, Section 7.3.6). Its
// files are kept aside, since its key may be asked for; the next order makes a
// new account.
func (i *Issuer) DeactivateAccount(ctx context.Context, server, bundle string) (keptAt string, err error) {
	c, a, err := i.account(ctx, server, bundle)
	if err != nil {
		return "", err
	}
	end := acme.Account{Location: a.file.URL, PrivateKey: a.key, Status: acme.StatusDeactivated}
	err = c.do(ctx, "deactivating the account", func(ctx context.Context) error {
		_, err := c.client.UpdateAccount(ctx, end)
		return err
	})
	if err != nil && !goneAccount(err) {
		return "", err
	}
	keptAt = i.Dir.Path("accounts", "."+filepath.Base(a.dir)+".deactivated-"+i.now().UTC().Format("20060102T150405Z"))
	c.mu.Lock()
	c.account = nil
	c.mu.Unlock()
	return keptAt, os.Rename(a.dir, keptAt)
}

// goneAccount: the CA has deactivated or forgotten it already.
func goneAccount(err error) bool {
	p, ok := problemOf(err)
	return ok && slices.Contains([]string{acme.ProblemTypeAccountDoesNotExist, acme.ProblemTypeUnauthorized}, p.Type)
}
