package smime

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	encasn1 "encoding/asn1"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// sample is a message, with the roots to trust.
type sample struct {
	raw   string
	roots *x509.CertPool
}

// testCase: want is part of the reason of the refusal, "" for none.
type testCase struct {
	name string
	want string
	make func(t testing.TB, ca, id *identity) sample
}

// withLeaf changes the signer's certificate; the signature is smallstep/pkcs7's.
func withLeaf(changes ...change) func(testing.TB, *identity, *identity) sample {
	return func(t testing.TB, ca, _ *identity) sample {
		id := newLeaf(t, ca, ecKey(t), changes...)
		return sample{clearSigned(wrapped(outerHead), bySmallstep(t, wrapped(outerHead), true, id)), id.root()}
	}
}

// withPart signs a part of another form.
func withPart(part string) func(testing.TB, *identity, *identity) sample {
	return func(t testing.TB, ca, id *identity) sample {
		return sample{clearSigned(part, bySmallstep(t, part, true, id)), ca.root()}
	}
}

// withText changes the text of a good message.
func withText(old, replacement string) func(testing.TB, *identity, *identity) sample {
	return func(t testing.TB, ca, id *identity) sample {
		raw := clearSigned(marked(outerHead), bySmallstep(t, marked(outerHead), true, id))
		changed := strings.Replace(raw, old, replacement, 1)
		if changed == raw {
			t.Fatalf("%q is not in the message", old)
		}
		return sample{changed, ca.root()}
	}
}

// withCMS spoils an opaque message.
func withCMS(changes ...func(*cmsSpec)) func(testing.TB, *identity, *identity) sample {
	return func(t testing.TB, ca, id *identity) sample {
		return sample{opaque(newCMS(marked(outerHead), id, changes...).build(t)), ca.root()}
	}
}

// withKey signs with a key of another kind.
func withKey(key func(testing.TB) crypto.Signer, change func(*signerSpec)) func(testing.TB, *identity, *identity) sample {
	return func(t testing.TB, ca, _ *identity) sample {
		id := newLeaf(t, ca, key(t))
		c := newCMS(marked(outerHead), id, func(c *cmsSpec) { change(c.signers[0]) })
		return sample{opaque(c.build(t)), ca.root()}
	}
}

func rsaKey(testing.TB) crypto.Signer { return rsa2048() }

func edKey(testing.TB) crypto.Signer {
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	return key
}

func curve(c elliptic.Curve) func(testing.TB) crypto.Signer {
	return func(t testing.TB) crypto.Signer {
		key, err := ecdsa.GenerateKey(c, rand.Reader)
		must(t, err)
		return key
	}
}

// digestWith makes the SignerInfo use another digest throughout.
func digestWith(s *signerSpec, hash crypto.Hash, digest, scheme string) {
	s.hash, s.opts, s.digest, s.scheme = hash, hash, digest, scheme
	s.attributes[1] = attribute(oidMessageDigst, der(func(b *cryptobyte.Builder) {
		b.AddASN1OctetString(sum(hash, []byte(marked(outerHead))))
	}))
}

var cases = []testCase{
	// Good ones.
	{"multipart, RFC 8551", "", withLeaf()},
	{"multipart, RFC 9788", "", withPart(marked(outerHead))},
	{"multipart, message/global", "", withPart(strings.Replace(wrapped(outerHead), "rfc822", "global", 1))},
	{"protected-headers beside hp, as Thunderbird writes", "", withPart(strings.Replace(marked(outerHead), "hp=", "protected-headers=\"v1\"; hp=", 1))},
	{"8bit", "", withPart(marked(outerHead+"Content-Transfer-Encoding: 8bit\r\n") + "gr\u00fc\u00df\u00df\r\n\xff\r\n")},
	{"no body inside", "", withPart("Content-Type: message/rfc822\r\n\r\n" + outerHead + "\r\n")},
	{"multipart inside, its boundary extends ours", "", withPart(strings.Replace(marked(outerHead), "text/plain;", "multipart/mixed; boundary=\""+boundary+"x\";", 1) +
		"--" + boundary + "x\r\n\r\ntext\r\n--" + boundary + "x--\r\n")},
	{"opaque, RFC 8551", "", func(t testing.TB, ca, id *identity) sample {
		return sample{opaque(bySmallstep(t, wrapped(outerHead), false, id)), ca.root()}
	}},
	{"opaque, RFC 9788", "", func(t testing.TB, ca, id *identity) sample {
		return sample{opaque(bySmallstep(t, marked(outerHead), false, id)), ca.root()}
	}},
	{"opaque without smime-type", "", func(t testing.TB, ca, id *identity) sample {
		raw := opaque(bySmallstep(t, marked(outerHead), false, id))
		return sample{strings.Replace(raw, " smime-type=signed-data;", "", 1), ca.root()}
	}},
	{"opaque, binary", "", func(t testing.TB, ca, id *identity) sample {
		raw, _, _ := strings.Cut(opaque(nil), "Content-Transfer")
		return sample{raw + "Content-Transfer-Encoding: binary\r\n\r\n" + string(bySmallstep(t, marked(outerHead), false, id)), ca.root()}
	}},
	{"several addresses", "", withLeaf(func(c *x509.Certificate) { c.EmailAddresses = []string{"x@ca.example", "acme@ca.example"} })},
	{"contentCommitment only", "", withLeaf(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageContentCommitment })},
	{"no key usage", "", withLeaf(func(c *x509.Certificate) { c.KeyUsage = 0 })},
	{"intermediate in the message", "", func(t testing.TB, ca, _ *identity) sample {
		sub := newCA(t, newCA(t, ca, "sub"), "subsub")
		id := newLeaf(t, sub, ecKey(t))
		return sample{clearSigned(marked(outerHead), bySmallstep(t, marked(outerHead), true, id)), ca.root()}
	}},
	{"four intermediates", "", func(t testing.TB, ca, _ *identity) sample {
		top := ca
		for range 4 {
			top = newCA(t, top, "sub of "+top.cert.Subject.CommonName)
		}
		return sample{opaque(newCMS(marked(outerHead), newLeaf(t, top, ecKey(t))).build(t)), ca.root()}
	}},
	{"intermediate beside others of its name", "", func(t testing.TB, ca, _ *identity) sample {
		sub := newCA(t, ca, "sub")
		weak := issue(t, ca, rsa1024(), &x509.Certificate{
			Subject: pkix.Name{CommonName: "sub"}, IsCA: true, BasicConstraintsValid: true, SubjectKeyId: sub.cert.SubjectKeyId,
		}, nil)
		id := newLeaf(t, sub, ecKey(t))
		return sample{opaque(newCMS(marked(outerHead), id, func(c *cmsSpec) {
			c.certs = []*x509.Certificate{id.cert, newCA(t, ca, "sub").cert, weak.cert, sub.cert}
		}).build(t)), ca.root()}
	}},
	{"intermediate that is a root to others", "", func(t testing.TB, ca, _ *identity) sample {
		theirs := newCA(t, nil, "their root")
		cross := issue(t, ca, theirs.key, &x509.Certificate{Subject: theirs.cert.Subject, IsCA: true, BasicConstraintsValid: true}, nil)
		id := newLeaf(t, theirs, ecKey(t))
		return sample{opaque(newCMS(marked(outerHead), id, func(c *cmsSpec) {
			c.certs = []*x509.Certificate{id.cert, theirs.cert, cross.cert}
		}).build(t)), ca.root()}
	}},
	{"signer beside a certificate of the same serial number", "", func(t testing.TB, ca, id *identity) sample {
		twin := newLeaf(t, newCA(t, ca, "sub"), ecKey(t), func(c *x509.Certificate) { c.SerialNumber = id.cert.SerialNumber })
		return withCMS(func(c *cmsSpec) { c.certs = []*x509.Certificate{twin.cert, id.cert} })(t, ca, id)
	}},
	{"SHA-1 in the root's own signature", "", func(t testing.TB, _, _ *identity) sample {
		ca := newCA(t, nil, "old root", func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 })
		return withLeaf()(t, ca, nil)
	}},
	{"signing time in the future", "", withCMS(func(c *cmsSpec) {
		c.signers[0].attributes = append(c.signers[0].attributes, signingTime(now.AddDate(20, 0, 0)))
	})},
	{"signer by key id", "", func(t testing.TB, ca, _ *identity) sample {
		id := newLeaf(t, ca, ecKey(t), func(c *x509.Certificate) { c.SubjectKeyId = []byte("some key") })
		c := newCMS(marked(outerHead), id, func(c *cmsSpec) { c.signers[0].byKeyID, c.signers[0].version = true, 3 })
		return sample{opaque(c.build(t)), ca.root()}
	}},
	{"indefinite lengths, content in pieces", "", withCMS(func(c *cmsSpec) { c.indefinite = true })},
	{"attributes out of order, but signed so", "", withCMS(func(c *cmsSpec) { slices.Reverse(c.signers[0].attributes); c.signers[0].unsorted = true })},
	{"unreadable certificate beside", "", withCMS(func(c *cmsSpec) { c.certs = append(c.certs, &x509.Certificate{Raw: []byte{0x30, 0}}) })},
	{"unsigned attributes", "", withCMS(func(c *cmsSpec) { c.signers[0].unsigned = []byte{0xa1, 0} })},
	{"P-384 and SHA-384", "", withKey(curve(elliptic.P384()), func(s *signerSpec) {
		digestWith(s, crypto.SHA384, oidSHA384.String(), "1.2.840.10045.4.3.3")
	})},
	{"P-521 and SHA-512", "", withKey(curve(elliptic.P521()), func(s *signerSpec) {
		digestWith(s, crypto.SHA512, oidSHA512.String(), "1.2.840.10045.4.3.4")
	})},
	{"RSA", "", withKey(rsaKey, func(s *signerSpec) { s.scheme, s.params = "1.2.840.113549.1.1.1", []byte{5, 0} })},
	{"RSA, SHA-512, digest in the scheme", "", withKey(rsaKey, func(s *signerSpec) {
		digestWith(s, crypto.SHA512, oidSHA512.String(), "1.2.840.113549.1.1.13")
	})},
	{"RSA-PSS", "", withKey(rsaKey, func(s *signerSpec) {
		s.scheme, s.params = oidPSS.String(), pssParams(crypto.SHA256, 32, false)
		s.opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	})},
	{"Ed25519", "", withKey(edKey, func(s *signerSpec) {
		digestWith(s, crypto.SHA512, oidSHA512.String(), "1.3.101.112")
		s.opts = crypto.Hash(0)
	})},
	{"empty preamble, epilogue, padded boundary", "", func(t testing.TB, ca, id *identity) sample {
		raw := withPartRaw(t, id)
		raw = strings.Replace(raw, "This is a signed message.\r\n", "", 1)
		raw = strings.Replace(raw, boundary+"--\r\n", boundary+"-- \t\r\nepilogue\r\n", 1)
		return sample{strings.Replace(raw, boundary+"\r\nContent", boundary+"  \r\nContent", 1), ca.root()}
	}},
	{"boundary in the middle of a preamble line", "", withText("This is", "x--"+boundary+"\r\nThis is")},
	{"longer boundary in the preamble", "", withText("This is", "--"+boundary+"z\r\nThis is")},
	{"closing boundary at the end of the input", "", withText(boundary+"--\r\n", boundary+"--")},

	// Signed by openssl.
	{"openssl, multipart", "", func(t testing.TB, ca, id *identity) sample {
		return sample{clearSigned(marked(outerHead), byOpenSSL(t, marked(outerHead), id, "-outform", "DER")), ca.root()}
	}},
	{"openssl, whole message", "", func(t testing.TB, ca, id *identity) sample {
		mail := byOpenSSL(t, marked(outerHead), id, "-outform", "SMIME", "-crlfeol", "-from", "acme@ca.example", "-to", "alice@example.org", "-subject", "x")
		return sample{crlfOnly(mail), ca.root()}
	}},
	{"openssl, opaque, streamed", "", func(t testing.TB, ca, id *identity) sample {
		content := wrapped(outerHead) + strings.Repeat("A line of some length, to fill pieces.\r\n", 5000)
		return sample{opaque(byOpenSSL(t, content, id, "-outform", "DER", "-nodetach", "-stream")), ca.root()}
	}},
	{"openssl, key id, SHA-512, intermediate", "", func(t testing.TB, ca, _ *identity) sample {
		id := newLeaf(t, newCA(t, ca, "sub"), ecKey(t), func(c *x509.Certificate) { c.SubjectKeyId = []byte("some key") })
		return sample{opaque(byOpenSSL(t, marked(outerHead), id, "-outform", "DER", "-nodetach", "-keyid", "-md", "sha512")), ca.root()}
	}},
	{"openssl, RSA-PSS as it comes", "", byOpenSSLPSS()},
	{"openssl, RSA-PSS, salt of the digest's length", "", byOpenSSLPSS("-keyopt", "rsa_pss_saltlen:digest")},
	{"openssl, RSA-PSS, longest salt, SHA-512", "", byOpenSSLPSS("-keyopt", "rsa_pss_saltlen:max", "-md", "sha512")},
	{"openssl, RSA-PSS, salt of 20", "", byOpenSSLPSS("-keyopt", "rsa_pss_saltlen:20")},
	{"openssl, RSA-PSS, salt of 7", "", byOpenSSLPSS("-keyopt", "rsa_pss_saltlen:7", "-md", "sha384")},
	{"openssl, RSA-PSS, no salt", "RSASSA-PSS with parameters", byOpenSSLPSS("-keyopt", "rsa_pss_saltlen:0")},
	{"openssl, RSA-PSS, MGF1 with another digest", "RSASSA-PSS with parameters", byOpenSSLPSS("-keyopt", "rsa_mgf1_md:sha512")},
	{"openssl, SHA-1", "S/MIME signature uses SHA-1", func(t testing.TB, ca, id *identity) sample {
		return sample{opaque(byOpenSSL(t, marked(outerHead), id, "-outform", "DER", "-nodetach", "-md", "sha1")), ca.root()}
	}},
	{"openssl, no signed attributes", "has no signed attributes", func(t testing.TB, ca, id *identity) sample {
		return sample{opaque(byOpenSSL(t, marked(outerHead), id, "-outform", "DER", "-nodetach", "-noattr")), ca.root()}
	}},
	// Signers that we do not trust.
	{"wrong root", "is not trusted: x509: certificate signed by unknown authority", func(t testing.TB, ca, id *identity) sample {
		s := withLeaf()(t, ca, id)
		s.roots = newCA(t, nil, "demo root").root() // of the same name
		return s
	}},
	{"no roots", "is not trusted", func(t testing.TB, ca, id *identity) sample {
		s := withLeaf()(t, ca, id)
		s.roots = x509.NewCertPool()
		return s
	}},
	{"the system's roots", "is not trusted", func(t testing.TB, ca, id *identity) sample {
		s := withLeaf()(t, ca, id)
		s.roots = nil
		return s
	}},
	{"self-signed signer", "is not trusted", func(t testing.TB, ca, _ *identity) sample {
		s := withLeaf()(t, nil, nil)
		s.roots = ca.root()
		return s
	}},
	{"expired", "has expired or is not yet valid", withLeaf(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })},
	{"not yet valid", "has expired or is not yet valid", withLeaf(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Minute) })},
	{"issuer expired", "has expired or is not yet valid", func(t testing.TB, ca, _ *identity) sample {
		sub := newCA(t, ca, "sub", func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })
		s := withLeaf()(t, sub, nil)
		s.roots = ca.root()
		return s
	}},
	{"intermediate not in the message", "is not trusted", func(t testing.TB, ca, _ *identity) sample {
		id := newLeaf(t, newCA(t, ca, "sub"), ecKey(t))
		c := newCMS(marked(outerHead), id, func(c *cmsSpec) { c.certs = c.certs[:1] })
		return sample{opaque(c.build(t)), ca.root()}
	}},
	{"too long a chain", "is not trusted", func(t testing.TB, ca, _ *identity) sample {
		top := ca
		for range maxIntermediates + 1 {
			top = newCA(t, top, "sub of "+top.cert.Subject.CommonName)
		}
		id := newLeaf(t, top, ecKey(t))
		return sample{opaque(newCMS(marked(outerHead), id).build(t)), ca.root()}
	}},
	{"issued by a signer, not a CA", "is not trusted", func(t testing.TB, ca, id *identity) sample {
		s := withLeaf()(t, id, nil)
		s.roots = ca.root()
		return s
	}},
	{"serverAuth only", "no emailProtection", withLeaf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })},
	{"no extended key usage", "", withLeaf(func(c *x509.Certificate) { c.ExtKeyUsage = nil })},
	{"any extended key usage", "", withLeaf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} })},
	{"an unknown extended key usage", "no emailProtection", withLeaf(func(c *x509.Certificate) {
		c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []encasn1.ObjectIdentifier{{1, 2, 3}}
	})},
	{"no extended key usage, excluded by the issuer", "incompatible key usage", func(t testing.TB, ca, _ *identity) sample {
		sub := newCA(t, ca, "sub", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
		s := withLeaf(func(c *x509.Certificate) { c.ExtKeyUsage = nil })(t, sub, nil)
		s.roots = ca.root()
		return s
	}},
	{"emailProtection excluded by the issuer", "incompatible key usage", func(t testing.TB, ca, _ *identity) sample {
		sub := newCA(t, ca, "sub", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
		s := withLeaf()(t, sub, nil)
		s.roots = ca.root()
		return s
	}},
	{"keyEncipherment only", "not for signatures", withLeaf(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment })},
	{"a CA as signer", "is that of a CA", withLeaf(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })},
	{"no mailbox", "names no mailbox", withLeaf(func(c *x509.Certificate) { c.EmailAddresses, c.DNSNames = nil, []string{"ca.example"} })},
	{"unreadable name beside the mailbox", "unreadable names", withLeaf(func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: oidSubjectAltName, Value: []byte("\x30\x13\x81\x0facme@ca.example\xa0\x00")}}
	})},
	{"mailbox in the subject only", "names no mailbox", withLeaf(func(c *x509.Certificate) {
		c.EmailAddresses = nil
		c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: encasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, Value: "acme@ca.example"}}
	})},
	{"critical unknown extension", "unhandled critical extension", withLeaf(func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: encasn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
	})},
	{"name constraints", "not permitted by any constraint", func(t testing.TB, ca, _ *identity) sample {
		sub := newCA(t, ca, "sub", func(c *x509.Certificate) { c.PermittedEmailAddresses = []string{"other.example"} })
		s := withLeaf()(t, sub, nil)
		s.roots = ca.root()
		return s
	}},
	{"SHA-1 in the signer's certificate", "is signed with ECDSA-SHA1", func(t testing.TB, ca, _ *identity) sample {
		return withLeaf(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 })(t, ca, nil)
	}},
	{"SHA-1 in the intermediate", "SHA1", func(t testing.TB, ca, _ *identity) sample {
		sub := newCA(t, ca, "sub", func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 })
		s := withLeaf()(t, sub, nil)
		s.roots = ca.root()
		return s
	}},
	{"RSA-1024", "RSA key of 1024 bits", withKey(func(testing.TB) crypto.Signer { return rsa1024() }, func(s *signerSpec) { s.scheme = "1.2.840.113549.1.1.11" })},
	{"RSA-1024 root", "RSA key of 1024 bits", func(t testing.TB, _, _ *identity) sample {
		weak := issue(t, nil, rsa1024(), &x509.Certificate{Subject: pkix.Name{CommonName: "weak"}, IsCA: true, BasicConstraintsValid: true}, nil)
		return withLeaf()(t, weak, nil)
	}},
	{"P-224", "curve P-224", withKey(curve(elliptic.P224()), func(*signerSpec) {})},

	// Headers without protection.
	{"no header protection", errUnprotected.Error(), withPart("Content-Type: text/plain\r\n\r\nhi\r\n")},
	{"no header at all", errUnprotected.Error(), withPart("\r\nhi\r\n")},
	{"fields inside without hp", errUnprotected.Error(), withPart(outerHead + "Content-Type: text/plain\r\n\r\nhi\r\n")},
	{"protected-headers=v1 only", errUnprotected.Error(), withPart(strings.Replace(marked(outerHead), "hp=\"clear\"", "protected-headers=v1", 1))},
	{"message one level down", errUnprotected.Error(), withPart("Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n" + wrapped(outerHead) + "\r\n--i--\r\n")},
	{"hp=cipher", `header protection is "cipher"`, withPart(strings.Replace(marked(outerHead), "clear", "cipher", 1))},
	{"hp=CLEAR", "", withPart(strings.Replace(marked(outerHead), "clear", "CLEAR", 1))},
	{"hp of a later RFC", `header protection is "opaque"`, withPart(strings.Replace(marked(outerHead), "clear", "opaque", 1))},
	{"hp twice", "unreadable Content-Type", withPart(strings.Replace(marked(outerHead), "hp=", "hp=cipher; hp=", 1))},
	{"From missing", "does not cover From", withPart(marked("To: a@b.example\r\nSubject: x\r\n"))},
	{"To missing", "does not cover To", withPart(wrapped("From: a@b.example\r\nSubject: x\r\n"))},
	{"Subject missing", "does not cover Subject", withPart(wrapped("From: a@b.example\r\nTo: x@y.example\r\n"))},
	{"From twice", "From stands there more than once", withPart(wrapped(outerHead + "FROM: b@b.example\r\n"))},
	{"Subject twice", "Subject stands there more than once", withPart(marked(outerHead + "Subject: ACME: other\r\n"))},
	{"Content-Type twice in the part", "Content-Type stands there more than once", withPart("Content-Type: text/plain\r\n" + marked(outerHead))},
	{"space before the colon", "a header line is not a field", withPart(marked(outerHead + "X : y\r\n"))},
	{"bare LF in the signed header", "bare CR, a bare LF or a NUL", withPart(marked(outerHead + "X: y\nSubject: z\r\n"))},
	{"NUL in the signed header", "bare CR, a bare LF or a NUL", withPart(marked(outerHead + "X: \x00\r\n"))},
	{"wrapped message encoded", "encoded once more", withPart(strings.Replace(wrapped(outerHead), "\r\n\r\n", "\r\nContent-Transfer-Encoding: base64\r\n\r\n", 1))},
	{"too many fields", "the header is too long", withPart(marked(outerHead + strings.Repeat("X: y\r\n", maxFields)))},
	{"too long a field", "the header is too long", withPart(marked(outerHead + "X: " + strings.Repeat("y", maxHeader) + "\r\n"))},
	{"triple wrapped", "inside S/MIME is not supported", func(t testing.TB, ca, id *identity) sample {
		inner := strings.ReplaceAll(withPartRaw(t, id), boundary, "inner")
		return sample{clearSigned(inner, bySmallstep(t, inner, true, id)), ca.root()}
	}},
	{"encrypted inside", "inside S/MIME is not supported", withPart("Content-Type: application/pkcs7-mime; smime-type=enveloped-data; hp=clear\r\n" + outerHead + "\r\nx")},
	{"PGP/MIME inside", "inside S/MIME is not supported", withPart("Content-Type: multipart/encrypted; boundary=x; hp=clear\r\n" + outerHead + "\r\nx")},
	{"signed inside the wrapped message", "inside S/MIME is not supported", withPart("Content-Type: message/rfc822\r\n\r\nContent-Type: multipart/signed; boundary=x\r\n" + outerHead + "\r\nx")},

	// Altered messages.
	{"body altered", "does not fit the message", withText("for people", "for robots")},
	{"protected Subject altered", "does not fit the message", func(t testing.TB, ca, id *identity) sample {
		raw := withPartRaw(t, id)
		i := strings.LastIndex(raw, "dGVzdA")
		return sample{raw[:i] + "dGVzdB" + raw[i+6:], ca.root()}
	}},
	{"signature over something else", "does not fit the message", func(t testing.TB, ca, id *identity) sample {
		return sample{clearSigned(marked(outerHead), bySmallstep(t, wrapped(outerHead), true, id)), ca.root()}
	}},
	{"line added before the boundary", "does not fit the message", withText(".\r\n\r\n--", ".\r\n\r\n\r\n--")},
	{"signed by another key", "not made with the key", func(t testing.TB, ca, id *identity) sample {
		return withCMS(func(c *cmsSpec) { c.signers[0].id = &identity{id.cert, ecKey(t), ca} })(t, ca, id)
	}},
	{"attributes altered", "not made with the key", func(t testing.TB, ca, id *identity) sample {
		cms := bySmallstep(t, marked(outerHead), false, id)
		oid := []byte{6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 5}
		cms[bytes.Index(cms, oid)+len(oid)+12] ^= 1 // a digit of the signing time
		return sample{opaque(cms), ca.root()}
	}},

	// MIME.
	{"not signed", `not signed with S/MIME, its Content-Type is "text/plain"`, func(testing.TB, *identity, *identity) sample {
		return sample{outerHead + "Content-Type: text/plain\r\n\r\nhi\r\n", nil}
	}},
	{"no Content-Type", `not signed with S/MIME`, func(testing.TB, *identity, *identity) sample { return sample{outerHead + "\r\nhi", nil} }},
	{"empty", `not signed with S/MIME`, func(testing.TB, *identity, *identity) sample { return sample{} }},
	{"Content-Type twice", "Content-Type stands there more than once", withText("MIME-Version", "Content-Type: text/plain\r\nMIME-Version")},
	{"PGP/MIME", `its protocol is "application/pgp-signature"`, withText("application/pkcs7-signature", "application/pgp-signature")},
	{"no protocol", `its protocol is ""`, withText(`protocol="application/pkcs7-signature"; `, "")},
	{"signature part of another type", "not an S/MIME signature", withText("Content-Type: application/pkcs7-signature", "Content-Type: application/octet-stream")},
	{"signature part missing", "fewer than two parts", func(t testing.TB, ca, id *identity) sample {
		raw := withPartRaw(t, id)
		i := strings.LastIndex(raw, "--"+boundary+"\r\n")
		return sample{raw[:i] + "--" + boundary + "--\r\n", ca.root()}
	}},
	{"signature part twice", "more than two parts", func(t testing.TB, ca, id *identity) sample {
		raw := withPartRaw(t, id)
		i := strings.LastIndex(raw, "--"+boundary+"\r\n")
		j := strings.LastIndex(raw, "--"+boundary+"--")
		return sample{raw[:j] + raw[i:], ca.root()}
	}},
	{"no closing boundary", "ends before its closing boundary", withText(boundary+"--", "")},
	{"part after the end", "goes on after its closing boundary", withText(boundary+"--\r\n", boundary+"--\r\n--"+boundary+"\r\n\r\nx\r\n--"+boundary+"--\r\n")},
	{"boundary in the preamble", "more than two parts", withText("This is", "--"+boundary+"\r\nThis is")},
	{"boundary in the body", "more than two parts", withPart(marked(outerHead) + "--" + boundary + "\r\n")},
	{"closing boundary first", "fewer than two parts", withText("This is", "--"+boundary+"--\r\nThis is")},
	{"boundary not in the message", "fewer than two parts", withText(`boundary="`, `boundary="x`)},
	{"no boundary", "no usable boundary", withText(`boundary="=_b0undary"`, "x=y")},
	{"boundary of foreign characters", "no usable boundary", withText(`boundary="=_b0undary"`, `boundary="<>"`)},
	{"boundary too long", "no usable boundary", withText(`boundary="`, `boundary="`+strings.Repeat("x", 70))},
	{"empty part", "has an empty part", func(t testing.TB, ca, id *identity) sample {
		return sample{clearSigned("", bySmallstep(t, "", true, id)), ca.root()}
	}},
	{"quoted-printable", `Content-Transfer-Encoding "quoted-printable"`, withText("Encoding: base64", "Encoding: quoted-printable")},
	{"truncated base64", "not good base64", func(t testing.TB, ca, id *identity) sample {
		raw := withPartRaw(t, id)
		i := strings.LastIndex(raw, "--"+boundary)
		return sample{raw[:i-5] + "\r\n" + raw[i:], ca.root()}
	}},
	{"junk in base64", "not good base64", withText("base64\r\n\r\n", "base64\r\n\r\n!")},
	{"signature cut short", "malformed", func(t testing.TB, ca, id *identity) sample {
		cms := bySmallstep(t, marked(outerHead), true, id)
		return sample{clearSigned(marked(outerHead), cms[:len(cms)-3]), ca.root()}
	}},
	{"mbox line", "a header line is not a field", withText("From: CA", "From acme@ca.example Mon Nov  2 10:00:00 2026\r\nFrom: CA")},
	{"over 1 MiB", "over 1 MiB", withText("--\r\n", "--\r\n"+strings.Repeat("x", maxMessage))},

	// CMS.
	{"encrypted", `"enveloped-data", not signed-data`, func(t testing.TB, ca, id *identity) sample {
		raw := opaque(bySmallstep(t, marked(outerHead), false, id))
		return sample{strings.Replace(raw, "signed-data", "enveloped-data", 1), ca.root()}
	}},
	{"encrypted, says signed-data", "holds encrypted data", withCMS(func(c *cmsSpec) { c.outerType = "1.2.840.113549.1.7.3" })},
	{"compressed", "holds compressed data", withCMS(func(c *cmsSpec) { c.outerType = "1.2.840.113549.1.9.16.1.9" })},
	{"compressed inside", "is over compressed data", withCMS(func(c *cmsSpec) { c.contentType = "1.2.840.113549.1.9.16.1.9" })},
	{"unknown content", "holds content of type 1.2.3", withCMS(func(c *cmsSpec) { c.outerType = "1.2.3" })},
	{"no certificate", "does not carry a readable certificate", withCMS(func(c *cmsSpec) { c.certs = nil })},
	{"certificate of somebody else", "does not carry a readable certificate", withCMS(func(c *cmsSpec) { c.certs = []*x509.Certificate{c.signers[0].id.issuer.cert} })},
	{"unreadable certificate", "does not carry a readable certificate", withCMS(func(c *cmsSpec) { c.certs = []*x509.Certificate{{Raw: []byte{0x30, 0}}} })},
	{"certificate of another form", "malformed (certificates)", withCMS(func(c *cmsSpec) { c.certs = []*x509.Certificate{{Raw: []byte{0xa1, 0}}} })},
	{"certs-only", "not signed by anybody", withCMS(func(c *cmsSpec) { c.signers = nil })},
	{"two signers", "more than one signer", func(t testing.TB, ca, id *identity) sample {
		return sample{opaque(bySmallstep(t, marked(outerHead), false, id, newLeaf(t, ca, ecKey(t)))), ca.root()}
	}},
	{"no signed attributes", "has no signed attributes", withCMS(func(c *cmsSpec) { c.signers[0].attributes = nil })},
	{"no message-digest", "no content-type or no message-digest", withCMS(func(c *cmsSpec) { c.signers[0].attributes = c.signers[0].attributes[:1] })},
	{"no content-type", "no content-type or no message-digest", withCMS(func(c *cmsSpec) { c.signers[0].attributes = c.signers[0].attributes[1:] })},
	{"content-type is another", "content-type attribute is not data", withCMS(func(c *cmsSpec) {
		c.signers[0].attributes[0] = attribute(oidContentType, der(func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidSignedData) }))
	})},
	{"content-type with two values", "content-type attribute is not data", withCMS(func(c *cmsSpec) {
		data := der(func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidData) })
		c.signers[0].attributes[0] = attribute(oidContentType, data, data)
	})},
	{"message-digest cut short", "does not fit the message", withCMS(func(c *cmsSpec) {
		c.signers[0].attributes[1] = attribute(oidMessageDigst, der(func(b *cryptobyte.Builder) {
			b.AddASN1OctetString(sum(crypto.SHA256, c.content)[:31])
		}))
	})},
	{"more in an attribute", "malformed (signed attributes)", withCMS(func(c *cmsSpec) {
		c.signers[0].attributes = append(c.signers[0].attributes, []byte{0x30, 7, 6, 1, 42, 0x31, 0, 5, 0})
	})},
	{"message-digest twice", "stands there twice", withCMS(func(c *cmsSpec) {
		c.signers[0].attributes = append(c.signers[0].attributes, c.signers[0].attributes[1])
	})},
	{"message-digest with two values", "malformed (message-digest)", withCMS(func(c *cmsSpec) {
		c.signers[0].attributes[1] = attribute(oidMessageDigst, []byte{4, 1, 0}, []byte{4, 1, 1})
	})},
	{"content inside and outside", "has content of its own", func(t testing.TB, ca, id *identity) sample {
		return sample{clearSigned(marked(outerHead), bySmallstep(t, marked(outerHead), false, id)), ca.root()}
	}},
	{"opaque without content", "has no content", func(t testing.TB, ca, id *identity) sample {
		return sample{opaque(bySmallstep(t, marked(outerHead), true, id)), ca.root()}
	}},
	{"trailing bytes", "bytes after the S/MIME signature", withCMS(func(c *cmsSpec) { c.after = []byte{5, 0} })},
	{"trailing bytes inside", "bytes after the S/MIME signature", withCMS(func(c *cmsSpec) { c.tail = []byte{5, 0} })},
	{"trailing bytes beside SignedData", "bytes after the S/MIME signature", withCMS(func(c *cmsSpec) { c.outerTail = []byte{5, 0} })},
	{"trailing bytes after SignedData", "bytes after the S/MIME signature", withCMS(func(c *cmsSpec) { c.dataTail = []byte{5, 0} })},
	{"trailing bytes beside the content", "malformed (content)", withCMS(func(c *cmsSpec) { c.besideContent = []byte{5, 0} })},
	{"trailing bytes after the content", "malformed (content)", withCMS(func(c *cmsSpec) { c.afterContent = []byte{5, 0} })},
	{"trailing bytes after the SignerInfo", "malformed (SignerInfo)", withCMS(func(c *cmsSpec) { c.signers[0].unsigned = []byte{0xa1, 0, 5, 0} })},
	{"trailing bytes after the serial number", "malformed (SignerInfo)", withCMS(func(c *cmsSpec) { c.signers[0].idTail = []byte{5, 0} })},
	{"signer by an empty key id", "malformed (SignerInfo)", withCMS(func(c *cmsSpec) { c.signers[0].byKeyID, c.signers[0].version = true, 3 })},
	{"unknown SignerInfo version", "malformed (SignerInfo)", withCMS(func(c *cmsSpec) { c.signers[0].version = 2 })},
	{"too many certificates", "more than 10 certificates", withCMS(func(c *cmsSpec) {
		c.certs = slices.Repeat(c.certs, maxCertificates+1)
	})},
	{"too large certificates", "too large", withCMS(func(c *cmsSpec) {
		c.certs = append(c.certs, &x509.Certificate{Raw: der(func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(make([]byte, maxSection)) })
		})})
	})},
	{"too large", "too large", withCMS(func(c *cmsSpec) {
		c.signers[0].unsigned = der(func(b *cryptobyte.Builder) {
			b.AddASN1(tag1, func(b *cryptobyte.Builder) { b.AddBytes(make([]byte, maxSection)) })
		})
	})},
	{"digest and scheme disagree", "mixes digest algorithms", withCMS(func(c *cmsSpec) { c.signers[0].scheme = "1.2.840.10045.4.3.4" })},
	{"SHA-224", "uses SHA-224", withCMS(func(c *cmsSpec) { c.signers[0].digest = "2.16.840.1.101.3.4.2.4" })},
	{"SHA-1 in the scheme", "uses SHA-1", withCMS(func(c *cmsSpec) { c.signers[0].scheme = "1.2.840.10045.4.1" })},
	{"unknown scheme", "not supported (1.2.3)", withCMS(func(c *cmsSpec) { c.signers[0].scheme = "1.2.3" })},
	{"RSA-PSS with other parameters", "RSASSA-PSS with parameters", withCMS(func(c *cmsSpec) {
		c.signers[0].scheme, c.signers[0].params = oidPSS.String(), pssParams(crypto.SHA512, 64, true)
	})},
	{"parameters of the scheme", "not supported (1.2.840.10045.4.3.2)", withCMS(func(c *cmsSpec) { c.signers[0].params = []byte{4, 0} })},
	{"parameters of the digest", "not supported (2.16.840.1.101.3.4.2.1)", withCMS(func(c *cmsSpec) { c.signers[0].digestParams = []byte{4, 0} })},
	{"parameters twice", "malformed (SignerInfo)", withCMS(func(c *cmsSpec) { c.signers[0].params = []byte{5, 0, 5, 0} })},
	{"RSA-PSS, not an RSA key", "not made with the key", withCMS(func(c *cmsSpec) {
		c.signers[0].scheme, c.signers[0].params = oidPSS.String(), pssParams(crypto.SHA256, 32, true)
	})},
	{"scheme of another kind of key", "not made with the key", withCMS(func(c *cmsSpec) { c.signers[0].scheme = "1.2.840.113549.1.1.11" })},
}

func signingTime(at time.Time) []byte {
	value, _ := encasn1.Marshal(at.UTC())
	return attribute(encasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}, value)
}

func byOpenSSLPSS(options ...string) func(t testing.TB, ca, _ *identity) sample {
	return func(t testing.TB, ca, _ *identity) sample {
		args := append([]string{"-outform", "DER", "-nodetach", "-keyopt", "rsa_padding_mode:pss"}, options...)
		return sample{opaque(byOpenSSL(t, marked(outerHead), newLeaf(t, ca, rsa2048()), args...)), ca.root()}
	}
}

func withPartRaw(t testing.TB, id *identity) string {
	return clearSigned(marked(outerHead), bySmallstep(t, marked(outerHead), true, id))
}

func crlfOnly(b []byte) string {
	return strings.ReplaceAll(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n", "\r\n")
}

func TestVerify(t *testing.T) {
	ca := newCA(t, nil, "demo root")
	id := newLeaf(t, ca, ecKey(t))
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := c.make(t, ca, id)
			got, err := Verify([]byte(s.raw), Options{Roots: s.roots, Now: now})
			if c.want == "" {
				checkGood(t, got, err)
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || got != nil {
				t.Errorf("got %v, %v, want a refusal with %q", got, err, c.want)
			}
		})
	}
}

func checkGood(t *testing.T, got *Signed, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(got.Mailboxes, "acme@ca.example") || got.Signer == nil {
		t.Errorf("signer %v, mailboxes %q", got.Signer, got.Mailboxes)
	}
	if !slices.Contains(got.Header, Field{"Subject", " ACME: dGVzdA"}) {
		t.Errorf("header %q", got.Header)
	}
}

// The certificates count at the time of receipt, whatever the clock says when we look.
func TestTimeOfReceipt(t *testing.T) {
	ca := newCA(t, nil, "demo root")
	raw := []byte(withPartRaw(t, newLeaf(t, ca, ecKey(t))))
	for after, want := range map[time.Duration]bool{0: true, 50 * time.Minute: true, 70 * time.Minute: false, -70 * time.Minute: false} {
		if _, err := Verify(raw, Options{Roots: ca.root(), Now: now.Add(after)}); (err == nil) != want {
			t.Errorf("received %v after the signature: %v", after, err)
		}
	}
}

func TestKeySize(t *testing.T) {
	for bits, want := range map[int]bool{2047: false, 2048: true, 4096: true, 4097: false} {
		key := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), uint(bits-1)), E: 65537}
		if err := checkKey(&x509.Certificate{PublicKey: key}); (err == nil) != want {
			t.Errorf("%d bits: %v", bits, err)
		}
	}
}
