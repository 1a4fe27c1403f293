package testca

import (
	"errors"
	"strings"
	"testing"

	"github.com/mholt/acmez/v3/acme"
)

// wantACME checks that an error of the client is the CA's problem.
func wantACME(t testing.TB, err error, status int, kind string) acme.Problem {
	t.Helper()
	var p acme.Problem
	if !errors.As(err, &p) || p.Type != errorURN+kind || p.Status != status {
		t.Errorf("got %v, want %d %s", err, status, kind)
	}
	return p
}

func TestAccount(t *testing.T) {
	ca := start(t, Config{})
	c := unregistered(t, ca)
	ctx := t.Context()
	_, err := c.GetAccount(ctx, c.acct)
	wantACME(t, err, 400, "accountDoesNotExist")

	c.acct.Contact = []string{"mailto:admin@example.test"}
	made, err := c.NewAccount(ctx, c.acct)
	if err != nil {
		t.Fatal(err)
	}
	found, err := c.GetAccount(ctx, c.acct)
	if err != nil || found.Location != made.Location {
		t.Errorf("found %q, %v; made %q", found.Location, err, made.Location)
	}
	again, err := c.NewAccount(ctx, c.acct)
	if err != nil || again.Location != made.Location {
		t.Errorf("the same key made %q, %v", again.Location, err)
	}
	if n := ca.Counters().Events[EventAccount]; n != 1 {
		t.Errorf("%d accounts", n)
	}

	location := made.Location // which acmez forgets without a Location in the answer
	made.Contact = []string{"mailto:other@example.test"}
	made, err = c.UpdateAccount(ctx, made)
	if err != nil || made.Contact[0] != "mailto:other@example.test" {
		t.Errorf("contact %q, %v", made.Contact, err)
	}
	made.Location, made.Status = location, acme.StatusDeactivated
	if made, err = c.UpdateAccount(ctx, made); err != nil || made.Status != acme.StatusDeactivated {
		t.Errorf("status %q, %v", made.Status, err)
	}
	made.Location = location
	_, err = c.NewOrder(ctx, made, acme.Order{Identifiers: []acme.Identifier{{Type: "email", Value: alice}}})
	wantACME(t, err, 403, "unauthorized")
	_, err = c.NewAccount(ctx, c.acct)
	wantACME(t, err, 403, "unauthorized")
}

func TestAccountRefused(t *testing.T) {
	ca := start(t, Config{})
	tests := []struct {
		name   string
		edit   func(*acme.Account)
		status int
		kind   string
	}{
		{"terms", func(a *acme.Account) { a.TermsOfServiceAgreed = false }, 403, "userActionRequired"},
		{"contact scheme", func(a *acme.Account) { a.Contact = []string{"tel:+15550100"} }, 400, "unsupportedContact"},
		{"contact header fields", func(a *acme.Account) { a.Contact = []string{"mailto:a@example.test?subject=x"} }, 400, "invalidContact"},
		{"two addresses", func(a *acme.Account) { a.Contact = []string{"mailto:a@example.test,b@example.test"} }, 400, "invalidContact"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := unregistered(t, ca)
			test.edit(&c.acct)
			_, err := c.NewAccount(t.Context(), c.acct)
			p := wantACME(t, err, test.status, test.kind)
			if test.kind == "userActionRequired" && !strings.Contains(p.Detail, ca.termsURL()) {
				t.Errorf("the problem does not say where the terms are: %q", p.Detail)
			}
		})
	}
	if n := ca.Counters().Events[EventAccount]; n != 0 {
		t.Errorf("%d accounts were made", n)
	}
}

func TestNoTerms(t *testing.T) {
	c := unregistered(t, start(t, Config{NoTerms: true}))
	c.acct.TermsOfServiceAgreed = false
	if _, err := c.NewAccount(t.Context(), c.acct); err != nil {
		t.Error(err)
	}
}

func TestEAB(t *testing.T) {
	ca := start(t, Config{RequireEAB: true})
	c := unregistered(t, ca)
	_, err := c.NewAccount(t.Context(), c.acct)
	wantACME(t, err, 403, "externalAccountRequired")

	for _, eab := range []acme.EAB{
		{KeyID: "somebody", MACKey: ca.EAB.HMACKey},
		{KeyID: ca.EAB.KeyID, MACKey: encode64(make([]byte, 32))},
	} {
		if err := c.acct.SetExternalAccountBinding(t.Context(), c.Client, eab); err != nil {
			t.Fatal(err)
		}
		_, err = c.NewAccount(t.Context(), c.acct)
		wantACME(t, err, 403, "unauthorized")
	}

	if err := c.acct.SetExternalAccountBinding(t.Context(), c.Client, acme.EAB{KeyID: ca.EAB.KeyID, MACKey: ca.EAB.HMACKey}); err != nil {
		t.Fatal(err)
	}
	stolen := c.acct
	stolen.PrivateKey = newKey(t)
	_, err = c.NewAccount(t.Context(), stolen)
	wantACME(t, err, 400, "malformed")
	if _, err := c.NewAccount(t.Context(), c.acct); err != nil {
		t.Error(err)
	}
}

func TestKeyRollover(t *testing.T) {
	box := newMailbox(t)
	ca := start(t, Config{Relay: box.addr})
	c := newClient(t, ca)
	old := c.acct
	acct, err := c.AccountKeyRollover(t.Context(), c.acct, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	c.acct = acct
	_, err = c.NewOrder(t.Context(), old, acme.Order{Identifiers: []acme.Identifier{{Type: "email", Value: alice}}})
	wantACME(t, err, 400, "malformed") // the old key signs no more
	c.obtain(ca, box, alice)           // the new one does
}

func TestStrangers(t *testing.T) {
	ca := start(t, Config{AlwaysReady: true})
	owner, stranger := newClient(t, ca), newClient(t, ca)
	o := owner.order(alice)
	cert := owner.finish(o, newKey(t))
	ctx := t.Context()
	_, err := stranger.GetOrder(ctx, stranger.acct, o)
	wantACME(t, err, 403, "unauthorized")
	_, err = stranger.GetAuthorization(ctx, stranger.acct, o.Authorizations[0])
	wantACME(t, err, 403, "unauthorized")
	done, err := owner.GetOrder(ctx, owner.acct, o)
	if err != nil {
		t.Fatal(err)
	}
	_, err = stranger.GetCertificateChain(ctx, stranger.acct, done.Certificate)
	wantACME(t, err, 403, "unauthorized")
	err = stranger.RevokeCertificate(ctx, stranger.acct, cert, nil, acme.ReasonUnspecified)
	wantACME(t, err, 403, "unauthorized")
	_, err = owner.GetAuthorization(ctx, owner.acct, ca.url(kindAuthz, "none"))
	wantACME(t, err, 404, "malformed")
}

func TestOrdersList(t *testing.T) {
	ca := start(t, Config{})
	c := newJWSClient(t, ca)
	c.register()
	res, body := c.post(ca.url(kindNewOrder, ""), `{"identifiers":[{"type":"email","value":"alice@example.test"}]}`, parts{})
	if res.StatusCode != 201 {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	order := res.Header.Get("Location")
	_, list := c.post(c.kid+"/orders", "", parts{})
	if !strings.Contains(string(list), order) {
		t.Errorf("%s does not list %s", list, order)
	}
}
