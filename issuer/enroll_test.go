package issuer

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"postseal/internal/test/certs"
	"postseal/issuer/cert"
	"postseal/issuer/enroll"
	"postseal/issuer/store"
)

// hold puts a certificate into certs/, with a renewal.json that change has changed.
func hold(t *testing.T, i *Issuer, name string, change func(*store.Renewal), emails ...string) {
	t.Helper()
	g := newGeneration(t, name)
	g.Chain = []*x509.Certificate{certs.SelfSigned(t, g.Key, func(c *x509.Certificate) { c.EmailAddresses = emails })}
	g.Renewal.Emails, g.Renewal.Fingerprint = emails, cert.Fingerprint(g.Chain[0])
	change(g.Renewal)
	must(t, i.disk.Put(name, g))
}

// What each address has decides what enroll orders and revokes. In doubt it has a
// certificate: nobody gets two, and nobody loses another's.
func TestHoldings(t *testing.T) {
	t.Parallel()
	i := newStore(t)
	as := func(*store.Renewal) {}
	hold(t, i, "valid@x.test", as, "valid@x.test")
	hold(t, i, "valid@x.test,sign", func(r *store.Renewal) { r.Kind = "sign" }, "valid@x.test")
	hold(t, i, "one@x.test", as, "one@x.test", "two@x.test")
	hold(t, i, "revoked@x.test", func(r *store.Renewal) { r.Revoked = time.Now() }, "revoked@x.test")
	hold(t, i, "expired@x.test", func(r *store.Renewal) { r.NotAfter = time.Now().Add(-time.Hour) }, "expired@x.test")
	damaged := i.disk.CertDir("damaged@x.test,sign")
	must(t, os.Mkdir(damaged, 0o700))
	must(t, os.WriteFile(filepath.Join(damaged, store.RenewalFile), []byte("{"), 0o600))
	order := func(name string, o store.Order, emails ...string) {
		o.Version, o.Emails = store.Version, emails
		must(t, store.Write(i.disk.OrderPath(name, o.DryRun), o))
	}
	order("waits@x.test", store.Order{}, "waits@x.test")
	order("dry@x.test", store.Order{DryRun: true}, "dry@x.test")
	order("stored@x.test", store.Order{Stored: true}, "stored@x.test")
	order("three@x.test", store.Order{}, "three@x.test", "four@x.test")
	order("valid@x.test", store.Order{}, "valid@x.test") // a renewal
	have, err := i.Holdings()
	want := enroll.Holdings{
		"valid@x.test": nil, "one@x.test": {{Kind: "", State: enroll.Shared}}, "two@x.test": {{Kind: "", State: enroll.Shared}},
		"revoked@x.test": {{Kind: "", State: enroll.Revoked}}, "expired@x.test": {{Kind: "", State: enroll.Expired}},
		"damaged@x.test": {{Kind: "sign", State: enroll.Certificate}}, "waits@x.test": {{Kind: "", State: enroll.InFlight}},
	}
	for _, held := range have["valid@x.test"] { // those of several kinds come in any order
		if held.State != enroll.Certificate && held != (enroll.Held{State: enroll.InFlight}) {
			t.Errorf("valid@x.test: %+v", held)
		}
	}
	if len(have["valid@x.test"]) != 3 {
		t.Errorf("valid@x.test: %+v", have["valid@x.test"])
	}
	have["valid@x.test"] = nil
	if err != nil || !reflect.DeepEqual(have, want) {
		t.Errorf("%+v, %v", have, err)
	}
}

// Only a certificate in force that names the leaver alone is revoked.
func TestRevokeForNobody(t *testing.T) {
	t.Parallel()
	i := newStore(t)
	hold(t, i, "revoked@x.test", func(r *store.Renewal) { r.Revoked = time.Now() }, "revoked@x.test")
	hold(t, i, "expired@x.test", func(r *store.Renewal) { r.NotAfter = time.Now().Add(-time.Hour) }, "expired@x.test")
	for _, addr := range []string{"revoked@x.test", "expired@x.test"} {
		if done, err := i.RevokeFor(t.Context(), addr, "", Revocation{Default: "https://127.0.0.1:1/"}); done != nil || err != nil {
			t.Errorf("%s: %+v, %v", addr, done, err)
		}
	}
}

// A certificate of several owners is renewed as long as one of them is there.
func TestLeavers(t *testing.T) {
	l := leavers{"a@x.test": "gone", "b@x.test": "gone, too"}
	for _, tc := range []struct {
		emails []string
		why    string
	}{
		{[]string{"A@x.test"}, "gone"}, {[]string{"c@x.test"}, ""}, {[]string{"a@x.test", "b@x.test"}, "gone, too"},
		{[]string{"a@x.test", "c@x.test"}, ""}, {[]string{"c@x.test", "a@x.test"}, ""},
	} {
		if got := l.why(tc.emails); got != tc.why {
			t.Errorf("%q: %q, want %q", tc.emails, got, tc.why)
		}
	}
}
