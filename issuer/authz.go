package issuer

import (
	"context"
	"errors"
	"sync"

	"github.com/mholt/acmez/v3/acme"

	"postseal/internal/failure"
	"postseal/issuer/ca"
	"postseal/issuer/store"
)

// authorize brings all authorizations of an order to "valid" and returns the resulting order.
func (r *run) authorize(ctx context.Context, order acme.Order) (acme.Order, error) {
	if n := len(order.Authorizations); n == 0 || n > len(r.req.Emails) {
		return order, ca.Fault("the CA wants %d authorizations for %s", n, count(len(r.req.Emails), "address", "addresses"))
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
		c.Posted = r.i.now().UTC() // an earlier run died right after the POST
	}
	if err := r.record(ctx, c, authz.Expires); err != nil {
		return err
	}
	r.step(StepChallenge, c.Email, "the CA mails a challenge from %s to %s", c.From, c.Email)
	return nil
}
