package ca

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"postseal/internal/failure"
	"postseal/internal/printable"
	"postseal/issuer/cert"
)

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
