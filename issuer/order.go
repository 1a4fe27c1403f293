package issuer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"postseal/internal/failure"
	"postseal/issuer/ca"
	"postseal/issuer/store"
	"postseal/state"
)

// place returns the order at the CA: the one on disk in its present state, or a new one.
func (r *run) place(ctx context.Context) (acme.Order, error) {
	if r.order != nil && r.order.URL != "" {
		return r.resume(ctx)
	}
	if err := r.begin(ctx); err != nil {
		return acme.Order{}, err
	}
	return r.newOrder(ctx)
}

// begin writes the order file and, before the order is sent, a record for each
// address: a CA may mail the challenge before we have read the authorization.
func (r *run) begin(ctx context.Context) error {
	r.order = &store.Order{
		Version: store.Version, Settings: r.req.Settings, DryRun: r.req.DryRun,
		Created: r.i.Now().UTC().Truncate(time.Second), Replaces: r.req.replaces,
	}
	if r.since.IsZero() {
		r.since = r.order.Created
	}
	r.order.Since = r.since
	err := r.update(func(o *store.Order) {
		for _, email := range r.req.Emails {
			o.Challenges = append(o.Challenges, &store.Challenge{ID: rand.Text(), Email: email})
		}
	})
	if err != nil {
		return err
	}
	// In the order of the addresses: of two orders that share two, neither holds one of them
	// while it waits for the other.
	byAddress := func(a, b *store.Challenge) int { return strings.Compare(state.Key(a.Email), state.Key(b.Email)) }
	for _, c := range slices.SortedFunc(slices.Values(r.order.Challenges), byAddress) {
		if err := r.record(ctx, c, time.Time{}); err != nil {
			return err
		}
	}
	return r.promise()
}

// newOrder sends the order (RFC 8555, Section 7.4; RFC 8823, Section 3, item 2).
func (r *run) newOrder(ctx context.Context) (acme.Order, error) {
	order := acme.Order{Profile: r.req.Profile, Replaces: r.order.Replaces}
	kind := "email"
	if r.ca.Compat(r.req.Compat, "certbot") {
		kind = "dns"
	}
	for _, email := range r.req.Emails {
		order.Identifiers = append(order.Identifiers, acme.Identifier{Type: kind, Value: email})
	}
	r.waitFor("the CA to take the order")
	if r.req.Newcomer {
		ctx = ca.EndAtLimit(ctx)
	}
	placed, err := r.ca.NewOrder(ctx, order)
	if err != nil {
		if ctx.Err() == nil { // otherwise its fate is unknown
			r.forget()
		}
		return placed, err
	}
	r.step(StepOrder, "", "ordered for %s at %s: %s", list(r.req.Emails), ca.Host(r.ca.Server), placed.Location)
	r.tell(store.EventOrdered, "", "")
	return placed, r.update(func(o *store.Order) { o.URL = placed.Location })
}

// resume reads an earlier run's order.
func (r *run) resume(ctx context.Context) (acme.Order, error) {
	order, err := r.ca.Order(ctx, r.order.URL)
	if p, ok := ca.ProblemOf(err); ok && p.Status < http.StatusInternalServerError {
		return order, &deadOrder{fmt.Errorf("the CA does not know the earlier order any more: %s", ca.Describe(p)), true}
	}
	if err != nil {
		return order, err
	}
	if order.Status == acme.StatusInvalid {
		return order, &deadOrder{ca.OrderError(order), true}
	}
	r.step(StepOrder, "", "resuming the order for %s, which is %s: %s", list(r.req.Emails), order.Status, order.Location)
	return order, nil
}

// authorize brings all authorizations of an order to "valid" and returns the resulting order.
func (r *run) authorize(ctx context.Context, order acme.Order) (acme.Order, error) {
	if n := len(order.Authorizations); n == 0 || n > len(r.req.Emails) {
		return order, ca.Fault("the CA wants %d authorizations for %s", n, list(r.req.Emails))
	}
	var err error
	if r.ca.Compat(r.req.Compat, "serial") {
		err = r.oneByOne(ctx, order)
	} else {
		err = r.allAtOnce(ctx, order.Authorizations...)
	}
	if err != nil {
		return order, err
	}
	return r.ca.Judged(ctx, order)
}

// allAtOnce reads every authorization, then waits for all mails together.
func (r *run) allAtOnce(ctx context.Context, urls ...string) error {
	var open []*store.Challenge
	for _, url := range urls {
		c, err := r.readAuthz(ctx, url)
		if err != nil {
			return err
		}
		if !c.Valid {
			open = append(open, c)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(open))
	for n, c := range open {
		wg.Go(func() {
			if errs[n] = r.watch(ctx, c); errs[n] != nil {
				cancel() // the order is lost, or time has run out
			}
		})
	}
	wg.Wait()
	return firstCause(errs)
}

// firstCause prefers an error that another one's cancel did not cause.
func firstCause(errs []error) error {
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return errors.Join(errs...)
}

// oneByOne serves a CA that loses other validations while it looks up a reply. It does not
// even read the next challenge, which would make the CA mail it, before the last one is
// valid. Every other order at this CA waits.
func (r *run) oneByOne(ctx context.Context, order acme.Order) error {
	unlock, err := r.ca.LockSerial(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	for _, url := range order.Authorizations {
		if err := r.allAtOnce(ctx, url); err != nil {
			return err
		}
	}
	return nil
}

// readAuthz reads an authorization and, if that waits for a mail, hands it to the mail half.
func (r *run) readAuthz(ctx context.Context, url string) (*store.Challenge, error) {
	authz, err := r.ca.Authorization(ctx, url)
	if err != nil {
		return nil, err
	}
	c := r.challengeFor(authz.Identifier)
	if c == nil {
		return nil, failure.WithHint(ca.Fault("the CA wants an authorization for %s, which was not ordered", ca.Quoted(authz.Identifier.Value)),
			failure.TryCertbot)
	}
	if c.Authz != "" {
		return nil, ca.Fault("the CA wants two authorizations for %s", c.Email)
	}
	c.Authz, c.Value = url, authz.Identifier.Value
	switch authz.Status {
	case acme.StatusValid:
		c.Valid = true
		r.unrecord(c)
		r.step(StepValid, c.Email, "%s is authorized already: no mail comes", c.Email)
		return c, nil
	case acme.StatusPending:
		return c, r.takeChallenge(ctx, c, authz)
	}
	return nil, r.authzError(c, authz)
}

// takeChallenge completes the pending record.
func (r *run) takeChallenge(ctx context.Context, c *store.Challenge, authz acme.Authorization) error {
	found, err := ca.Challenge(authz, c.Email)
	if err != nil {
		return &deadOrder{err, false}
	}
	c.URL, c.From, c.Token = found.URL, found.From, found.Token
	if found.Status == acme.StatusProcessing && c.Posted.IsZero() {
		c.Posted = r.i.Now().UTC() // an earlier run died right after the POST
	}
	if err := r.record(ctx, c, authz.Expires); err != nil {
		return err
	}
	r.step(StepChallenge, c.Email, "the CA mails a challenge from %s to %s", c.From, c.Email)
	return nil
}
