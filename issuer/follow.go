package issuer

import (
	"context"
	"slices"
	"time"

	"postseal/internal/failure"
	"postseal/issuer/ca"
	"postseal/issuer/cert"
	"postseal/issuer/store"
	"postseal/state"
)

// Two orders for one address at one CA follow each other: they share one record, and nobody
// could tell whose challenge arrived. On one host their locks ensure this (see
// store.Disk.LockOrder), and an order that nobody works on is completed first. Between hosts
// the record itself ensures it.

// lock waits until no other order is in the way, and keeps others away.
func (r *run) lock(ctx context.Context) (unlock func(), err error) {
	var tried []string
	for {
		unlock, err = r.i.disk.LockOrder(ctx, &r.req.Settings, r.waitsForOther) // 1
		if err != nil || r.req.resume {
			return unlock, err
		}
		left := r.i.leftBehind(&r.req, tried)
		if left == nil {
			return unlock, nil
		}
		unlock()
		tried = append(tried, left.Name)
		other := Request{Settings: left.Settings, DryRun: left.DryRun, Timeout: r.req.Timeout, resume: true, queue: r.req.queue}
		r.note("", "resuming an earlier order for "+list(left.Emails)+ofKind([]string{left.Kind})+" first")
		if _, err := r.i.Obtain(ctx, other); err != nil && failure.KindOf(err) != failure.KindNotDue {
			r.note("", "that order: "+err.Error())
		}
	}
}

// leftBehind returns another order for one of the addresses at the same CA. No process works
// on it, since the caller holds the addresses' locks.
func (i *Issuer) leftBehind(req *Request, tried []string) *store.Named {
	orders, _ := i.disk.Orders(func(string, error) {}) // an unreadable order is in nobody's way
	n := slices.IndexFunc(orders, func(o store.Named) bool {
		same := o.Kind == req.Kind && o.DryRun == req.DryRun && cert.SameAddresses(o.Emails, req.Emails)
		return !same && !o.Stored && o.Server == req.Server && cert.NamesOneOf(o.Emails, req.Emails) && !slices.Contains(tried, o.Name)
	})
	if n < 0 {
		return nil
	}
	return &orders[n]
}

const (
	// lookAgain is the interval between checks whether the other order's record is gone.
	lookAgain = time.Second
	// strangersFor is how long an order waits for the record of another host's order, from
	// the time of that order: longer than a run works on an order, unless its timeout is
	// longer. This host cannot see whether anybody there still does.
	strangersFor = 2 * DefaultTimeout
)

// take writes the record of a challenge as soon as no other order has one for the address.
func (r *run) take(ctx context.Context, p *state.Pending) error {
	for waited := false; ; waited = true {
		other, err := r.i.Store.Take(p)
		if err == nil && other != nil && r.i.isAbandoned(other) {
			other, err = nil, r.i.Store.Put(p)
		}
		if err != nil {
			return r.i.storeError(err)
		}
		if other == nil {
			return nil
		}
		if !waited {
			r.waitFor("another order for " + p.Email + " at this CA to end")
			r.note(p.Email, "another order for "+p.Email+" is in the way, made on "+momentOf(other.Created)+": waiting for its end")
			r.hint(p.Email, failure.ResumeOrCancel)
		}
		if err := ca.Pause(ctx, lookAgain); err != nil {
			return err
		}
	}
}

// isAbandoned reports whether the order of a record has ended, as far as this host can tell.
func (i *Issuer) isAbandoned(p *state.Pending) bool {
	if !p.Expires.IsZero() && !i.now().Before(p.Expires) {
		return true
	}
	orders, err := i.disk.Orders(func(string, error) {})
	owns := func(o store.Named) bool {
		return slices.ContainsFunc(o.Challenges, func(c *store.Challenge) bool { return c.ID == p.ID })
	}
	if err != nil || slices.ContainsFunc(orders, owns) {
		return false
	}
	return i.Store == state.Store(i.Dir) || i.now().Sub(p.Created) > strangersFor
}
