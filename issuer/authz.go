package issuer

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"

	"github.com/mholt/acmez/v3/acme"

	"postseal/internal/failure"
	"postseal/internal/printable"
	"postseal/issuer/cert"
	"postseal/issuer/store"
	"postseal/state"
)

// challengeType is the only one for addresses (RFC 8823, Section 5.2).
const challengeType = "email-reply-00"

// authorize brings all authorizations of an order to "valid" and returns the
// order as it is then.
func (r *run) authorize(ctx context.Context, order acme.Order) (acme.Order, error) {
	if n := len(order.Authorizations); n == 0 || n > len(r.req.Emails) {
		return order, fault("the CA wants %d authorizations for %d %s", n, len(r.req.Emails), plural(len(r.req.Emails), "address"))
	}
	var err error
	if r.compat("serial") {
		err = r.oneByOne(ctx, order)
	} else {
		err = r.allAtOnce(ctx, order)
	}
	if err != nil {
		return order, err
	}
	return r.readOrder(ctx, order)
}

func (r *run) readOrder(ctx context.Context, order acme.Order) (acme.Order, error) {
	err := r.ca.poll(ctx, "reading the order", func(ctx context.Context) (err error) {
		order, err = r.ca.client.GetOrder(ctx, r.ca.current().acme(), order)
		if err == nil && order.Status == acme.StatusPending {
			err = errPending // a CA may need a moment to see that all are valid
		}
		return err
	})
	return order, err
}

// allAtOnce reads every authorization, then waits for all mails together.
func (r *run) allAtOnce(ctx context.Context, order acme.Order) error {
	var open []*store.Challenge
	for _, url := range order.Authorizations {
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
				cancel() // the order is lost, or the time is up
			}
		})
	}
	wg.Wait()
	return firstCause(errs)
}

// firstCause prefers an error that is not the echo of another one's cancel.
func firstCause(errs []error) error {
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return errors.Join(errs...)
}

// oneByOne serves a CA at which one look-up of a reply loses the others: the
// next challenge is not even read, which would make the CA mail it, before the
// last one is valid. No other order at this CA goes on meanwhile.
func (r *run) oneByOne(ctx context.Context, order acme.Order) error {
	unlock, err := r.ca.lockSerial(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	for _, url := range order.Authorizations {
		c, err := r.readAuthz(ctx, url)
		if err != nil {
			return err
		}
		if !c.Valid {
			if err := r.watch(ctx, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// readAuthz reads an authorization and, if it waits for a mail, hands it to the
// mail half.
func (r *run) readAuthz(ctx context.Context, url string) (*store.Challenge, error) {
	authz, err := r.getAuthz(ctx, url)
	if err != nil {
		return nil, err
	}
	c := r.challengeFor(authz.Identifier)
	if c == nil {
		return nil, failure.WithHint(fault("the CA wants an authorization for %s, which was not ordered", quoted(authz.Identifier.Value)),
			failure.TryCertbot)
	}
	if c.Authz != "" {
		return nil, fault("the CA wants two authorizations for %s", c.Email)
	}
	c.Authz, c.Value = url, authz.Identifier.Value
	switch authz.Status {
	case acme.StatusValid:
		c.Valid = true
		r.unrecord(c)
		r.step(StepValid, c.Email, "%s is authorized already: no mail comes", c.Email)
		return c, nil
	case acme.StatusPending:
		return c, r.takeChallenge(c, authz)
	}
	return nil, r.authzError(c, authz)
}

// getAuthz reads one authorization (RFC 8555, Section 7.5).
func (r *run) getAuthz(ctx context.Context, url string) (authz acme.Authorization, err error) {
	err = r.ca.do(ctx, "reading the authorization", func(ctx context.Context) error {
		authz, err = r.ca.client.GetAuthorization(ctx, r.ca.current().acme(), url)
		return err
	})
	return authz, err
}

// maxToken bounds token-part2, in characters. RFC 8823, Section 3, item 4, wants 22.
const maxToken = 256

// challengeFor finds the address in the form in which the CA returned it, which goes into
// the reply and into the CSR: it is one plain address, too.
func (r *run) challengeFor(id acme.Identifier) *store.Challenge {
	n := slices.IndexFunc(r.order.Challenges, func(c *store.Challenge) bool {
		return state.Key(c.Email) == state.Key(id.Value)
	})
	if n < 0 || !cert.IsPlain(id.Value) {
		return nil
	}
	return r.order.Challenges[n]
}

// takeChallenge completes the pending record.
func (r *run) takeChallenge(c *store.Challenge, authz acme.Authorization) error {
	found := mailChallenge(authz)
	if found == nil {
		return &deadOrder{failure.Failed("this CA cannot give certificates for mail over ACME",
			"the CA offers no %s challenge for %s, only %s", challengeType, c.Email, list(challengeTypes(authz))), false}
	}
	if found.Token == "" {
		return fault("the %s challenge for %s has no token", challengeType, c.Email)
	}
	if !tokenForm.MatchString(found.Token) || len(found.Token) > maxToken {
		return fault("the token of the %s challenge for %s is no base64url of at most %d characters", challengeType, c.Email, maxToken)
	}
	if !cert.IsPlain(found.From) {
		return fault("the CA names no plain address from which it mails the challenge to %s: %s", c.Email, quoted(found.From))
	}
	c.URL, c.From, c.Token = found.URL, found.From, found.Token
	if found.Status == acme.StatusProcessing && c.Posted.IsZero() {
		c.Posted = r.i.now().UTC() // an earlier run was killed right after posting
	}
	if err := r.record(c, authz.Expires); err != nil {
		return err
	}
	r.step(StepChallenge, c.Email, "the CA mails a challenge from %s to %s", orUnknown(c.From), c.Email)
	return nil
}

func orUnknown(from string) string {
	if from == "" {
		return "an address it does not tell"
	}
	return from
}

func mailChallenge(authz acme.Authorization) *acme.Challenge {
	for n := range authz.Challenges {
		if authz.Challenges[n].Type == challengeType {
			return &authz.Challenges[n]
		}
	}
	return nil
}

func challengeTypes(authz acme.Authorization) []string {
	var types []string
	for _, c := range authz.Challenges {
		types = append(types, printable.Line(c.Type, maxWord))
	}
	if types == nil {
		types = []string{"none at all"}
	}
	return types[:min(len(types), maxSubproblems)]
}

// reasonOf returns why an authorization is invalid, "" if the CA does not say.
func reasonOf(authz acme.Authorization) (says string) {
	for _, ch := range authz.Challenges {
		if ch.Error != nil {
			says = describeProblem(*ch.Error)
		}
	}
	return says
}

// authzError is the end of an order whose authorization failed.
func (r *run) authzError(c *store.Challenge, authz acme.Authorization) error {
	if authz.Status != acme.StatusInvalid {
		return &deadOrder{fmt.Errorf("the authorization for %s is %s", c.Email, printable.Line(authz.Status, maxWord)), true}
	}
	says := "the CA does not say why"
	var problem acme.Problem
	if reason := reasonOf(authz); reason != "" {
		says = "the CA says " + reason
	}
	for _, ch := range authz.Challenges {
		if ch.Error != nil {
			problem = *ch.Error
		}
	}
	return &deadOrder{failure.Failed(r.authzHint(c, problem), "the authorization for %s is invalid: %s", c.Email, says), false}
}

// What CAs write of a reply that they refused.
var (
	blamesSignature = regexp.MustCompile(`(?i)dkim|signature|signed|spf|dmarc`)
	blamesDigest    = regexp.MustCompile(`(?i)digest|token|thumbprint|key ?auth|hash|response`)
)

// authzHint returns the next step that the CA's reason points at; "" where it points at
// none of ours.
func (r *run) authzHint(c *store.Challenge, p acme.Problem) string {
	a, err := r.i.Store.Answer(c.ID)
	known := err == nil && a != nil
	answered := known && a.Phase == state.Sent || r.req.Interactive != nil
	tooEarly := p.Detail == "" || sawNoReply.MatchString(p.Detail)
	switch {
	case blamesSignature.MatchString(p.Detail):
		return failure.CheckSignature
	case tooEarly && r.ca.trigger(r.req.Trigger) == "post" && (!known || a.Claimed.After(c.Posted)):
		return failure.TriggerReply
	case !answered:
		return failure.SeeWhatCame
	case sawNoReply.MatchString(p.Detail):
		return "the reply may have been late: order again, and the wait before the CA is told is longer"
	case p.Detail == "" || blamesDigest.MatchString(p.Detail):
		if r.ca.join(r.req.TokenJoin) == "bytes" {
			return failure.JoinString
		}
		return failure.JoinBytes
	}
	return problemHints[p.Type]
}
