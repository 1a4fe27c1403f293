package issuer

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"

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
		Created: r.i.now().UTC().Truncate(time.Second), Replaces: r.req.replaces,
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
