package issuer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"postseal/internal/failure"
	"postseal/issuer/cert"
	"postseal/issuer/store"
)

// Cancelled is an abandoned order. The field names of its JSON are stable.
type Cancelled struct {
	Name        string   `json:"name"`
	Emails      []string `json:"emails"`
	Kind        string   `json:"kind"`
	Server      string   `json:"server"`
	DryRun      bool     `json:"dry_run"`
	Deactivated int      `json:"deactivated"`     // authorizations at the CA
	Untold      string   `json:"error,omitempty"` // why the CA was not told
	// Finalizing means that the CSR was sent, so that the CA may issue a certificate. Its
	// key is gone.
	Finalizing bool `json:"-"`
}

// cancelTimeout bounds the time for a cancelled order at its CA: the order is gone here
// whether the CA learns of it or not.
const cancelTimeout = 30 * time.Second

// Cancel gives up the orders in flight that name one of the addresses, of the given kinds or
// of any. It removes their files and records, and deactivates their pending authorizations at
// the CA (RFC 8555, Section 7.5.2), so that nobody answers a mail for them there either. It
// leaves an order alone while a process works on it; the error's Kind is Later then, and
// NotDue if there is no order.
func (i *Issuer) Cancel(ctx context.Context, addrs, kinds []string, bundle string) ([]*Cancelled, error) {
	emails, err := cert.ParseAddresses(addrs)
	if err != nil {
		return nil, err
	}
	if err := i.prepare(); err != nil {
		return nil, err
	}
	orders, err := i.disk.Orders(i.leftOut)
	if err != nil {
		return nil, err
	}
	var all []*Cancelled
	for _, o := range orders {
		if !cert.NamesOneOf(o.Emails, emails) || !isOneOf(o.Kind, kinds) {
			continue
		}
		done, err := i.cancelOne(ctx, o, bundle)
		if err != nil {
			return all, err
		}
		if done != nil {
			all = append(all, done)
		}
	}
	if len(all) == 0 {
		return nil, failure.NotDue("", fmt.Errorf("no order for %s is in flight", list(emails)+ofKind(kinds)))
	}
	return all, nil
}

// cancelOne returns nil if the order ends meanwhile.
func (i *Issuer) cancelOne(ctx context.Context, named store.Named, bundle string) (*Cancelled, error) {
	name, path := named.Name, i.Dir.Path("orders", named.Name+".json")
	unlock, err := i.disk.LockName(named.Emails[0], named.Kind)
	if errors.Is(err, store.ErrLocked) {
		return nil, failure.Later("end that process first, then run the same command again",
			"another postseal is working on the order for %s", list(named.Emails))
	}
	if err != nil {
		return nil, store.Error(path, err)
	}
	defer unlock()
	o, err := store.ReadOrder(path)
	if err != nil {
		return nil, store.Error(path, err)
	}
	if o == nil {
		return nil, nil
	}
	done := &Cancelled{Name: name, Emails: o.Emails, Kind: o.Kind, Server: o.Server, DryRun: o.DryRun, Finalizing: o.Finalizing && !o.Stored}
	r := &run{i: i, req: Request{Settings: o.Settings}, name: name, path: path, order: o}
	r.giveUp("cancelled")
	if store.Exists(path) {
		return nil, store.Error(path, os.ErrPermission)
	}
	if o.URL != "" && !o.Stored {
		if done.Deactivated, err = i.deactivate(ctx, o, bundle); err != nil {
			done.Untold = err.Error()
		}
	}
	return done, nil
}

// deactivate deactivates the pending authorizations of an order at the CA.
func (i *Issuer) deactivate(ctx context.Context, o *store.Order, bundle string) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, cancelTimeout)
	defer cancel()
	c, err := i.ca(o.Server, cmp.Or(bundle, o.CABundle))
	if err != nil {
		return 0, err
	}
	if err := c.Existing(ctx); err != nil {
		return 0, err
	}
	return c.GiveUp(ctx, o.URL)
}
