package smime

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	encasn1 "encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/smallstep/pkcs7"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Three ways to sign messages: with smallstep/pkcs7, with openssl, and, for forms that
// neither would write, with the CMS builder at the end of this file.

var now = time.Now()

// identity is a certificate with its key and issuer.
type identity struct {
	cert   *x509.Certificate
	key    crypto.Signer
	issuer *identity
}

type change = func(*x509.Certificate)

func ecKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

// RSA keys take long to generate, so there is one of each size.
var rsa1024 = sync.OnceValue(func() crypto.Signer { k, _ := rsa.GenerateKey(rand.Reader, 1024); return k })
var rsa2048 = sync.OnceValue(func() crypto.Signer { k, _ := rsa.GenerateKey(rand.Reader, 2048); return k })

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func serial() *big.Int {
	n, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	return n.Add(n, big.NewInt(1))
}

// issue makes a certificate; issuer nil means self-signed.
func issue(t testing.TB, issuer *identity, key crypto.Signer, tmpl *x509.Certificate, changes []change) *identity {
	t.Helper()
	tmpl.SerialNumber = serial()
	tmpl.NotBefore, tmpl.NotAfter = now.Add(-time.Hour), now.Add(time.Hour)
	for _, c := range changes {
		c(tmpl)
	}
	parent, signer := tmpl, key
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return &identity{cert, key, issuer}
}

func newCA(t testing.TB, issuer *identity, name string, changes ...change) *identity {
	t.Helper()
	return issue(t, issuer, ecKey(t), &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, changes)
}

func newLeaf(t testing.TB, issuer *identity, key crypto.Signer, changes ...change) *identity {
	t.Helper()
	return issue(t, issuer, key, &x509.Certificate{
		Subject: pkix.Name{CommonName: "challenge signer"}, EmailAddresses: []string{"acme@ca.example"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	}, changes)
}

// chain returns the certificate and its issuers below the root.
func (id *identity) chain() (certs []*x509.Certificate) {
	for ; id != nil && (id.issuer != nil || certs == nil); id = id.issuer {
		certs = append(certs, id.cert)
	}
	return certs
}

func (id *identity) root() *x509.CertPool {
	for id.issuer != nil {
		id = id.issuer
	}
	pool := x509.NewCertPool()
	pool.AddCert(id.cert)
	return pool
}

// The challenge, and the two ways of protecting its header.

const outerHead = "From: CA <acme@ca.example>\r\nTo: alice@example.org\r\nSubject: ACME: dGVzdA\r\n"

const body = "From here on it is for people.\r\n\r\n>From the CA, with love\r\n.\r\n"

func wrapped(head string) string {
	return "Content-Type: message/rfc822; forwarded=no\r\n\r\n" + head +
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + body
}

func marked(head string) string {
	return head + "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8; hp=\"clear\"\r\n\r\n" + body
}

const boundary = "=_b0undary"

func clearSigned(part string, cms []byte) string {
	return outerHead + "MIME-Version: 1.0\r\nContent-Type: multipart/signed; micalg=sha-256;\r\n" +
		"\tprotocol=\"application/pkcs7-signature\"; boundary=\"" + boundary + "\"\r\n\r\n" +
		"This is a signed message.\r\n--" + boundary + "\r\n" + part + "\r\n--" + boundary + "\r\n" +
		"Content-Type: application/pkcs7-signature; name=smime.p7s\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\n" + lines64(cms) + "--" + boundary + "--\r\n"
}

func opaque(cms []byte) string {
	return outerHead + "MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; smime-type=signed-data;\r\n name=smime.p7m\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\n" + lines64(cms)
}

func lines64(b []byte) string {
	var out strings.Builder
	for chunk := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(b)), 76) {
		out.Write(chunk)
		out.WriteString("\r\n")
	}
	return out.String()
}

// bySmallstep signs with smallstep/pkcs7.
func bySmallstep(t testing.TB, content string, detached bool, ids ...*identity) []byte {
	t.Helper()
	sd, err := pkcs7.NewSignedData([]byte(content))
	must(t, err)
	sd.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	for _, id := range ids {
		must(t, sd.AddSigner(id.cert, id.key, pkcs7.SignerInfoConfig{}))
		for _, c := range id.chain()[1:] {
			sd.AddCertificate(c)
		}
	}
	if detached {
		sd.Detach()
	}
	der, err := sd.Finish()
	must(t, err)
	return der
}

// byOpenSSL signs with openssl cms -sign.
func byOpenSSL(t testing.TB, content string, id *identity, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, data, 0o600))
		return path
	}
	key, err := x509.MarshalPKCS8PrivateKey(id.key)
	must(t, err)
	var chain []byte
	for _, c := range id.chain()[1:] {
		chain = append(chain, pemOf("CERTIFICATE", c.Raw)...)
	}
	if chain != nil {
		args = append(args, "-certfile", write("chain.pem", chain))
	}
	args = append([]string{
		"cms", "-sign", "-binary", "-in", write("in", []byte(content)),
		"-signer", write("cert.pem", pemOf("CERTIFICATE", id.cert.Raw)), "-inkey", write("key.pem", pemOf("PRIVATE KEY", key)),
	}, args...)
	cmd := exec.Command("openssl", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return out
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// cmsSpec is a SignedData in all its parts, each of which a test may spoil.
type cmsSpec struct {
	outerType, contentType string
	content                []byte
	detached               bool
	certs                  []*x509.Certificate
	signers                []*signerSpec
	after                  []byte // after the ContentInfo
	tail                   []byte // at the end of SignedData
	outerTail, dataTail    []byte // in ContentInfo, and in its content
	besideContent          []byte // at the end of EncapsulatedContentInfo
	afterContent           []byte // in its content
	indefinite             bool   // BER around the DER parts, as Bouncy Castle writes it
}

type signerSpec struct {
	id         *identity
	byKeyID    bool
	idTail     []byte
	version    int64
	digest     string
	hash       crypto.Hash
	opts       crypto.SignerOpts
	scheme     string
	params     []byte
	attributes [][]byte // nil: none at all
	unsorted   bool
	unsigned   []byte

	digestParams []byte
}

const (
	ecdsaSHA256 = "1.2.840.10045.4.3.2"
	signedType  = "1.2.840.113549.1.7.2"
	dataType    = "1.2.840.113549.1.7.1"
)

func oid(s string) encasn1.ObjectIdentifier {
	var out encasn1.ObjectIdentifier
	for part := range strings.SplitSeq(s, ".") {
		n, _ := new(big.Int).SetString(part, 10)
		out = append(out, int(n.Int64()))
	}
	return out
}

func newCMS(content string, id *identity, changes ...func(*cmsSpec)) *cmsSpec {
	digest := crypto.SHA256.New()
	digest.Write([]byte(content))
	c := &cmsSpec{
		outerType: signedType, contentType: dataType, content: []byte(content), certs: id.chain(),
		signers: []*signerSpec{{
			id: id, version: 1, digest: oidSHA256.String(), hash: crypto.SHA256, opts: crypto.SHA256, scheme: ecdsaSHA256,
			attributes: [][]byte{
				attribute(oidContentType, der(func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidData) })),
				attribute(oidMessageDigst, der(func(b *cryptobyte.Builder) { b.AddASN1OctetString(digest.Sum(nil)) })),
			},
		}},
	}
	for _, f := range changes {
		f(c)
	}
	return c
}

func der(f func(*cryptobyte.Builder)) []byte {
	var b cryptobyte.Builder
	f(&b)
	return b.BytesOrPanic()
}

func attribute(oid encasn1.ObjectIdentifier, values ...[]byte) []byte {
	return der(func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oid)
			b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(values, nil)) })
		})
	})
}

// wrap writes a constructed value, with indefinite length if requested.
func (c *cmsSpec) wrap(tag asn1.Tag, parts ...[]byte) []byte {
	inner := bytes.Join(parts, nil)
	if c.indefinite {
		return slices.Concat([]byte{byte(tag), 0x80}, inner, []byte{0, 0})
	}
	return der(func(b *cryptobyte.Builder) {
		b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes(inner) })
	})
}

func (c *cmsSpec) build(t testing.TB) []byte {
	t.Helper()
	oidDER := func(s string) []byte {
		return der(func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oid(s)) })
	}
	encapsulated := [][]byte{oidDER(c.contentType)}
	if !c.detached {
		encapsulated = append(encapsulated, c.wrap(tag0, c.octets(), c.afterContent))
	}
	encapsulated = append(encapsulated, c.besideContent)
	var certs, signers [][]byte
	for _, cert := range c.certs {
		certs = append(certs, cert.Raw)
	}
	for _, s := range c.signers {
		signers = append(signers, s.build(t))
	}
	parts := [][]byte{
		{2, 1, 1},
		der(func(b *cryptobyte.Builder) { b.AddASN1(asn1.SET, func(*cryptobyte.Builder) {}) }),
		c.wrap(asn1.SEQUENCE, encapsulated...),
	}
	if certs != nil {
		parts = append(parts, c.wrap(tag0, certs...))
	}
	parts = append(parts, c.wrap(asn1.SET, signers...), c.tail)
	data := c.wrap(tag0, c.wrap(asn1.SEQUENCE, parts...), c.dataTail)
	return append(c.wrap(asn1.SEQUENCE, oidDER(c.outerType), data, c.outerTail), c.after...)
}

// octets is the content, in pieces of 1,000 bytes if BER.
func (c *cmsSpec) octets() []byte {
	octetString := func(p []byte) []byte {
		return der(func(b *cryptobyte.Builder) { b.AddASN1OctetString(p) })
	}
	if !c.indefinite {
		return octetString(c.content)
	}
	var pieces [][]byte
	for p := range slices.Chunk(c.content, 1000) {
		pieces = append(pieces, octetString(p))
	}
	return c.wrap(octetStringConstructed, pieces...)
}

func (s *signerSpec) build(t testing.TB) []byte {
	t.Helper()
	if !s.unsorted { // DER sorts a SET OF
		slices.SortFunc(s.attributes, bytes.Compare)
	}
	signed := der(func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(s.attributes, nil)) })
	})
	toSign := signed
	if s.opts.HashFunc() != 0 {
		toSign = sum(s.hash, signed)
	}
	signature, err := s.id.key.Sign(rand.Reader, toSign, s.opts)
	must(t, err)
	return der(func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(s.version)
			s.addIdentifier(b)
			addAlgorithm(b, s.digest, s.digestParams)
			if s.attributes != nil {
				b.AddASN1(tag0, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(s.attributes, nil)) })
			}
			addAlgorithm(b, s.scheme, s.params)
			b.AddASN1OctetString(signature)
			b.AddBytes(s.unsigned)
		})
	})
}

func (s *signerSpec) addIdentifier(b *cryptobyte.Builder) {
	if s.byKeyID {
		b.AddASN1(asn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(s.id.cert.SubjectKeyId) })
		return
	}
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(s.id.cert.RawIssuer)
		b.AddASN1BigInt(s.id.cert.SerialNumber)
		b.AddBytes(s.idTail)
	})
}

func addAlgorithm(b *cryptobyte.Builder, name string, params []byte) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid(name))
		b.AddBytes(params)
	})
}

// names is a subjectAltName extension with SmtpUTF8Mailbox names.
func names(critical bool, mailboxes ...string) change {
	value := der(func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, m := range mailboxes {
				b.AddASN1(tag0, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(oidSmtpUTF8Mailbox)
					b.AddASN1(tag0, func(b *cryptobyte.Builder) {
						b.AddASN1(asn1.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(m)) })
					})
				})
			}
		})
	})
	return func(c *x509.Certificate) {
		c.EmailAddresses = nil
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oidSubjectAltName, Critical: critical, Value: value})
	}
}
