package challenge

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	encasn1 "encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// smimeSig is an S/MIME signature to make, with header protection by a part of type
// message/rfc822, or by hp="clear" of RFC 9788. Everything in it is fixed, so that the same
// table makes the same bytes.
type smimeSig struct {
	rfc822, opaque, unprotected bool
	outside                     []edit // how the header outside differs from the signed one
	mailbox                     string // of the signer; "" means From of the CA
	change                      func(*x509.Certificate)
	stranger                    bool // the root is nobody's
	tamper                      bool // the signed part is changed afterwards
}

// mail wraps a message.
func (s smimeSig) mail(d *draft) string {
	outer := &draft{}
	inner := &draft{body: d.body}
	for _, f := range d.fields {
		if !strings.HasPrefix(f, "MIME-Version") && !strings.HasPrefix(f, "Content-Type") {
			outer.fields = append(outer.fields, f)
		}
	}
	switch {
	case s.unprotected:
		inner.fields = []string{"Content-Type: text/plain"}
	case s.rfc822:
		inner = &draft{fields: []string{"Content-Type: message/rfc822"}, body: d.String()}
	default:
		inner.fields = append(append(inner.fields, outer.fields...), `Content-Type: text/plain; hp="clear"`)
	}
	content := inner.String()
	cms := s.cms(content)
	if s.tamper {
		content = strings.Replace(content, "Somebody", "Somebodx", 1)
	}
	return s.wrap(outer.with(s.outside...), content, cms)
}

func (s smimeSig) wrap(outer *draft, content string, cms []byte) string {
	outer.fields = append(outer.fields, "MIME-Version: 1.0")
	if s.opaque {
		outer.fields = append(outer.fields, "Content-Type: application/pkcs7-mime; smime-type=signed-data", "Content-Transfer-Encoding: base64")
		outer.body = lines64(cms)
		return outer.String()
	}
	outer.fields = append(outer.fields, `Content-Type: multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256; boundary="b"`)
	outer.body = "--b\r\n" + content + "\r\n--b\r\nContent-Type: application/pkcs7-signature\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\n" + lines64(cms) + "--b--\r\n"
	return outer.String()
}

func lines64(data []byte) (out string) {
	text := base64.StdEncoding.EncodeToString(data)
	for len(text) > 76 {
		out, text = out+text[:76]+"\r\n", text[76:]
	}
	return out + text + "\r\n"
}

var (
	oidData          = encasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData    = encasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidContentType   = encasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = encasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSHA256        = encasn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidRSA           = encasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
)

// cms signs (RFC 5652, Section 5).
func (s smimeSig) cms(content string) []byte {
	cert := s.certificate()
	hash := sha256.Sum256([]byte(content))
	attributes := der(asn1.SET, func(b *cryptobyte.Builder) {
		attribute(b, oidContentType, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidData) })
		attribute(b, oidMessageDigest, func(b *cryptobyte.Builder) { b.AddASN1OctetString(hash[:]) })
	})
	toSign := sha256.Sum256(attributes)
	signature, err := rsa.SignPKCS1v15(nil, testKey("rsa2048").Signer.(*rsa.PrivateKey), crypto.SHA256, toSign[:])
	if err != nil {
		panic(err)
	}
	attributes[0] = 0xa0 // [0] IMPLICIT in place of SET OF
	return der(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidSignedData)
		explicit(b, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(1)
				b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) { algorithm(b, oidSHA256) })
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(oidData)
					if s.opaque {
						explicit(b, func(b *cryptobyte.Builder) { b.AddASN1OctetString([]byte(content)) })
					}
				})
				explicit(b, func(b *cryptobyte.Builder) { b.AddBytes(cert.Raw) })
				b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) { signerInfo(b, cert, attributes, signature) })
			})
		})
	})
}

func signerInfo(b *cryptobyte.Builder, cert *x509.Certificate, attributes, signature []byte) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(cert.RawIssuer)
			b.AddASN1BigInt(cert.SerialNumber)
		})
		algorithm(b, oidSHA256)
		b.AddBytes(attributes)
		algorithm(b, oidRSA)
		b.AddASN1OctetString(signature)
	})
}

func attribute(b *cryptobyte.Builder, oid encasn1.ObjectIdentifier, value cryptobyte.BuilderContinuation) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		b.AddASN1(asn1.SET, value)
	})
}

func algorithm(b *cryptobyte.Builder, oid encasn1.ObjectIdentifier) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		b.AddASN1NULL()
	})
}

func explicit(b *cryptobyte.Builder, inside cryptobyte.BuilderContinuation) {
	b.AddASN1(asn1.Tag(0).ContextSpecific().Constructed(), inside)
}

func der(tag asn1.Tag, inside cryptobyte.BuilderContinuation) []byte {
	var b cryptobyte.Builder
	b.AddASN1(tag, inside)
	return b.BytesOrPanic()
}

// smimeRoot is the root that the golden cases trust.
var smimeRoot = sync.OnceValue(func() *x509.Certificate { return newRoot("other2048", "Root of the S/MIME cases") })

func newRoot(key, name string) *x509.Certificate {
	t := template(1, name)
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign
	return issued(t, t, testKey(key), testKey(key))
}

func (s smimeSig) certificate() *x509.Certificate {
	t := template(2, "challenge signer")
	t.EmailAddresses = []string{usual(s.mailbox, caFrom)}
	t.KeyUsage, t.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}
	if s.change != nil {
		s.change(t)
	}
	if s.stranger {
		return issued(t, newRoot("rsa2048", "Root of a stranger"), testKey("rsa2048"), testKey("rsa2048"))
	}
	return issued(t, smimeRoot(), testKey("rsa2048"), testKey("other2048"))
}

func template(serial int64, name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: received.AddDate(-1, 0, 0), NotAfter: received.AddDate(70, 0, 0),
		SignatureAlgorithm: x509.SHA256WithRSA,
	}
}

// issued makes a certificate: RSA with PKCS#1 v1.5 needs no random numbers.
func issued(t, issuer *x509.Certificate, subject, signer key) *x509.Certificate {
	raw, err := x509.CreateCertificate(nil, t, issuer, subject.Public(), signer.Signer)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		panic(err)
	}
	return cert
}

func rootPEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: smimeRoot().Raw}))
}

func serverAuth(t *x509.Certificate) { t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
func expired(t *x509.Certificate)    { t.NotAfter = received.Add(-time.Second) }
func notYet(t *x509.Certificate)     { t.NotBefore = received.Add(time.Hour) }
