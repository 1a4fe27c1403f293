package cert

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"postseal/state"
)

// clockGrace is how far in our future a certificate may start: CAs' clocks and ours differ.
const clockGrace = 5 * time.Minute

// Bounds of a chain: how many certificates it has, and how long its text is, in bytes.
const (
	maxChain     = 10
	maxChainText = 256 << 10
)

// ReadChain reads a chain as a CA sends it, the leaf first (RFC 8555, Section 7.4.2): PEM
// certificates with white space between them, and nothing else (Section 9.1). A program that
// reads the resulting files might misread any other text that a CA, or somebody in between,
// puts there (Section 11.4).
func ReadChain(text []byte) ([]*x509.Certificate, error) {
	if len(text) > maxChainText {
		return nil, fmt.Errorf("its chain is longer than %d bytes", maxChainText)
	}
	var chain []*x509.Certificate
	for rest := bytes.TrimSpace(text); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		begins := bytes.HasPrefix(rest, []byte("-----BEGIN CERTIFICATE-----"))
		if block, rest = pem.Decode(rest); block == nil || !begins || block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			return nil, errors.New("its chain holds something other than certificates")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if chain = append(chain, cert); len(chain) > maxChain {
			return nil, fmt.Errorf("its chain has more than %d certificates", maxChain)
		}
	}
	if len(chain) == 0 {
		return nil, errors.New("no certificate in it")
	}
	return chain, nil
}

// ParseChain reads the certificates in PEM text of local origin, the leaf first; the text may
// also hold keys and comments.
func ParseChain(data []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, errors.New("no certificate in it")
	}
	return chain, nil
}

// MarshalChain writes certificates in PEM.
func MarshalChain(chain []*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, cert := range chain {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}) // a Buffer accepts everything
	}
	return b.Bytes()
}

// Wanted is what a leaf must match before it replaces anything on disk.
type Wanted struct {
	Key     crypto.Signer
	Emails  []string
	Usages  []string
	Certbot bool
	Now     time.Time
}

// Check returns why a certificate is not the one ordered.
func (w Wanted) Check(leaf *x509.Certificate) error {
	if !SamePublicKey(leaf.PublicKey, w.Key) {
		return errors.New("it is for another key")
	}
	for _, look := range []func(*x509.Certificate) error{w.checkPurpose, w.checkNames, w.checkSubject, w.checkLifetime, w.checkTime} {
		if err := look(leaf); err != nil {
			return err
		}
	}
	return nil
}

// maxLifetime is the longest lifetime of a certificate. The CA/B Forum allows 825 days, and a
// private CA may be more generous; a certificate without an end is not one for mail.
const maxLifetime = 10 * 366 * 24 * time.Hour

func (w Wanted) checkLifetime(leaf *x509.Certificate) error {
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life <= 0 || life > maxLifetime {
		return fmt.Errorf("it is valid from %s to %s", leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// WrongClock is the error for a certificate that matches the order but is not valid now. The
// CA has just issued it, so the clock is wrong and not the certificate.
type WrongClock struct{ error }

func (w Wanted) checkTime(leaf *x509.Certificate) error {
	switch {
	case w.Now.Add(clockGrace).Before(leaf.NotBefore):
		return WrongClock{fmt.Errorf("it begins only at %s", leaf.NotBefore.Local().Format(time.RFC3339))}
	case !w.Now.Before(leaf.NotAfter):
		return WrongClock{fmt.Errorf("it expired at %s", leaf.NotAfter.Local().Format(time.RFC3339))}
	}
	return nil
}

// checkPurpose requires a certificate for mail, not one for a CA, servers, code or time
// stamps. It allows client authentication (clientAuth) and purposes without a name here. CAs
// leave emailProtection out of some that only sign.
func (w Wanted) checkPurpose(leaf *x509.Certificate) error {
	if leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return errors.New("it is that of a CA")
	}
	forMail := false
	for _, use := range leaf.ExtKeyUsage {
		switch use {
		case x509.ExtKeyUsageEmailProtection:
			forMail = true
		case x509.ExtKeyUsageClientAuth:
		default:
			return errors.New("its extended key usage has more than mail and clientAuth: it may serve for servers, code or anything")
		}
	}
	if !forMail && !w.onlySigns(leaf) {
		return errors.New("it is not for mail: extended key usage emailProtection is missing")
	}
	return nil
}

// onlySigns reports whether a certificate can sign and not encrypt.
func (w Wanted) onlySigns(leaf *x509.Certificate) bool {
	if leaf.KeyUsage == 0 {
		return signingOnly(w.Usages)
	}
	return leaf.KeyUsage&^(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) == 0
}

// checkNames compares the addresses, which may return in another case. A certbot CA may keep
// only the dNSName.
func (w Wanted) checkNames(leaf *x509.Certificate) error {
	emails, dns, err := Names(leaf)
	if err != nil {
		return err
	}
	if w.Certbot {
		emails, dns = append(emails, dns...), nil
	}
	if len(dns) > 0 || !SameAddresses(emails, w.Emails) {
		return fmt.Errorf("it names %q, and %q were ordered", append(emails, dns...), w.Emails)
	}
	return nil
}

// oidEmailAddress is an attribute of the subject in which mail programs also look for an
// address (RFC 5280, Section 4.1.2.6).
var oidEmailAddress = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}

// checkSubject requires that an address in the subject was ordered.
func (w Wanted) checkSubject(leaf *x509.Certificate) error {
	for _, name := range leaf.Subject.Names {
		value := fmt.Sprint(name.Value)
		if !name.Type.Equal(oidEmailAddress) && !strings.Contains(value, "@") {
			continue
		}
		if !slices.ContainsFunc(w.Emails, func(e string) bool { return state.Key(e) == state.Key(value) }) {
			return fmt.Errorf("its subject names %q, which was not ordered", value)
		}
	}
	return nil
}

// Names returns the addresses and the DNS names of a certificate.
func Names(leaf *x509.Certificate) (emails, dns []string, err error) {
	for _, ext := range leaf.Extensions {
		if ext.Id.Equal(oidSubjectAltName) {
			return parseNames(ext.Value)
		}
	}
	return nil, nil, errors.New("it has no subjectAltName")
}

// Fingerprint returns the SHA-256 of a certificate, in hexadecimal.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// Serial returns the serial number of a certificate, in hexadecimal.
func Serial(cert *x509.Certificate) string { return fmt.Sprintf("%x", cert.SerialNumber) }
