package smime

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.SHA256
	_ "crypto/sha512" // for crypto.SHA384 and crypto.SHA512
	"crypto/x509"
	encasn1 "encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// algorithm is an AlgorithmIdentifier; params is an element with its tag.
type algorithm struct {
	oid    encasn1.ObjectIdentifier
	params cryptobyte.String
}

func (a *algorithm) read(s *cryptobyte.String) bool {
	var body cryptobyte.String
	if !s.ReadASN1(&body, asn1.SEQUENCE) || !body.ReadASN1ObjectIdentifier(&a.oid) {
		return false
	}
	a.params = body
	return body.Empty() || skipDER(&body) && body.Empty()
}

// plain reports whether the parameters are absent or NULL: RFC 5754, Section 2, expects
// readers to accept both.
func (a *algorithm) plain() bool {
	return len(a.params) == 0 || bytes.Equal(a.params, []byte{byte(asn1.NULL), 0})
}

var (
	oidSHA256 = encasn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384 = encasn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidSHA512 = encasn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}
	oidPSS    = encasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	oidMGF1   = encasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 8}
)

var digests = map[crypto.Hash]encasn1.ObjectIdentifier{
	crypto.SHA256: oidSHA256, crypto.SHA384: oidSHA384, crypto.SHA512: oidSHA512,
}

// weak names the algorithms that are refused on purpose, so that the log says more than a
// number: RFC 8551, Appendix B.
var weak = map[string]string{
	"1.2.840.113549.2.5":     "MD5",
	"1.2.840.113549.1.1.4":   "MD5",
	"1.3.14.3.2.26":          "SHA-1",
	"1.2.840.113549.1.1.5":   "SHA-1",
	"1.2.840.10045.4.1":      "SHA-1",
	"2.16.840.1.101.3.4.2.4": "SHA-224",
	"1.2.840.113549.1.1.14":  "SHA-224",
	"1.2.840.10045.4.3.1":    "SHA-224",
	"1.2.840.10040.4.1":      "DSA",
	"1.2.840.10040.4.3":      "DSA",
	"2.16.840.1.101.3.4.3.2": "DSA",
}

func (a *algorithm) unsupported() error {
	if name := weak[a.oid.String()]; name != "" {
		return fmt.Errorf("S/MIME signature uses %s", name)
	}
	return fmt.Errorf("S/MIME signature uses an algorithm that is not supported (%s)", a.oid)
}

// hash returns the digest algorithm.
func (a *algorithm) hash() (crypto.Hash, error) {
	for hash, oid := range digests {
		if a.oid.Equal(oid) && a.plain() {
			return hash, nil
		}
	}
	return 0, a.unsupported()
}

// schemes are the signature algorithms whose names determine everything: RFC 5754, Section 3
// (rsaEncryption leaves the digest to the SignerInfo), and RFC 8419, Section 3.1 (Ed25519
// goes with SHA-512).
var schemes = []struct {
	oid  string
	hash crypto.Hash
	alg  x509.SignatureAlgorithm
}{
	{"1.2.840.113549.1.1.1", crypto.SHA256, x509.SHA256WithRSA},
	{"1.2.840.113549.1.1.1", crypto.SHA384, x509.SHA384WithRSA},
	{"1.2.840.113549.1.1.1", crypto.SHA512, x509.SHA512WithRSA},
	{"1.2.840.113549.1.1.11", crypto.SHA256, x509.SHA256WithRSA},
	{"1.2.840.113549.1.1.12", crypto.SHA384, x509.SHA384WithRSA},
	{"1.2.840.113549.1.1.13", crypto.SHA512, x509.SHA512WithRSA},
	{"1.2.840.10045.4.3.2", crypto.SHA256, x509.ECDSAWithSHA256},
	{"1.2.840.10045.4.3.3", crypto.SHA384, x509.ECDSAWithSHA384},
	{"1.2.840.10045.4.3.4", crypto.SHA512, x509.ECDSAWithSHA512},
	{"1.3.101.112", crypto.SHA512, x509.PureEd25519},
}

// check verifies a signature with the key of a certificate.
type check func(c *x509.Certificate, signed, signature []byte) error

// verifier returns the check for signatures of this algorithm, which must use the same digest
// as the content. crypto/x509 knows RSASSA-PSS with only one length of the salt.
func (a *algorithm) verifier(hash crypto.Hash) (check, error) {
	if !a.oid.Equal(oidPSS) {
		alg, err := a.signature(hash)
		return func(c *x509.Certificate, signed, signature []byte) error {
			return c.CheckSignature(alg, signed, signature)
		}, err
	}
	salt, err := a.pss(hash)
	return func(c *x509.Certificate, signed, signature []byte) error {
		key, ok := c.PublicKey.(*rsa.PublicKey)
		if !ok {
			return errors.New("no RSA key")
		}
		return rsa.VerifyPSS(key, hash, sum(hash, signed), signature, &rsa.PSSOptions{SaltLength: salt})
	}, err
}

func (a *algorithm) signature(hash crypto.Hash) (x509.SignatureAlgorithm, error) {
	known := false
	for _, s := range schemes {
		if a.oid.String() != s.oid || !a.plain() {
			continue
		}
		if known = true; s.hash == hash {
			return s.alg, nil
		}
	}
	if known {
		return 0, fmt.Errorf("S/MIME signature mixes digest algorithms (%s, %s)", hash, a.oid)
	}
	return 0, a.unsupported()
}

// saltOmitted is the length of a salt that DER leaves out of RSASSA-PSS-params.
const saltOmitted = 20

// pss returns the length of the salt. All digests must be the same, as RFC 4056, Section 2.2,
// recommends; the salt may have any length, since OpenSSL makes it as long as the key allows.
func (a *algorithm) pss(hash crypto.Hash) (salt int, err error) {
	salt = saltOmitted
	var seq, last cryptobyte.String
	params := a.params
	present := false
	ok := params.ReadASN1(&seq, asn1.SEQUENCE) && seq.SkipASN1(tag0) && seq.SkipASN1(tag1) &&
		seq.ReadOptionalASN1(&last, &present, tag2) && (!present || last.ReadASN1Integer(&salt))
	for _, null := range []bool{true, false} {
		if ok && salt > 0 && bytes.Equal(a.params, pssParams(hash, salt, null)) {
			return salt, nil
		}
	}
	return 0, fmt.Errorf("S/MIME signature uses RSASSA-PSS with parameters other than %s throughout", hash)
}

// pssParams returns RSASSA-PSS-params (RFC 4055, Section 3.1) for a digest, whose own
// parameters are NULL or absent, and a salt of a length in bytes.
func pssParams(hash crypto.Hash, salt int, null bool) []byte {
	digest := func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(digests[hash])
			if null {
				b.AddASN1NULL()
			}
		})
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(tag0, digest)
		b.AddASN1(tag1, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidMGF1)
				digest(b)
			})
		})
		if salt != saltOmitted {
			b.AddASN1(tag2, func(b *cryptobyte.Builder) { b.AddASN1Int64(int64(salt)) })
		}
	})
	return b.BytesOrPanic()
}

func sum(hash crypto.Hash, content []byte) []byte {
	h := hash.New()
	h.Write(content)
	return h.Sum(nil)
}
