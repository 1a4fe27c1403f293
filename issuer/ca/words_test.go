package ca

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/mholt/acmez/v3/acme"

	"postseal/internal/failure"
	"postseal/internal/https"
	"postseal/internal/printable"
)

// However long and hostile a problem document is, it becomes one printable line.
func TestDescribe(t *testing.T) {
	const bad = "x\x1b[2J\ny"
	sub := acme.Subproblem{Identifier: acme.Identifier{Value: bad}, Problem: acme.Problem{Detail: "sub", Type: acme.ProblemTypeCAA}}
	for n, more := range map[int]string{0: "", maxSubproblems: "", maxSubproblems + 1: "; and 1 more", maxSubproblems + 5: "; and 5 more"} {
		p := acme.Problem{Type: bad, Detail: bad, Instance: bad, Subproblems: slices.Repeat([]acme.Subproblem{sub}, n)}
		text := Describe(p)
		if !printable.Text(text) || strings.Count(text, `"sub" (caa)`) != min(n, maxSubproblems) || !strings.HasSuffix(text, more) || more == "" && strings.Contains(text, " more") {
			t.Errorf("%d: %q", n, text)
		}
	}
	for want, p := range map[string]acme.Problem{
		`"d" (caa); see https://ca.example/why`: {Type: acme.ProblemTypeCAA, Title: "t", Detail: "d", Instance: "https://ca.example/why"},
		`"t"`:                                   {Type: "about:blank", Title: "t"},
	} {
		if got := Describe(p); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// The same problem means something else in another place.
func TestProblemHint(t *testing.T) {
	for _, tc := range []struct {
		what, kid, problem string
		status             int
		hint               string
	}{
		{"ordering", "", acme.ProblemTypeUnauthorized, 403, failure.ShowAccount},
		{"ordering", "kid", acme.ProblemTypeUnauthorized, 403, failure.ShowAccount},
		{making, "", acme.ProblemTypeUnauthorized, 403, ""},
		{making, "kid", acme.ProblemTypeUnauthorized, 403, failure.CheckBinding},
		{making, "kid", acme.ProblemTypeMalformed, 400, failure.CheckBinding},
		{making, "kid", acme.ProblemTypeMalformed, 500, serverHint},
		{making, "kid", acme.ProblemTypeCAA, 403, problemHints[acme.ProblemTypeCAA]},
		{Finalizing, "", acme.ProblemTypeBadPublicKey, 400, failure.RevokeOldKey},
		{revoking, "", acme.ProblemTypeUnauthorized, 403, failure.SignByKey},
		{revokingWith, "", acme.ProblemTypeUnauthorized, 403, failure.SignByAccount},
		{"ordering", "", "urn:x", 400, ""},
		{"ordering", "", "urn:x", 500, serverHint},
	} {
		c := &CA{options: Options{Account: AccountOptions{EABKid: tc.kid}}}
		if got := c.problemHint(tc.what, acme.Problem{Type: tc.problem, Status: tc.status}); got != tc.hint {
			t.Errorf("%s, %q, %s %d: %q, want %q", tc.what, tc.kid, tc.problem, tc.status, got, tc.hint)
		}
	}
}

// A CA's fault is told as one, and is not asked for again; a server's trouble is.
func TestFault(t *testing.T) {
	problem := func(status int) error { return fmt.Errorf("x: %w", acme.Problem{Status: status, Detail: "no"}) }
	refused := &net.OpError{Op: "dial", Err: errors.New("refused")}
	for name, tc := range map[string]struct {
		err              error
		status           int
		fault, transient bool
	}{
		"a fault of ours":       {Fault("wrong"), 500, true, false},
		"clear text":            {&url.Error{Op: "Get", URL: "http://x", Err: &https.Error{URL: "http://x"}}, 0, true, false},
		"not a URL":             {&url.Error{Op: "parse", URL: "\x1b", Err: errors.New("x")}, 0, true, false},
		"refused":               {&url.Error{Op: "Get", URL: "https://x", Err: refused}, 0, false, true},
		"not trusted":           {&url.Error{Op: "Get", URL: "https://x", Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}}, 0, false, false},
		"cut off":               {io.ErrUnexpectedEOF, 0, false, true},
		"closed":                {fmt.Errorf("x: %w", io.EOF), 0, false, true},
		"a problem":             {problem(403), 403, false, false},
		"a problem of a server": {problem(500), 500, false, true},
		"a page of a server":    {errors.New("HTTP 502"), http.StatusBadGateway, false, true},
		"a page":                {errors.New("HTTP 404"), http.StatusNotFound, false, false},
	} {
		fault := FaultOf(tc.err)
		if (fault != nil) != tc.fault || transient(tc.err, tc.status) != tc.transient {
			t.Errorf("%s: fault %v, transient %v", name, fault, transient(tc.err, tc.status))
		}
		if fault == nil {
			continue
		}
		if told := (&CA{Server: "https://ca.example/"}).Explain("asking", fault); failure.HintOf(told) != faultHint || !printable.Text(told.Error()) {
			t.Errorf("%s: %v; hint %q", name, told, failure.HintOf(told))
		}
	}
}

// A token goes into a mail, and the sender into a header field.
func TestChallenge(t *testing.T) {
	const from = "ca@ca.example"
	for name, tc := range map[string]struct {
		token, from string
		ok          bool
	}{
		"longest":  {strings.Repeat("x", maxToken), from, true},
		"too long": {strings.Repeat("x", maxToken+1), from, false},
		"padded":   {"abc_-=", from, true}, "two": {"abc=abc", from, false}, "a line more": {"abc\nx", from, false}, "none": {"", from, false},
		"white space": {"abc", " " + from, false}, "no sender": {"abc", "", false},
	} {
		authz := acme.Authorization{Challenges: []acme.Challenge{{Type: "http-01"}, {Type: ChallengeType, Token: tc.token, From: tc.from}}}
		got, err := Challenge(authz, "alice@example.test")
		if (err == nil) != tc.ok || err != nil && FaultOf(err) == nil || err == nil && got.Token != tc.token {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	many := acme.Authorization{Challenges: slices.Repeat([]acme.Challenge{{Type: "x\n"}}, 1000)}
	if _, err := Challenge(many, "alice@example.test"); err == nil || len(err.Error()) > 500 || !printable.Text(err.Error()) {
		t.Error(err)
	}
}
