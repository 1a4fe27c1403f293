package issuer

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"postseal/internal/failure"
	"postseal/issuer/ca"
	"postseal/issuer/cert"
	"postseal/issuer/store"
	"postseal/state"
)

// run is one order on its way to a certificate.
type run struct {
	i    *Issuer
	ca   *ca.CA
	req  Request
	name string
	path string          // of the order file
	main context.Context // without the order's timeout, for the hook

	begun bool // a certificate is due, and no mistake of the caller prevents it

	former *store.Renewal // of the existing certificate; nil for none

	mu      sync.Mutex // guards order and its file
	order   *store.Order
	since   time.Time                             // when the wait for a certificate began, over all its orders
	waiting string                                // for what, in words
	newKey  func() (key crypto.Signer, err error) // the key, generated meanwhile
	key     crypto.Signer
}

// deadOrder means that an order will never give a certificate.
type deadOrder struct {
	err   error
	again bool // a new order may succeed
}

func (e *deadOrder) Error() string { return e.err.Error() }
func (e *deadOrder) Unwrap() error { return e.err }

// promise makes the order file, as it was last saved, survive a power cut.
func (r *run) promise() error {
	if err := state.SyncDir(filepath.Dir(r.path)); err != nil {
		return store.Error(r.path, err)
	}
	return nil
}

// update changes the order and writes its file: nothing else does.
func (r *run) update(change func(*store.Order)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r.order)
	if err := store.Write(r.path, r.order); err != nil {
		return store.Error(r.path, err)
	}
	return nil
}

// orderingFor is how long a record may wait until its order is read back. That takes seconds,
// but somebody may adjust the clock by an hour meanwhile.
const orderingFor = 3 * time.Hour

// recordFor is how long a record waits if the CA does not state the authorization's lifetime.
// A random value lives at most 24 h (CA/B Forum S/MIME BR, Section 3.2.2.2).
const recordFor = 24 * time.Hour

// record writes the pending record of a challenge, in the "ordering" form until the token is
// known. A person who answers needs none.
func (r *run) record(ctx context.Context, c *store.Challenge, expires time.Time) error {
	if r.req.Interactive != nil {
		return nil
	}
	thumbprint, err := r.ca.Thumbprint()
	if err != nil {
		return err
	}
	switch now := r.i.Now(); {
	case c.Token == "":
		expires = now.Add(orderingFor)
	case !expires.After(now), expires.Year() > store.LastYear: // or our clock is ahead of the CA's, which still waits
		expires = now.Add(recordFor)
	}
	return r.take(ctx, &state.Pending{
		ID: c.ID, Email: c.Name(), Server: r.ca.Server, From: c.From, Token: c.Token,
		Thumbprint: thumbprint, Join: r.ca.Join(r.req.TokenJoin),
		Created: r.order.Created, Expires: expires.UTC().Truncate(time.Second), Policy: r.ca.Settings.Policy,
	})
}

// challengeFor finds the address in the CA's form, which the reply and the CSR use. It must
// be one plain address there, too.
func (r *run) challengeFor(id acme.Identifier) *store.Challenge {
	n := slices.IndexFunc(r.order.Challenges, func(c *store.Challenge) bool {
		return state.Key(c.Email) == state.Key(id.Value)
	})
	if n < 0 || !cert.IsPlain(id.Value) {
		return nil
	}
	return r.order.Challenges[n]
}

// forget removes the order and its records.
func (r *run) forget() {
	if r.order == nil {
		return
	}
	for _, c := range r.order.Challenges {
		r.unrecord(c)
	}
	if err := os.Remove(r.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		r.note("", "an order file could not be removed: "+err.Error())
	}
	r.order = nil
}

// unrecord ends the wait for a challenge, which then has no answer.
func (r *run) unrecord(c *store.Challenge) {
	if r.req.Interactive != nil {
		return
	}
	for _, addr := range []string{c.Email, c.Name()} {
		if err := r.i.Store.Remove(addr, r.order.Server, c.ID); err != nil {
			r.note(c.Email, "a pending record could not be removed: "+err.Error())
		}
	}
}

func (r *run) waitFor(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = what
}

func (r *run) step(kind StepKind, email, format string, args ...any) {
	r.i.step(kind, r.name, email, fmt.Sprintf(format, args...))
}

func (r *run) note(email, text string) { r.i.step(StepNote, r.name, email, text) }

func (r *run) hint(email, text string) { r.i.step(StepHint, r.name, email, text) }

// dir returns the certificate's directory.
func (r *run) dir() string { return r.i.disk.CertDir(r.name) }

// Two orders for one address at one CA follow each other: they share one record, and nobody
// could tell whose challenge arrived. On one host their locks ensure this (see
// store.Disk.LockOrder), and an order that nobody works on is completed first. Between hosts
// the record itself ensures it.

// lock waits until no other order is in the way, and keeps others away.
func (r *run) lock(ctx context.Context) (unlock func(), err error) {
	waits := func() { r.i.step(StepNote, "", "", "waiting for another order for "+list(r.req.Emails)) }
	var tried []string
	for {
		unlock, err = r.i.disk.LockOrder(ctx, &r.req.Settings, waits) // 1
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
	strangersFor = 2 * defaultTimeout
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
	if !p.Expires.IsZero() && !i.Now().Before(p.Expires) {
		return true
	}
	orders, err := i.disk.Orders(func(string, error) {})
	owns := func(o store.Named) bool {
		return slices.ContainsFunc(o.Challenges, func(c *store.Challenge) bool { return c.ID == p.ID })
	}
	if err != nil || slices.ContainsFunc(orders, owns) {
		return false
	}
	return i.Store == state.Store(i.Dir) || i.Now().Sub(p.Created) > strangersFor
}

func count(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

func list(items []string) string { return strings.Join(items, ", ") }
