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
	switch now := r.i.now(); {
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

func (r *run) waitsForOther() {
	r.i.step(StepNote, "", "", "waiting for another order for "+list(r.req.Emails))
}

func count(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

func list(items []string) string { return strings.Join(items, ", ") }
