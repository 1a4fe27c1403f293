package issuer

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"postseal/state"
)

// clockGrace is how far in our future a certificate may begin: CAs' clocks and
// ours differ.
const clockGrace = 5 * time.Minute

// parseChain reads the PEM text of RFC 8555, Section 7.4.2: the leaf first.
func parseChain(data []byte) ([]*x509.Certificate, error) {
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

func marshalChain(chain []*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, cert := range chain {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}) // a Buffer takes all
	}
	return b.Bytes()
}

// wanted is what a leaf is held against before it replaces anything on disk.
type wanted struct {
	key     crypto.Signer
	emails  []string
	usages  []string
	certbot bool
	now     time.Time
}

// check tells why a certificate is not the one ordered.
func (w wanted) check(leaf *x509.Certificate) error {
	switch {
	case !samePublicKey(leaf.PublicKey, w.key):
		return errors.New("it is for another key")
	case !w.forMail(leaf):
		return errors.New("it is not for mail: extended key usage emailProtection is missing")
	}
	if err := w.checkNames(leaf); err != nil {
		return err
	}
	return w.checkTime(leaf)
}

// wrongClock is the error for a certificate that is the one ordered and not valid now.
// The CA has just issued it, so it is not the certificate that is wrong.
type wrongClock struct{ error }

func (w wanted) checkTime(leaf *x509.Certificate) error {
	switch {
	case w.now.Add(clockGrace).Before(leaf.NotBefore):
		return wrongClock{fmt.Errorf("it begins only at %s", leaf.NotBefore.Local().Format(time.RFC3339))}
	case !w.now.Before(leaf.NotAfter):
		return wrongClock{fmt.Errorf("it expired at %s", leaf.NotAfter.Local().Format(time.RFC3339))}
	}
	return nil
}

// forMail: CAs leave emailProtection out of some signing-only certificates.
func (w wanted) forMail(leaf *x509.Certificate) bool {
	return slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageEmailProtection) ||
		slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) || signingOnly(w.usages)
}

// checkNames: addresses may come back in another case. A certbot CA may keep
// only the dNSName.
func (w wanted) checkNames(leaf *x509.Certificate) error {
	emails, dns, err := leafNames(leaf)
	if err != nil {
		return err
	}
	if w.certbot {
		for _, name := range dns {
			if slices.ContainsFunc(w.emails, func(e string) bool { return state.Key(e) == state.Key(name) }) {
				emails = append(emails, name)
			}
		}
	}
	if !sameAddresses(emails, w.emails) {
		return fmt.Errorf("it names %q, and %q were ordered", emails, w.emails)
	}
	return nil
}

func leafNames(leaf *x509.Certificate) (emails, dns []string, err error) {
	for _, ext := range leaf.Extensions {
		if ext.Id.Equal(oidSubjectAltName) {
			return parseNames(ext.Value)
		}
	}
	return nil, nil, errors.New("it has no subjectAltName")
}

func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

func serialOf(cert *x509.Certificate) string { return fmt.Sprintf("%x", cert.SerialNumber) }
