package testca

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

func emails(addrs ...string) []acme.Identifier {
	var ids []acme.Identifier
	for _, a := range addrs {
		ids = append(ids, acme.Identifier{Type: "email", Value: a})
	}
	return ids
}

func TestNewOrderRefused(t *testing.T) {
	c := newClient(t, start(t, Config{}))
	far := time.Now().Add(10 * 365 * 24 * time.Hour).Truncate(time.Second)
	past := time.Now().Add(-time.Hour).Truncate(time.Second)
	tests := []struct {
		name   string
		order  acme.Order
		status int
		kind   string
	}{
		{"no identifier", acme.Order{}, 400, "malformed"},
		{"type dns", acme.Order{Identifiers: []acme.Identifier{{Type: "dns", Value: "example.test"}}}, 400, "unsupportedIdentifier"},
		{"wildcard", acme.Order{Identifiers: emails("*@example.test")}, 400, "rejectedIdentifier"},
		{"wildcard domain", acme.Order{Identifiers: emails("a@*.example.test")}, 400, "rejectedIdentifier"},
		{"no address", acme.Order{Identifiers: emails("example.test")}, 400, "rejectedIdentifier"},
		{"display name", acme.Order{Identifiers: emails("A <a@example.test>")}, 400, "rejectedIdentifier"},
		{"line break", acme.Order{Identifiers: emails("a@example.test\r\nBcc: b@example.test")}, 400, "rejectedIdentifier"},
		{"one label", acme.Order{Identifiers: emails("a@localhost")}, 400, "rejectedIdentifier"},
		{"twice", acme.Order{Identifiers: emails(alice, alice)}, 400, "malformed"},
		{"several", acme.Order{Identifiers: emails("*@example.test", "b")}, 400, "compound"},
		{"notAfter", acme.Order{Identifiers: emails(alice), NotAfter: &far}, 400, "malformed"},
		{"notAfter in the past", acme.Order{Identifiers: emails(alice), NotAfter: &past}, 400, "malformed"},
		{"notBefore", acme.Order{Identifiers: emails(alice), NotBefore: &far}, 400, "malformed"},
		{"replaces", acme.Order{Identifiers: emails(alice), Replaces: "AA.BB"}, 400, "malformed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := c.NewOrder(t.Context(), c.acct, test.order)
			p := wantACME(t, err, test.status, test.kind)
			if test.kind == "compound" && len(p.Subproblems) != 2 {
				t.Errorf("%d subproblems, want one for each identifier", len(p.Subproblems))
			}
		})
	}
}

// acmez knows the profiles offered, so the wrong one goes by hand.
func TestProfiles(t *testing.T) {
	ca := start(t, Config{AlwaysReady: true, Profiles: map[string]string{"sign": "for signing"}})
	raw := newJWSClient(t, ca)
	raw.register()
	res, body := raw.post(ca.url(kindNewOrder, ""), `{"identifiers":[{"type":"email","value":"a@example.test"}],"profile":"encrypt"}`, parts{})
	wantProblem(t, res, body, 400, "invalidProfile")
	c := newClient(t, ca)
	if o, err := c.NewOrder(t.Context(), c.acct, acme.Order{Identifiers: emails(alice), Profile: "sign"}); err != nil || o.Profile != "sign" {
		t.Errorf("profile %q, %v", o.Profile, err)
	}
}

// An order for several addresses is ready when each of them was answered for,
// and its certificate names them all.
func TestSeveralAddresses(t *testing.T) {
	box := newMailbox(t)
	ca := start(t, Config{Relay: box.addr})
	c := newClient(t, ca)
	o := c.order(alice, "bob@example.test")
	mails := map[string]received{}
	authzs := []acme.Authorization{c.authz(o, 0), c.authz(o, 1)}
	for range authzs {
		m := box.next(t)
		mails[m.to] = m
	}
	for i, a := range authzs {
		if _, err := c.FinalizeOrder(t.Context(), c.acct, noPolling(o), []byte("x")); err == nil {
			t.Errorf("an order with %d of 2 authorizations was finalized", i)
		}
		mustSend(t, ca, c.replyTo(mails[a.Identifier.Value], a, JoinString))
		c.postChallenge(a)
	}
	if cert := c.finish(o, newKey(t)); len(cert.EmailAddresses) != 2 {
		t.Errorf("the certificate is for %q", cert.EmailAddresses)
	}
}

// noPolling keeps acmez from waiting for an order that is not ready.
func noPolling(o acme.Order) acme.Order {
	o.Location = ""
	return o
}

func TestIdentifierCase(t *testing.T) {
	box := newMailbox(t)
	ca := start(t, Config{Relay: box.addr, IdentifierCase: "lower"})
	c := newClient(t, ca)
	o := c.order("Alice@Example.TEST")
	if o.Identifiers[0].Value != alice {
		t.Fatalf("the order is for %q", o.Identifiers[0].Value)
	}
	a := c.authz(o, 0)
	if m := box.next(t); m.to != alice {
		t.Errorf("the mail went to %q", m.to)
	} else {
		mustSend(t, ca, c.replyTo(m, a, JoinString))
	}
	c.postChallenge(a)
	if cert := c.finish(o, newKey(t)); cert.EmailAddresses[0] != alice {
		t.Errorf("the certificate is for %q", cert.EmailAddresses)
	}
}

func TestReuseAuthz(t *testing.T) {
	box := newMailbox(t)
	ca := start(t, Config{Relay: box.addr, ReuseAuthz: true, MailTrigger: MailOnOrder})
	c := newClient(t, ca)
	first := c.order(alice)
	a := c.authz(first, 0)
	mustSend(t, ca, c.replyTo(box.next(t), a, JoinString))
	c.postChallenge(a)
	c.finish(first, newKey(t))

	second := c.order(alice)
	if second.Status != acme.StatusReady {
		t.Fatalf("the second order is %s", second.Status)
	}
	c.finish(second, newKey(t))
	if third := c.order("bob@example.test"); third.Status != acme.StatusPending {
		t.Errorf("an order for another address is %s", third.Status)
	}
	waitEvents(t, ca, EventMailSent, 2)
	if m := box.next(t); m.to != "bob@example.test" {
		t.Errorf("a mail went to %s", m.to)
	}
	box.none(t)
}

func TestAlwaysReady(t *testing.T) {
	ca := start(t, Config{AlwaysReady: true, MailTrigger: MailOnOrder})
	c := newClient(t, ca)
	o := c.order(alice)
	if o.Status != acme.StatusReady {
		t.Fatalf("the order is %s", o.Status)
	}
	c.finish(o, newKey(t))
	if n := ca.Counters().Events[EventMailRetry]; n != 0 {
		t.Errorf("%d mails were tried", n)
	}
}

func TestDeactivateAuthz(t *testing.T) {
	ca := start(t, Config{MailTrigger: MailOnPost})
	c := newClient(t, ca)
	o := c.order(alice)
	a, err := c.DeactivateAuthorization(t.Context(), c.acct, o.Authorizations[0])
	if err != nil || a.Status != acme.StatusDeactivated {
		t.Fatalf("%s, %v", a.Status, err)
	}
	if o, err = c.GetOrder(t.Context(), c.acct, o); err != nil || o.Status != acme.StatusInvalid {
		t.Errorf("the order is %s, %v", o.Status, err)
	}
}

func TestExpiry(t *testing.T) {
	ca := start(t, Config{AuthzLifetime: time.Nanosecond, MailTrigger: MailOnPost})
	c := newClient(t, ca)
	o := c.order(alice)
	if a := c.authz(o, 0); a.Status != acme.StatusExpired {
		t.Errorf("the authorization is %s", a.Status)
	}
	if o, err := c.GetOrder(t.Context(), c.acct, o); err != nil || o.Status != acme.StatusInvalid {
		t.Errorf("the order is %s, %v", o.Status, err)
	}
}

func TestReplaces(t *testing.T) {
	ca := start(t, Config{AlwaysReady: true})
	c := newClient(t, ca)
	old := c.finish(c.order(alice), newKey(t))
	id, err := acme.ARIUniqueIdentifier(old)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	_, err = c.NewOrder(ctx, c.acct, acme.Order{Identifiers: emails("bob@example.test"), Replaces: id})
	wantACME(t, err, 400, "malformed")
	stranger := newClient(t, ca)
	_, err = stranger.NewOrder(ctx, stranger.acct, acme.Order{Identifiers: emails(alice), Replaces: id})
	wantACME(t, err, 400, "malformed")

	o, err := c.NewOrder(ctx, c.acct, acme.Order{Identifiers: emails(alice), Replaces: id})
	if err != nil || o.Replaces != id {
		t.Fatalf("replaces %q, %v", o.Replaces, err)
	}
	_, err = c.NewOrder(ctx, c.acct, acme.Order{Identifiers: emails(alice), Replaces: id})
	wantACME(t, err, 409, "alreadyReplaced")

	// An order that came to nothing does not count.
	if _, err := c.DeactivateAuthorization(ctx, c.acct, o.Authorizations[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := c.NewOrder(ctx, c.acct, acme.Order{Identifiers: emails(alice), Replaces: id}); err != nil {
		t.Error(err)
	}
}

func TestAlwaysReplaced(t *testing.T) {
	ca := start(t, Config{AlwaysReady: true, AlwaysReplaced: true})
	c := newClient(t, ca)
	id, err := acme.ARIUniqueIdentifier(c.finish(c.order(alice), newKey(t)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.NewOrder(t.Context(), c.acct, acme.Order{Identifiers: emails(alice), Replaces: id})
	wantACME(t, err, 409, "alreadyReplaced")
}

// Facts from elsewhere: both readings of "concatenates".
func TestTokenJoin(t *testing.T) {
	b, err := os.ReadFile("testdata/token-join.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Part1, Part2, Thumbprint, Response string
		Join                               Join
	}
	if err := json.Unmarshal(b, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 12 {
		t.Fatalf("only %d vectors", len(vectors))
	}
	for _, v := range vectors {
		if got := responseDigest(v.Join, v.Part1, v.Part2, v.Thumbprint); got != v.Response {
			t.Errorf("%s %s+%s: %s, want %s", v.Join, v.Part1, v.Part2, got, v.Response)
		}
	}
}

func orderFor(addrs ...string) acme.Order { return acme.Order{Identifiers: emails(addrs...)} }
