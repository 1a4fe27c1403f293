package testca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"sync"
	"time"

	"github.com/smallstep/pkcs7"
)

// smimeSigner signs challenge mails with S/MIME. Its root is not the one of
// the certificates issued: whom one trusts to ask is another matter than
// whose certificates one wants.
type smimeSigner struct {
	root *authority
	key  *ecdsa.PrivateKey

	mu    sync.Mutex
	certs map[string]*x509.Certificate // by From address
}

func newSMIMESigner(suffix string) (*smimeSigner, error) {
	root, err := newAuthority("postseal demo challenge root "+suffix, nil)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &smimeSigner{root: root, key: key, certs: map[string]*x509.Certificate{}}, err
}

// certFor returns the certificate for a From address: RFC 8823, Section 3.1,
// item 6, wants it as an rfc822Name.
func (s *smimeSigner) certFor(from string) (*x509.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.certs[from]; c != nil {
		return c, nil
	}
	c, err := s.root.issue(&x509.Certificate{
		Subject:        pkix.Name{CommonName: "postseal demo challenge signer"},
		NotAfter:       time.Now().Add(24 * time.Hour),
		EmailAddresses: []string{from},
		KeyUsage:       x509.KeyUsageDigitalSignature,
		ExtKeyUsage:    []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	}, s.key.Public())
	if err != nil {
		return nil, err
	}
	s.certs[from] = c
	return c, nil
}

// wrap makes a multipart/signed message whose signed part holds the header
// once more (RFC 8823, Section 3.1, item 7).
func (s *smimeSigner) wrap(form Protection, from string, head []field, text string) ([]byte, error) {
	part := protectedPart(form, head, text)
	sig, err := s.sign(from, part)
	if err != nil {
		return nil, err
	}
	boundary := "sig-" + randomAlnum(20)
	var body bytes.Buffer
	body.WriteString("--" + boundary + "\r\n")
	body.Write(part)
	body.WriteString("\r\n--" + boundary + "\r\n")
	body.Write(message([]field{
		{"Content-Type", `application/pkcs7-signature; name="smime.p7s"`},
		{"Content-Transfer-Encoding", "base64"},
		{"Content-Disposition", `attachment; filename="smime.p7s"`},
	}, wrapLines(base64.StdEncoding.EncodeToString(sig))))
	body.WriteString("--" + boundary + "--\r\n")
	outer := append(append([]field{}, head...), field{"MIME-Version", "1.0"}, field{"Content-Type",
		`multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256;` + "\r\n boundary=\"" + boundary + `"`})
	return message(outer, body.String()), nil
}

// protectedPart is the part that gets signed: with RFC 9788, Section 4, the
// payload carries the header fields itself and says so; with RFC 8551,
// Section 3.1, the whole message is inside.
func protectedPart(form Protection, head []field, text string) []byte {
	contentType := textPlain
	if form == ProtectRFC9788 {
		contentType += `; hp="clear"`
	}
	inner := append(append([]field{}, head...), field{"MIME-Version", "1.0"},
		field{"Content-Type", contentType}, field{"Content-Transfer-Encoding", "7bit"})
	if form == ProtectRFC9788 {
		return message(inner, text)
	}
	return message([]field{{"Content-Type", "message/rfc822; forwarded=no"}}, string(message(inner, text)))
}

func (s *smimeSigner) sign(from string, part []byte) ([]byte, error) {
	cert, err := s.certFor(from)
	if err != nil {
		return nil, err
	}
	sd, err := pkcs7.NewSignedData(part)
	if err != nil {
		return nil, err
	}
	sd.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	if err := sd.AddSigner(cert, s.key, pkcs7.SignerInfoConfig{}); err != nil {
		return nil, err
	}
	sd.Detach()
	return sd.Finish()
}

// wrapLines breaks base64 as RFC 2045, Section 6.8, demands.
func wrapLines(s string) string {
	const width = 76
	var b bytes.Buffer
	for len(s) > width {
		b.WriteString(s[:width] + "\r\n")
		s = s[width:]
	}
	b.WriteString(s + "\r\n")
	return b.String()
}
