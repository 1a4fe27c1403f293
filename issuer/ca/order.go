package ca

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"postseal/internal/failure"
	"postseal/internal/https"
	"postseal/internal/printable"
	"postseal/issuer/cert"
)

// NewOrder sends an order (RFC 8555, Section 7.4). If the CA says that the former certificate
// is replaced already, it orders without it (RFC 9773, Section 5); if the CA has forgotten
// the account, it registers that again.
func (c *CA) NewOrder(ctx context.Context, order acme.Order) (placed acme.Order, err error) {
	if err := c.checkProfile(ctx, order.Profile); err != nil {
		return placed, err
	}
	for range 3 {
		err = c.do(ctx, "ordering", func(ctx context.Context) error {
			placed, err = c.client.NewOrder(ctx, c.acme(), order)
			return err
		})
		switch {
		case err == nil && !https.URL(placed.Location):
			return placed, Fault("ordering: the CA does not say where the order is, with an https URL: %s", Quoted(placed.Location))
		case order.Replaces != "" && refusesReplaces(err):
			order.Replaces = ""
		case isProblem(err, acme.ProblemTypeAccountDoesNotExist):
			if err := c.registerAgain(ctx); err != nil {
				return placed, err
			}
		default:
			return placed, err
		}
	}
	return placed, err
}

// checkProfile refuses a profile that the CA does not have, in a sentence of ours.
func (c *CA) checkProfile(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	dir, err := c.Directory(ctx)
	if err != nil {
		return err
	}
	if _, ok := dir.Meta.Profiles[name]; ok {
		return nil
	}
	if len(dir.Meta.Profiles) == 0 {
		return failure.In("profile", failure.Failed("leave it out", "%s has no profiles, and so none named %q", Host(c.Server), name))
	}
	return failure.In("profile", failure.Failed("give one of them, or none", "%s has no profile %q, only %q",
		Host(c.Server), name, slices.Sorted(maps.Keys(dir.Meta.Profiles))))
}

// refusesReplaces reports whether the CA does not accept the former certificate: besides
// alreadyReplaced (409), CAs say so in words of their own.
func refusesReplaces(err error) bool {
	p, ok := ProblemOf(err)
	return ok && p.Status < http.StatusInternalServerError && p.Type != acme.ProblemTypeAccountDoesNotExist
}

// Order reads an order.
func (c *CA) Order(ctx context.Context, url string) (order acme.Order, err error) {
	order.Location = url
	err = c.do(ctx, "reading the order", func(ctx context.Context) error {
		order, err = c.OrderNow(ctx, order)
		return err
	})
	return order, err
}

// OrderNow is Order for a caller that polls.
func (c *CA) OrderNow(ctx context.Context, order acme.Order) (acme.Order, error) {
	return c.client.GetOrder(ctx, c.acme(), order)
}

// Judged returns an order as soon as it is no longer pending: a CA may need a moment to see
// that all authorizations are valid.
func (c *CA) Judged(ctx context.Context, order acme.Order) (acme.Order, error) {
	err := c.Poll(ctx, "reading the order", func(ctx context.Context) (err error) {
		order, err = c.OrderNow(ctx, order)
		if err == nil && order.Status == acme.StatusPending {
			err = ErrPending
		}
		return err
	})
	return order, err
}

// Finalizing is the request that sends a CA the CSR.
const Finalizing = "finalizing"

// FinalizeNow sends the CSR. If the order is no longer ready afterwards, the CA accepted the
// CSR, and any error is acmez's complaint that the order is not valid yet.
func (c *CA) FinalizeNow(ctx context.Context, order acme.Order, csr []byte) (acme.Order, error) {
	next, err := c.client.FinalizeOrder(ctx, c.acme(), order, csr)
	if err != nil && next.Status == acme.StatusReady {
		return next, err
	}
	return next, nil
}

// Download returns the certificate of an order and its chain, as the CA wrote it.
func (c *CA) Download(ctx context.Context, order acme.Order) (text []byte, err error) {
	err = c.Poll(forDownload(ctx), "downloading the certificate", func(ctx context.Context) error {
		chains, err := c.client.GetCertificateChain(ctx, c.acme(), order.Certificate)
		if err == nil && len(chains) > 0 {
			text = chains[0].ChainPEM
		}
		return err
	})
	return text, err
}

// GiveUp deactivates the pending authorizations of an order at the CA (RFC 8555, Section
// 7.5.2), and returns their number.
func (c *CA) GiveUp(ctx context.Context, url string) (n int, err error) {
	order, err := c.Order(ctx, url)
	if err != nil {
		return 0, err
	}
	for _, url := range order.Authorizations {
		changed := false
		err := c.do(ctx, "giving up an authorization", func(ctx context.Context) error {
			authz, err := c.client.GetAuthorization(ctx, c.acme(), url)
			if err != nil || authz.Status != acme.StatusPending {
				return err
			}
			changed = true
			_, err = c.client.DeactivateAuthorization(ctx, c.acme(), url)
			return err
		})
		if err != nil {
			return n, err
		}
		if changed {
			n++
		}
	}
	return n, nil
}

// Revoke revokes a certificate (RFC 8555, Section 7.6), signed by its key or, if that is nil,
// by the account's. It reports whether the certificate was revoked already.
func (c *CA) Revoke(ctx context.Context, leaf *x509.Certificate, key crypto.Signer, reason int) (already bool, err error) {
	what, signer := revokingWith, acme.Account{}
	if key == nil {
		if err := c.Existing(ctx); err != nil {
			return false, failure.WithHint(err, failure.NameKeyOrCA)
		}
		what, signer = revoking, c.acme()
	}
	err = c.do(ctx, what, func(ctx context.Context) error {
		return c.client.RevokeCertificate(ctx, signer, leaf, key, reason)
	})
	if isProblem(err, acme.ProblemTypeAlreadyRevoked) {
		return true, nil
	}
	return false, err
}

// OrderError says why an order is invalid, in the CA's words if it has any.
func OrderError(order acme.Order) error {
	if order.Error != nil {
		return errors.New("the order is invalid: the CA says " + Describe(*order.Error))
	}
	return errors.New("the order is invalid, and the CA does not say why")
}

// Authorization reads one authorization (RFC 8555, Section 7.5).
func (c *CA) Authorization(ctx context.Context, url string) (authz acme.Authorization, err error) {
	err = c.do(ctx, "reading the authorization", func(ctx context.Context) error {
		authz, err = c.client.GetAuthorization(ctx, c.acme(), url)
		return err
	})
	return authz, err
}

// Look is Authorization for a caller that polls: a temporary failure of the CA counts as
// pending. It also returns how long the CA asks to wait.
func (c *CA) Look(ctx context.Context, url string) (authz acme.Authorization, after time.Duration, err error) {
	ctx, x := withExchange(ctx, nil)
	authz, err = c.Authorization(ctx, url)
	last := x.answer()
	if err != nil && ctx.Err() == nil && transient(err, last.status) {
		return acme.Authorization{Status: acme.StatusPending}, last.wait, nil
	}
	return authz, last.wait, err
}

// Accept tells the CA to look at a challenge (RFC 8823, Section 3, item 7).
func (c *CA) Accept(ctx context.Context, url string) error {
	return c.Poll(ctx, "telling the CA to look", func(ctx context.Context) error {
		_, err := c.client.InitiateChallenge(ctx, c.acme(), acme.Challenge{URL: url})
		return err
	})
}

// ChallengeType is the only challenge type for addresses (RFC 8823, Section 5.2).
const ChallengeType = "email-reply-00"

// maxToken bounds token-part2, in characters. RFC 8823, Section 3, item 4, requires 22.
const maxToken = 256

// IsToken reports whether a text is base64url.
var IsToken = regexp.MustCompile(`^[A-Za-z0-9_-]+=*$`).MatchString

// Challenge returns the mail challenge of an authorization, with a token and a sender that
// are fit for a mail.
func Challenge(authz acme.Authorization, email string) (*acme.Challenge, error) {
	n := slices.IndexFunc(authz.Challenges, func(ch acme.Challenge) bool { return ch.Type == ChallengeType })
	if n < 0 {
		return nil, failure.Failed("this CA cannot give certificates for mail over ACME",
			"the CA offers no %s challenge for %s, only %s", ChallengeType, email, challengeTypes(authz))
	}
	found := &authz.Challenges[n]
	switch {
	case found.Token == "":
		return nil, Fault("the %s challenge for %s has no token", ChallengeType, email)
	case !IsToken(found.Token) || len(found.Token) > maxToken:
		return nil, Fault("the token of the %s challenge for %s is not base64url of at most %d characters", ChallengeType, email, maxToken)
	case !cert.IsPlain(found.From):
		return nil, Fault("the CA names no plain address from which it mails the challenge to %s: %s", email, Quoted(found.From))
	}
	return found, nil
}

func challengeTypes(authz acme.Authorization) string {
	var types []string
	for _, c := range authz.Challenges {
		types = append(types, printable.Line(c.Type, MaxWord))
	}
	if types == nil {
		types = []string{"none at all"}
	}
	return strings.Join(types[:min(len(types), maxSubproblems)], ", ")
}

// Problem returns why an authorization is invalid; ok is false if the CA does not say.
func Problem(authz acme.Authorization) (p acme.Problem, ok bool) {
	for _, ch := range authz.Challenges {
		if ch.Error != nil {
			p, ok = *ch.Error, true
		}
	}
	return p, ok
}
