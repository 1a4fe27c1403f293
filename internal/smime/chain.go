package smime

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

const (
	// maxCertificates bounds the certificates in a message.
	maxCertificates = 10
	// maxIntermediates bounds how many of them may lead to a root. A signature on P-521
	// takes a millisecond or two to check, and crypto/x509 would try a hundred of them.
	maxIntermediates = 4
)

// parseCertificates reads the CertificateSet (RFC 5652, Section 10.2.3). It leaves out a
// certificate that crypto/x509 cannot read: nothing can be built on it, and old roots that
// nobody needs in a message are often odd.
func parseCertificates(s cryptobyte.String) (certs []*x509.Certificate, err error) {
	for n := 0; !s.Empty(); n++ {
		var raw cryptobyte.String
		if n == maxCertificates {
			return nil, fmt.Errorf("the S/MIME signature carries more than %d certificates", maxCertificates)
		}
		if !s.ReadASN1Element(&raw, asn1.SEQUENCE) {
			return nil, malformed("certificates")
		}
		if c, err := x509.ParseCertificate(raw); err == nil {
			certs = append(certs, c)
		}
	}
	return certs, nil
}

// signer is a certificate that may sign mail, if it is trusted.
type signer struct {
	cert *x509.Certificate
	utf8 []string // SmtpUTF8Mailbox names
}

func newSigner(c *x509.Certificate) (*signer, error) {
	const signs = x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment
	s := &signer{cert: c}
	if err := checkKey(c); err != nil {
		return nil, err
	}
	switch {
	case c.IsCA:
		return nil, errors.New("the signer's certificate is that of a CA")
	case c.KeyUsage != 0 && c.KeyUsage&signs == 0:
		return nil, errors.New("the signer's certificate is not for signatures (key usage)")
	case !forMail(c):
		return nil, errors.New("the signer's certificate is not for mail (no emailProtection)")
	}
	return s, s.readMailboxes()
}

// forMail reports whether a certificate may be used for mail. A certificate without an
// extended key usage is not restricted (RFC 8550, Section 4.4.4).
func forMail(c *x509.Certificate) bool {
	return len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 ||
		slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageEmailProtection) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// checkKey bounds keys from both sides: weak ones prove nothing, and an RSA key of a few
// hundred thousand bits takes minutes to check with.
func checkKey(c *x509.Certificate) error {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < 2048 || bits > 4096 {
			return fmt.Errorf("certificate %q has an RSA key of %d bits, not 2048 to 4096", c.Subject.CommonName, bits)
		}
		return nil
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P224() {
			return fmt.Errorf("certificate %q has a key on curve P-224", c.Subject.CommonName)
		}
		return nil
	case ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("certificate %q has a key of an unsupported kind", c.Subject.CommonName)
}

// verifyChain looks for a chain from the signer to a root that is valid at the time of
// receipt.
func (s *signer) verifyChain(certs []*x509.Certificate, opt Options) error {
	if !strong[s.cert.SignatureAlgorithm] {
		return fmt.Errorf("the signer's certificate is signed with %s", s.cert.SignatureAlgorithm)
	}
	chains, err := s.cert.Verify(x509.VerifyOptions{
		Roots:         opt.Roots,
		Intermediates: s.intermediates(certs),
		CurrentTime:   opt.Now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
	})
	if err != nil {
		return fmt.Errorf("the signer's certificate is not trusted: %w", err)
	}
	for _, chain := range chains {
		if err = s.checkChain(chain); err == nil {
			return nil
		}
	}
	return err
}

// intermediates follows the issuers' names upwards from the signer and takes one certificate
// for each name, so that there is one path and not a maze.
func (s *signer) intermediates(certs []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	current := s.cert
	for range maxIntermediates {
		i := slices.IndexFunc(certs, func(c *x509.Certificate) bool { return issued(c, current) })
		if i < 0 {
			break
		}
		current = certs[i]
		pool.AddCert(current)
	}
	return pool
}

// issued reports whether parent can be the issuer of child by its names, and is worth trying.
// A self-signed certificate is not: either it is a root of ours, or it proves nothing.
func issued(parent, child *x509.Certificate) bool {
	sameKey := len(child.AuthorityKeyId) == 0 || len(parent.SubjectKeyId) == 0 ||
		bytes.Equal(child.AuthorityKeyId, parent.SubjectKeyId)
	return bytes.Equal(parent.RawSubject, child.RawIssuer) && sameKey &&
		!bytes.Equal(parent.RawSubject, parent.RawIssuer) && checkKey(parent) == nil
}

// strong are the signature algorithms that a certificate may have.
var strong = map[x509.SignatureAlgorithm]bool{
	x509.SHA256WithRSA: true, x509.SHA384WithRSA: true, x509.SHA512WithRSA: true,
	x509.SHA256WithRSAPSS: true, x509.SHA384WithRSAPSS: true, x509.SHA512WithRSAPSS: true,
	x509.ECDSAWithSHA256: true, x509.ECDSAWithSHA384: true, x509.ECDSAWithSHA512: true,
	x509.PureEd25519: true,
}

// checkChain makes the checks that crypto/x509 does not. The last certificate is a root of
// ours: we trust its key, so its signature does not matter.
func (s *signer) checkChain(chain []*x509.Certificate) error {
	for i, c := range chain {
		if err := checkKey(c); err != nil {
			return err
		}
		if i < len(chain)-1 && !strong[c.SignatureAlgorithm] {
			return fmt.Errorf("certificate %q is signed with %s", c.Subject.CommonName, c.SignatureAlgorithm)
		}
	}
	for _, c := range chain[1:] {
		if err := s.checkConstraints(c); err != nil {
			return err
		}
	}
	return nil
}
