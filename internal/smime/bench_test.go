package smime

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"testing"
)

func benchmark(b *testing.B, raw string, roots *x509.CertPool, good bool) {
	b.Helper()
	opt := Options{Roots: roots, Now: now}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Verify([]byte(raw), opt); (err == nil) != good {
			b.Fatal(err)
		}
	}
}

func BenchmarkGood(b *testing.B) {
	ca := newCA(b, nil, "demo root")
	for name, id := range map[string]*identity{"P-256": newLeaf(b, ca, ecKey(b)), "RSA-2048": newLeaf(b, ca, rsa2048())} {
		raw := clearSigned(marked(outerHead), bySmallstep(b, marked(outerHead), true, id))
		b.Run(name, func(b *testing.B) { benchmark(b, raw, ca.root(), true) })
	}
}

// hostile are messages of up to 1 MiB that cause as much work as possible.
func hostile(t testing.TB) map[string]string {
	room := maxMessage - 4096
	head := clearSigned("", nil)
	head = head[:strings.Index(head, "This is")]
	out := map[string]string{
		"boundaries":  head + strings.Repeat("--"+boundary+"-\r\n", room/(len(boundary)+5)),
		"hyphens":     head + strings.Repeat("-", room),
		"line ends":   head + strings.Repeat("\r\n", room/2),
		"header":      strings.Repeat("X: y\r\n", room/6),
		"folds":       "X: y" + strings.Repeat("\r\n ", room/3),
		"one field":   "X: " + strings.Repeat("y", room),
		"parameters":  "Content-Type: multipart/signed" + strings.Repeat("; a*1=b", 9000) + "\r\n\r\n",
		"base64":      opaque(bytes.Repeat([]byte{0x30, 0x80}, room/3)),
		"large, good": largeGood(t),
	}
	for name, bomb := range berBombs {
		out[name] = opaque(bomb)
	}
	for name, id := range costly(t) {
		out[name] = opaque(newCMS(marked(outerHead), id).build(t))
	}
	return out
}

func largeGood(t testing.TB) string {
	id := newLeaf(t, newCA(t, nil, "other root"), ecKey(t))
	part := marked(outerHead) + strings.Repeat("A line of text that is signed, too.\r\n", 27000)
	return clearSigned(part, bySmallstep(t, part, true, id))
}

// costly are signers whose chains are expensive to check.
func costly(t testing.TB) map[string]*identity {
	slow := func(issuer *identity, name string, changes ...change) *identity {
		return issue(t, issuer, curve(elliptic.P521())(t), &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		}, changes)
	}
	top := slow(nil, "slow root")
	for i := range maxIntermediates {
		top = slow(top, fmt.Sprint("slow sub ", i))
	}
	var many []string
	for i := range 1500 {
		many = append(many, fmt.Sprintf("u%d@d%d.example", i, i))
	}
	constrained := slow(slow(nil, "name root"), "names", func(c *x509.Certificate) { c.ExcludedEmailAddresses = many[:1000] })
	return map[string]*identity{
		"P-521 chain":      newLeaf(t, top, curve(elliptic.P521())(t)),
		"name constraints": newLeaf(t, constrained, ecKey(t), func(c *x509.Certificate) { c.EmailAddresses = many[1000:] }),
		"huge RSA key":     {cert: hugeRSA(t), key: ecKey(t)},
	}
}

// hugeRSA has a key with which a check takes minutes.
func hugeRSA(t testing.TB) *x509.Certificate {
	t.Helper()
	n := new(big.Int).Lsh(big.NewInt(1), 400_000)
	key := &rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537}
	root := newCA(t, nil, "huge root")
	tmpl := &x509.Certificate{SerialNumber: serial(), EmailAddresses: []string{"a@b.example"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, root.cert, key, root.key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return cert
}

func BenchmarkHostile(b *testing.B) {
	roots := newCA(b, nil, "demo root").root()
	for name, raw := range hostile(b) {
		b.Run(name, func(b *testing.B) { benchmark(b, raw, roots, false) })
	}
}
