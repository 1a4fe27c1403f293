package issuer

import (
	"context"
	"crypto"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mholt/acmez/v3/acme"

	"postseal/internal/failure"
	"postseal/issuer/cert"
	"postseal/issuer/store"
	"postseal/state"
)

// Rollover changes the account's key (RFC 8555, Section 7.3.5). It refuses while
// orders are in flight: their replies are made with the thumbprint of the old one.
func (i *Issuer) Rollover(ctx context.Context, server, bundle string) error {
	c, a, err := i.account(ctx, server, bundle)
	if err != nil {
		return err
	}
	if err := i.refuseInFlight(server); err != nil {
		return err
	}
	key, err := cert.NewKey("p256")
	if err != nil {
		return err
	}
	data, err := cert.MarshalKey(key)
	if err != nil {
		return err
	}
	// Both keys are on disk before the CA decides: one of them is the account's.
	if err := state.WriteDurable(filepath.Join(a.dir, nextKey), data, 0o600); err != nil {
		return store.Error(a.dir, err)
	}
	err = c.do(ctx, "changing the account key", func(ctx context.Context) error {
		_, err := c.client.AccountKeyRollover(ctx, a.acme(), key)
		return err
	})
	if p, ok := problemOf(err); ok && p.Status < 500 {
		os.Remove(filepath.Join(a.dir, nextKey))
	}
	if err != nil {
		return err
	}
	return a.take(key)
}

// take makes the next key the account's.
func (a *account) take(key crypto.Signer) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.key = key
	return os.Rename(filepath.Join(a.dir, nextKey), filepath.Join(a.dir, accountKey))
}

// finishRollover finds out which key the CA knows after a rollover that was
// killed.
func (c *ca) finishRollover(ctx context.Context, a *account) error {
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

func (i *Issuer) refuseInFlight(server string) error {
	orders, err := i.disk.Orders(func(string, error) {})
	if err != nil {
		return err
	}
	for _, o := range orders {
		if o.Server == server && !o.Stored {
			return failure.Failed("finish it first: run its command again", "the order for %s is in flight", list(o.Emails))
		}
	}
	return nil
}
