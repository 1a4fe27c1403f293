package testca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

func rsaKey(t testing.TB, bits int) crypto.Signer {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func ecKey(t testing.TB, c elliptic.Curve) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Bits of keyUsage by their numbers in RFC 5280, Section 4.2.1.3.
const (
	digitalSignature  = 0
	contentCommitment = 1
	keyEncipherment   = 2
	keyAgreement      = 4
	keyCertSign       = 5
	decipherOnly      = 8
)

func TestBadCSR(t *testing.T) {
	ca := start(t, Config{AlwaysReady: true})
	c := newClient(t, ca)
	o := c.order(alice)
	ec, addrs := newKey(t), []string{alice}
	tests := []struct {
		name, want string
		der        []byte
	}{
		{"garbage", "cannot be parsed", []byte("garbage")},
		{"signature", "does not verify", breakSignature(csr(t, ec, addrs))},
		{"account key", "account key", csr(t, c.acct.PrivateKey, addrs)},
		{"P-521", "P-256 or P-384", csr(t, ecKey(t, elliptic.P521()), addrs)},
		{"RSA 1024", "not 1024", csr(t, rsaKey(t, 1024), addrs)},
		{"RSA 2049", "not 2049", csr(t, rsaKey(t, 2049), addrs)},
		{"no name", "the order has", csr(t, ec, nil)},
		{"other name", "the order has", csr(t, ec, []string{"bob@example.test"})},
		{"one name more", "the order has", csr(t, ec, []string{alice, "bob@example.test"})},
		{"twice", "the order has", csr(t, ec, []string{alice, alice})},
		{"local part in another case", "the order has", csr(t, ec, []string{"ALICE@example.test"})},
		{"dNSName", "dNSNames", csr(t, ec, addrs, func(r *x509.CertificateRequest) { r.DNSNames = []string{"example.test"} })},
		{"address as dNSName", "dNSNames", csr(t, ec, addrs, func(r *x509.CertificateRequest) { r.DNSNames = []string{alice} })},
		{"common name", "common name", csr(t, ec, addrs, func(r *x509.CertificateRequest) { r.Subject.CommonName = "bob@example.test" })},
		{"extension", "is not supported", csr(t, ec, addrs, withExtension(asn1.ObjectIdentifier{2, 5, 29, 37}, []byte{0x30, 0}))},
		{"two subjectAltNames", "duplicate requested extensions", csr(t, ec, addrs, withExtension(oidSubjectAltName, []byte{0x30, 0}), withExtension(oidSubjectAltName, []byte{0x30, 0}))},
		{"certSign", "keyUsage may have", csr(t, ec, addrs, withUsage(digitalSignature, keyCertSign))},
		{"decipherOnly", "keyUsage may have", csr(t, ec, addrs, withUsage(keyAgreement, decipherOnly))},
		{"empty usage", "keyUsage", csr(t, ec, addrs, withExtension(oidKeyUsage, []byte{3, 1, 0}))},
		{"EC keyEncipherment", "use keyAgreement", csr(t, ec, addrs, withUsage(keyEncipherment))},
		{"RSA keyAgreement", "use keyEncipherment", csr(t, rsaKey(t, 2048), addrs, withUsage(keyAgreement))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := c.FinalizeOrder(t.Context(), c.acct, o, test.der)
			if p := wantACME(t, err, 400, "badCSR"); !strings.Contains(p.Detail, test.want) {
				t.Errorf("%q does not say %q", p.Detail, test.want)
			}
		})
	}
	c.finish(o, ec) // a refused CSR leaves the order ready
}

func breakSignature(der []byte) []byte {
	der = slices.Clone(der)
	der[len(der)-1] ^= 1
	return der
}

func withExtension(id asn1.ObjectIdentifier, value []byte) func(*x509.CertificateRequest) {
	return func(r *x509.CertificateRequest) {
		r.ExtraExtensions = append(r.ExtraExtensions, pkix.Extension{Id: id, Value: value})
	}
}

func TestUsages(t *testing.T) {
	c := newClient(t, start(t, Config{AlwaysReady: true}))
	ec, ec384, rsa2048 := newKey(t), ecKey(t, elliptic.P384()), rsaKey(t, 2048)
	const both = x509.KeyUsageDigitalSignature
	tests := []struct {
		name string
		key  crypto.Signer
		bits []int
		want x509.KeyUsage
	}{
		{"EC, nothing said", ec, nil, both | x509.KeyUsageKeyAgreement},
		{"P-384, nothing said", ec384, nil, both | x509.KeyUsageKeyAgreement},
		{"RSA, nothing said", rsa2048, nil, both | x509.KeyUsageKeyEncipherment},
		{"signing", ec, []int{digitalSignature}, x509.KeyUsageDigitalSignature},
		{"signing, committed", rsa2048, []int{digitalSignature, contentCommitment}, x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment},
		{"EC encryption", ec, []int{keyAgreement}, x509.KeyUsageKeyAgreement},
		{"RSA encryption", rsa2048, []int{keyEncipherment}, x509.KeyUsageKeyEncipherment},
		{"RSA both", rsa2048, []int{digitalSignature, keyEncipherment}, both | x509.KeyUsageKeyEncipherment},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var edits []func(*x509.CertificateRequest)
			if test.bits != nil {
				edits = append(edits, withUsage(test.bits...))
			}
			if cert := c.finish(c.order(alice), test.key, edits...); cert.KeyUsage != test.want {
				t.Errorf("keyUsage is %b, want %b", cert.KeyUsage, test.want)
			}
		})
	}
}

// verify checks a leaf against the CA's root alone.
func verify(t testing.TB, ca *CA, leaf *x509.Certificate, eku x509.ExtKeyUsage) {
	t.Helper()
	roots, inter := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.RootPEM)
	inter.AddCert(ca.intermediate.cert)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: inter, KeyUsages: []x509.ExtKeyUsage{eku}}); err != nil {
		t.Error(err)
	}
}

func TestCertificate(t *testing.T) {
	notAfter := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	tests := []struct {
		name  string
		cfg   Config
		order acme.Order
		check func(*testing.T, *x509.Certificate)
	}{
		{"plain", Config{}, acme.Order{}, func(t *testing.T, c *x509.Certificate) {
			if c.Subject.CommonName != alice || c.NotAfter.Sub(c.NotBefore) != 90*24*time.Hour || len(c.ExtKeyUsage) != 1 {
				t.Errorf("%v %v %v", c.Subject, c.NotAfter, c.ExtKeyUsage)
			}
			if c.SerialNumber.Cmp(new(big.Int).Lsh(big.NewInt(1), 64)) < 0 {
				t.Errorf("the serial number %x has fewer than 64 bits", c.SerialNumber)
			}
			if !strings.Contains(c.Issuer.CommonName, "postseal demo") {
				t.Errorf("the issuer is %v", c.Issuer)
			}
		}},
		{"lifetime", Config{Lifetime: 2 * time.Hour}, acme.Order{}, func(t *testing.T, c *x509.Certificate) {
			if d := c.NotAfter.Sub(c.NotBefore); d != 2*time.Hour {
				t.Errorf("lives %s", d)
			}
		}},
		{"notAfter", Config{}, acme.Order{NotAfter: &notAfter}, func(t *testing.T, c *x509.Certificate) {
			if !c.NotAfter.Equal(notAfter) {
				t.Errorf("ends %s, not %s", c.NotAfter, notAfter)
			}
		}},
		{"empty subject", Config{EmptySubject: true}, acme.Order{}, func(t *testing.T, c *x509.Certificate) {
			i := slices.IndexFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidSubjectAltName) })
			if len(c.Subject.Names) != 0 || !c.Extensions[i].Critical {
				t.Errorf("subject %v, subjectAltName critical %v", c.Subject, c.Extensions[i].Critical)
			}
		}},
		{"client auth", Config{ClientAuth: true}, acme.Order{}, func(t *testing.T, c *x509.Certificate) {
			if !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
				t.Errorf("for %v", c.ExtKeyUsage)
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.cfg.AlwaysReady = true
			ca := start(t, test.cfg)
			c := newClient(t, ca)
			test.order.Identifiers = emails(alice)
			o, err := c.NewOrder(t.Context(), c.acct, test.order)
			if err != nil {
				t.Fatal(err)
			}
			cert := c.finish(o, newKey(t))
			verify(t, ca, cert, x509.ExtKeyUsageEmailProtection)
			test.check(t, cert)
		})
	}
}

func TestOmitEKU(t *testing.T) {
	c := newClient(t, start(t, Config{AlwaysReady: true, OmitEKU: true}))
	if cert := c.finish(c.order(alice), newKey(t), withUsage(digitalSignature)); len(cert.ExtKeyUsage) != 0 {
		t.Errorf("a signing-only certificate is for %v", cert.ExtKeyUsage)
	}
	if cert := c.finish(c.order(alice), newKey(t)); len(cert.ExtKeyUsage) != 1 {
		t.Errorf("a certificate for both is for %v", cert.ExtKeyUsage)
	}
}

// An address with a non-ASCII local part is an SmtpUTF8Mailbox, with its
// domain in A-labels; one with a U-label domain only is an rfc822Name.
func TestInternationalNames(t *testing.T) {
	ca := start(t, Config{AlwaysReady: true})
	c := newClient(t, ca)
	const addr, name = "jürgen@bücher.test", "jürgen@xn--bcher-kva.test"
	san, err := ca.subjectAltName([]string{addr}, false)
	if err != nil {
		t.Fatal(err)
	}
	o := c.order(addr)
	done, err := c.FinalizeOrder(t.Context(), c.acct, o, csr(t, newKey(t), nil, withExtension(oidSubjectAltName, san.Value)))
	if err != nil {
		t.Fatal(err)
	}
	cert := c.download(done)
	if len(cert.EmailAddresses) != 0 || !strings.Contains(string(extension(t, cert, oidSubjectAltName)), name) {
		t.Errorf("the certificate does not hold %q as SmtpUTF8Mailbox", name)
	}

	for addr, der := range map[string][]byte{
		"an ASCII address": otherNameSAN(t, alice),
		"a U-label":        otherNameSAN(t, addr),
	} {
		_, err := c.FinalizeOrder(t.Context(), c.acct, c.order(alice), csr(t, newKey(t), nil, withExtension(oidSubjectAltName, der)))
		if p := wantACME(t, err, 400, "badCSR"); !strings.Contains(p.Detail, "A-labels") {
			t.Errorf("%s as SmtpUTF8Mailbox: %q", addr, p.Detail)
		}
	}

	o = c.order("user@bücher.test")
	done, err = c.FinalizeOrder(t.Context(), c.acct, o, csr(t, newKey(t), []string{"user@xn--bcher-kva.test"}))
	if err != nil {
		t.Fatal(err)
	}
	if cert := c.download(done); cert.EmailAddresses[0] != "user@xn--bcher-kva.test" {
		t.Errorf("the certificate is for %q", cert.EmailAddresses)
	}
}

func extension(t testing.TB, c *x509.Certificate, id asn1.ObjectIdentifier) []byte {
	for _, e := range c.Extensions {
		if e.Id.Equal(id) {
			return e.Value
		}
	}
	t.Fatalf("no extension %s", id)
	return nil
}

// otherNameSAN writes a name as SmtpUTF8Mailbox byte by byte: the encoder of
// the CA is what is under test.
func otherNameSAN(t testing.TB, name string) []byte {
	t.Helper()
	id, err := asn1.Marshal(oidSmtpUTF8Mailbox)
	if err != nil {
		t.Fatal(err)
	}
	value := append([]byte{0x0c, byte(len(name))}, name...)
	value = append([]byte{0xa0, byte(len(value))}, value...)
	body := append(id, value...)
	body = append([]byte{0xa0, byte(len(body))}, body...)
	return append([]byte{0x30, byte(len(body))}, body...)
}

func TestOtherNameEncoding(t *testing.T) {
	ca := &CA{}
	san, err := ca.subjectAltName([]string{"jürgen@example.test"}, true)
	if err != nil || string(san.Value) != string(otherNameSAN(t, "jürgen@example.test")) || !san.Critical {
		t.Errorf("%x, want %x; %v", san.Value, otherNameSAN(t, "jürgen@example.test"), err)
	}
}

func TestFinalizeHabits(t *testing.T) {
	t.Run("transient 500", func(t *testing.T) {
		ca := start(t, Config{AlwaysReady: true, FinalizeErrors: 1})
		c := newClient(t, ca)
		c.finish(c.order(alice), newKey(t)) // acmez tries again
		if n := ca.Counters().Requests[kindFinalize]; n != 2 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("fatal 500", func(t *testing.T) {
		c := newClient(t, start(t, Config{AlwaysReady: true, FinalizeFatal: true}))
		o := c.order(alice)
		_, err := c.FinalizeOrder(t.Context(), c.acct, noPolling(o), csr(t, newKey(t), []string{alice}))
		if err == nil {
			t.Error("finalize succeeded")
		}
		if o, err = c.GetOrder(t.Context(), c.acct, o); err != nil || o.Status != acme.StatusInvalid || o.Error == nil {
			t.Errorf("the order is %s, %v, %v", o.Status, o.Error, err)
		}
	})
	t.Run("processing", func(t *testing.T) {
		ca := start(t, Config{AlwaysReady: true, Processing: 30 * time.Millisecond})
		c := newClient(t, ca)
		c.finish(c.order(alice), newKey(t))
		if n := ca.Counters().Requests[kindOrder]; n == 0 {
			t.Error("the order was valid at once")
		}
	})
	t.Run("twice", func(t *testing.T) {
		ca := start(t, Config{AlwaysReady: true})
		c := newJWSClient(t, ca)
		c.register()
		_, body := c.post(ca.url(kindNewOrder, ""), `{"identifiers":[{"type":"email","value":"alice@example.test"}]}`, parts{})
		url := between(t, string(body), `"finalize": "`, `"`)
		payload := `{"csr":"` + encode64(csr(t, newKey(t), []string{alice})) + `"}`
		if res, body := c.post(url, payload, parts{}); res.StatusCode != 200 {
			t.Fatalf("%d %s", res.StatusCode, body)
		}
		res, body := c.post(url, payload, parts{})
		wantProblem(t, res, body, 403, "orderNotReady")
	})
}

func between(t testing.TB, s, before, after string) string {
	t.Helper()
	_, s, ok := strings.Cut(s, before)
	s, _, ok2 := strings.Cut(s, after)
	if !ok || !ok2 {
		t.Fatalf("nothing between %q and %q", before, after)
	}
	return s
}

// CAs built around certbot: dns identifiers, and both kinds of name.
func TestCertbot(t *testing.T) {
	box := newMailbox(t)
	ca := start(t, Config{Relay: box.addr, Certbot: true})
	c := newClient(t, ca)
	o, err := c.NewOrder(t.Context(), c.acct, acme.Order{Identifiers: []acme.Identifier{{Type: "dns", Value: alice}}})
	if err != nil {
		t.Fatal(err)
	}
	a := c.authz(o, 0)
	mustSend(t, ca, c.replyTo(box.next(t), a, JoinString))
	c.postChallenge(a)
	_, err = c.FinalizeOrder(t.Context(), c.acct, o, csr(t, newKey(t), []string{alice}))
	wantACME(t, err, 400, "badCSR")
	cert := c.finish(o, newKey(t), func(r *x509.CertificateRequest) { r.DNSNames = []string{alice} })
	if len(cert.EmailAddresses) != 1 {
		t.Errorf("the certificate is for %q", cert.EmailAddresses)
	}
}

func TestRevoke(t *testing.T) {
	ca := start(t, Config{AlwaysReady: true})
	c := newClient(t, ca)
	ctx := t.Context()
	key := newKey(t)
	cert := c.finish(c.order(alice), key)
	err := c.RevokeCertificate(ctx, c.acct, cert, nil, acme.ReasonCertificateHold)
	wantACME(t, err, 400, "badRevocationReason")
	err = c.RevokeCertificate(ctx, c.acct, cert, newKey(t), acme.ReasonKeyCompromise)
	wantACME(t, err, 403, "unauthorized")
	if err := c.RevokeCertificate(ctx, c.acct, cert, nil, acme.ReasonSuperseded); err != nil {
		t.Error(err)
	}
	err = c.RevokeCertificate(ctx, c.acct, cert, key, acme.ReasonKeyCompromise)
	wantACME(t, err, 400, "alreadyRevoked")

	// The certificate's own key will do, whoever sends it.
	other := newClient(t, ca)
	cert = c.finish(c.order(alice), key)
	if err := other.RevokeCertificate(ctx, acme.Account{PrivateKey: key}, cert, key, acme.ReasonKeyCompromise); err != nil {
		t.Error(err)
	}
	err = c.RevokeCertificate(ctx, c.acct, start(t, Config{}).root.cert, nil, 0)
	wantACME(t, err, 404, "malformed")
	if n := ca.Counters().Events[EventRevoked]; n != 2 {
		t.Errorf("%d revocations", n)
	}
}

func TestRenewalInfo(t *testing.T) {
	ca := start(t, Config{AlwaysReady: true, Lifetime: 90 * time.Hour})
	c := newClient(t, ca)
	cert := c.finish(c.order(alice), newKey(t))
	info, err := c.GetRenewalInfo(t.Context(), cert)
	if err != nil {
		t.Fatal(err)
	}
	if w := info.SuggestedWindow; !w.Start.Equal(cert.NotAfter.Add(-30*time.Hour)) || !w.End.After(w.Start) || !w.End.Before(cert.NotAfter) {
		t.Errorf("the window is %v for a certificate until %v", w, cert.NotAfter)
	}
	if info.RetryAfter == nil {
		t.Error("no Retry-After")
	}
	if err := c.RevokeCertificate(t.Context(), c.acct, cert, nil, 0); err != nil {
		t.Fatal(err)
	}
	if info, err = c.GetRenewalInfo(t.Context(), cert); err != nil || !info.SuggestedWindow.End.Before(time.Now()) {
		t.Errorf("after revocation the window is %v, %v", info.SuggestedWindow, err)
	}
}

func TestRenewalDue(t *testing.T) {
	c := newClient(t, start(t, Config{AlwaysReady: true, ARIDue: true}))
	info, err := c.GetRenewalInfo(t.Context(), c.finish(c.order(alice), newKey(t)))
	if err != nil || !info.SuggestedWindow.End.Before(time.Now()) {
		t.Errorf("the window is %v, %v", info.SuggestedWindow, err)
	}
}
