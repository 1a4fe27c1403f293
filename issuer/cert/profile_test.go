package cert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"math/big"
	"testing"
	"time"

	"postseal/internal/test/certs"
)

// name encodes a common name as a string of a kind.
func name(t *testing.T, common, kind string) []byte {
	t.Helper()
	der, err := asn1.MarshalWithParams(common, kind)
	if err != nil {
		t.Fatal(err)
	}
	type attribute struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	set, err := asn1.MarshalWithParams([]attribute{{asn1.ObjectIdentifier{2, 5, 4, 3}, asn1.RawValue{FullBytes: der}}}, "set")
	if err != nil {
		t.Fatal(err)
	}
	sequence, err := asn1.Marshal([]asn1.RawValue{{FullBytes: set}})
	if err != nil {
		t.Fatal(err)
	}
	return sequence
}

// A CA may write the name of its root in two ways: readers that compare names as X.509 does
// see a root, which a profile would make trusted.
func TestProfileHasNoRoot(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leafKey := certs.Key(t)
	sign := func(subject, issuer []byte, public any) *x509.Certificate {
		t.Helper()
		ca := &x509.Certificate{
			SerialNumber: big.NewInt(1), RawSubject: subject, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		}
		der, err := x509.CreateCertificate(rand.Reader, ca, &x509.Certificate{RawSubject: issuer, SerialNumber: big.NewInt(1)}, public, key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	printable, utf8 := name(t, "Root", "printable"), name(t, "Root", "utf8")
	between, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cas := map[string]*x509.Certificate{
		"a root":                        sign(utf8, utf8, key.Public()),
		"a root with two strings":       sign(utf8, printable, key.Public()),
		"a root with two cases":         sign(utf8, name(t, "rOOT", "utf8"), key.Public()),
		"a root with another name":      sign(utf8, name(t, "Other", "utf8"), key.Public()),
		"self-issued with another key":  sign(utf8, printable, between.Public()),
		"a CA between, which has to be": sign(name(t, "Between", "utf8"), utf8, between.Public()),
	}
	for what, ca := range cas {
		leaf := certs.SelfSigned(t, leafKey, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "leaf"} })
		profile, err := EncodeProfile("a@b.example", []*Identity{{Label: "a", Key: leafKey, Chain: []*x509.Certificate{leaf, ca}, Passphrase: "x"}})
		if err != nil {
			t.Fatal(err)
		}
		text := bytes.Join(bytes.Fields(profile), nil)
		in := bytes.Contains(text, []byte(base64.StdEncoding.EncodeToString(ca.Raw)))
		if want := ca == cas["a CA between, which has to be"]; in != want {
			t.Errorf("%s is in the profile: %v, want %v", what, in, want)
		}
	}
}
