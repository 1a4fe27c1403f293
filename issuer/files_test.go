package issuer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"postseal/internal/failure"
	"postseal/issuer/ca"
	"postseal/issuer/store"
	"postseal/state"
)

func fuzzFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func FuzzParseSubject(f *testing.F) {
	f.Add("ACME: V4nE8NhYh6edBpfQTg5qqQ")
	f.Add("Subject: ACME:\tV4nE8NhYh6edBpfQTg5qqQ==")
	f.Fuzz(func(t *testing.T, line string) {
		part1, err := parseSubject(line)
		if err != nil {
			return
		}
		if again, err := parseSubject("ACME: " + part1); err != nil || again != part1 {
			t.Errorf("%q: %q, %v", line, again, err)
		}
	})
}

// Authorizations that cannot lead to a certificate.
func TestAuthorizations(t *testing.T) {
	i := newStore(t)
	c, err := i.ca("https://ca.example/dir", "")
	if err != nil {
		t.Fatal(err)
	}
	r := &run{i: i, ca: c, order: &store.Order{Challenges: []*store.Challenge{{ID: "a", Email: alice}}}}
	ch := r.order.Challenges[0]
	problem := &acme.Problem{Type: acme.ProblemTypeIncorrectResponse, Detail: "no such reply"}
	for name, tc := range map[string]struct {
		err   error
		text  string
		again bool
	}{
		"no mail challenge": {r.takeChallenge(t.Context(), ch, acme.Authorization{Challenges: []acme.Challenge{{Type: "http-01"}, {Type: "dns-01"}}}), "no email-reply-00 challenge for alice@example.test, only http-01, dns-01", false},
		"no challenge":      {r.takeChallenge(t.Context(), ch, acme.Authorization{}), "only none at all", false},
		"no token":          {r.takeChallenge(t.Context(), ch, acme.Authorization{Challenges: []acme.Challenge{{Type: ca.ChallengeType}}}), "has no token", false},
		"no token of ours":  {r.takeChallenge(t.Context(), ch, acme.Authorization{Challenges: []acme.Challenge{{Type: ca.ChallengeType, Token: "a b"}}}), "is not base64url", false},
		"no from":           {r.takeChallenge(t.Context(), ch, acme.Authorization{Challenges: []acme.Challenge{{Type: ca.ChallengeType, Token: "abc"}}}), "names no plain address", false},
		"a name":            {r.takeChallenge(t.Context(), ch, acme.Authorization{Challenges: []acme.Challenge{{Type: ca.ChallengeType, Token: "abc", From: "CA <ca@ca.example>"}}}), "names no plain address", false},
		"two":               {r.takeChallenge(t.Context(), ch, acme.Authorization{Challenges: []acme.Challenge{{Type: ca.ChallengeType, Token: "abc", From: "ca@ca.example, eve@ca.example"}}}), "names no plain address", false},
		"a field more":      {r.takeChallenge(t.Context(), ch, acme.Authorization{Challenges: []acme.Challenge{{Type: ca.ChallengeType, Token: "abc", From: "ca@ca.example\r\nBcc: eve@ca.example"}}}), `"ca@ca.example\r\nBcc: eve@ca.example"`, false},
		"right to left":     {r.takeChallenge(t.Context(), ch, acme.Authorization{Challenges: []acme.Challenge{{Type: ca.ChallengeType, Token: "abc", From: "ca\u202e@ca.example"}}}), `"ca\u202e@ca.example"`, false},
		"invalid":           {r.authzError(ch, acme.Authorization{Status: acme.StatusInvalid, Challenges: []acme.Challenge{{Error: problem}}}), `the CA says "no such reply" (incorrectResponse)`, false},
		"expired":           {r.authzError(ch, acme.Authorization{Status: acme.StatusExpired}), "is expired", true},
		"deactivated":       {r.authzError(ch, acme.Authorization{Status: acme.StatusDeactivated}), "is deactivated", true},
	} {
		var dead *deadOrder
		if !errors.As(tc.err, &dead) {
			t.Fatalf("%s: %v", name, tc.err)
		}
		if dead.again != tc.again || !strings.Contains(tc.err.Error(), tc.text) {
			t.Errorf("%s: %v", name, tc.err)
		}
	}
	if got := r.challengeFor(acme.Identifier{Type: "email", Value: "ALICE@example.test"}); got != ch {
		t.Error("another case is another address")
	}
	if got := r.challengeFor(acme.Identifier{Type: "email", Value: "eve@example.test"}); got != nil {
		t.Error("a stranger's authorization")
	}
}

func TestStateErrors(t *testing.T) {
	file := fuzzFile(t, "file", nil)
	_, err := New(Options{Dir: state.Open(file)}).Status()
	if failure.KindOf(err) != failure.KindConfig || !strings.Contains(failure.HintOf(err), failure.OtherState) {
		t.Errorf("%v", err)
	}
	if err := New(Options{Dir: state.Open(file)}).prepare(); failure.KindOf(err) != failure.KindConfig {
		t.Errorf("%v", err)
	}
	empty, err := New(Options{Dir: state.Open(file + ".none")}).Status()
	if err != nil || len(empty.Certificates) != 0 {
		t.Errorf("%+v, %v", empty, err)
	}
}

// postseal names a damaged renewal.json, and goes on.
func TestDamagedRenewal(t *testing.T) {
	t.Parallel()
	i := newStore(t)
	var told []string
	i.OnStep = func(s Step) { told = append(told, s.Text) }
	if err := i.disk.Put(alice, newGeneration(t, "1")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(i.disk.CertDir("broken"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(i.disk.CertDir("broken"), store.RenewalFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := i.Status()
	if err != nil || len(s.Certificates) != 1 || len(told) != 1 || !strings.Contains(told[0], "broken/renewal.json") {
		t.Errorf("%+v, %v, %q", s, err, told)
	}
}

// The words for each thing that an order can wait for.
func TestWaitsFor(t *testing.T) {
	t.Parallel()
	i := newStore(t)
	server := "https://ca.example/dir"
	put := func(id, email, token string) {
		if err := i.Dir.Put(&state.Pending{ID: id, Email: email, Server: server, From: "ca@ca.example", Token: token, Thumbprint: "t", Created: time.Now(), Expires: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	put("A", alice, "x")
	put("B", "bob@example.test", "x")
	answer := func() {
		claim, err := i.Dir.Claim(&state.Pending{ID: "B", Email: "bob@example.test", Server: server}, "<a>", "<b>", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(claim.Sending(), claim.Sent(time.Now())); err != nil {
			t.Fatal(err)
		}
	}
	answer()
	o := &store.Order{Settings: store.Settings{Emails: []string{alice}, Server: server}, URL: "u", Challenges: []*store.Challenge{{ID: "A", Email: alice}, {ID: "B", Email: "bob@example.test"}}}
	for want, change := range map[string]func(store.Order) store.Order{
		"the challenge mail from ca@ca.example to alice@example.test; the CA to look at the reply for bob@example.test": func(o store.Order) store.Order { return o },
		"the CA to take the order":        func(o store.Order) store.Order { o.URL = ""; return o },
		"the CA to issue the certificate": func(o store.Order) store.Order { o.Finalizing = true; return o },
		"the deploy hook":                 func(o store.Order) store.Order { o.Stored = true; return o },
		"the CA":                          func(o store.Order) store.Order { o.Challenges = nil; return o },
	} {
		changed := change(*o)
		if err := store.Write(i.disk.OrderPath(alice, false), &store.Order{Version: store.Version, Settings: changed.Settings, URL: changed.URL, Finalizing: changed.Finalizing, Stored: changed.Stored, Challenges: changed.Challenges}); err != nil {
			t.Fatal(err)
		}
		s, err := i.Status()
		if err != nil || len(s.Orders) != 1 || s.Orders[0].WaitingFor != want {
			t.Errorf("%+v, %v, want %q", s.Orders, err, want)
		}
		if len(s.Answers) != 1 || s.Answers[0].Phase != "sent" || len(s.Pending) != 2 {
			t.Errorf("%+v %+v", s.Answers, s.Pending)
		}
	}
}
