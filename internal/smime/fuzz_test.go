package smime

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"
	"strings"
	"testing"
)

// fuzzCA has the same key in each process: one makes the seeds, and its workers have to trust
// them.
func fuzzCA(f *testing.F) *identity {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{42}, 32))
	must(f, err)
	return issue(f, nil, key, &x509.Certificate{
		Subject: pkix.Name{CommonName: "demo root"}, IsCA: true, BasicConstraintsValid: true,
	}, nil)
}

// FuzzVerify must not panic, and an accepted message has the header of the signed part,
// whatever was done to the rest. A root that the target trusts signs the seeds, so that it
// gets past the signature.
func FuzzVerify(f *testing.F) {
	ca := fuzzCA(f)
	id := newLeaf(f, ca, ecKey(f))
	for _, c := range cases {
		if s := c.make(f, ca, id); len(s.raw) < 8<<10 {
			f.Add([]byte(s.raw))
		}
	}
	roots := ca.root()
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := Verify(raw, Options{Roots: roots, Now: now})
		if err != nil {
			if got != nil || strings.ContainsAny(err.Error(), "\r\n\x00") {
				t.Errorf("got %v and an error of several lines: %q", got, err)
			}
			return
		}
		if len(got.Mailboxes) == 0 || !slices.ContainsFunc(got.Header, func(f Field) bool { return f.Name == "From" }) {
			t.Errorf("accepted with %q, %q", got.Mailboxes, got.Header)
		}
	})
}

// FuzzCMS starts behind MIME, where the fuzzer would not get by itself.
func FuzzCMS(f *testing.F) {
	ca := fuzzCA(f)
	id := newLeaf(f, ca, ecKey(f))
	content := marked(outerHead)
	f.Add(bySmallstep(f, content, false, id))
	f.Add(newCMS(content, id, func(c *cmsSpec) { c.indefinite = true }).build(f))
	f.Add(berBombs["overlapping children"])
	f.Fuzz(func(t *testing.T, der []byte) {
		sd, err := parseCMS(der)
		if err != nil {
			return
		}
		s, err := verifySigner(sd, sd.content, Options{Roots: ca.root(), Now: now})
		if err == nil && string(sd.content) != content {
			t.Errorf("%q was never signed, by %v", sd.content, s.cert.Subject)
		}
		if certs, err := parseCertificates(sd.certificates); err == nil {
			_, _ = newSigner(append(certs, &x509.Certificate{})[0])
		}
	})
}
