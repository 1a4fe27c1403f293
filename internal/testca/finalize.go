package testca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// leafRequest is a CSR that passed all checks.
type leafRequest struct {
	csr   *x509.CertificateRequest
	usage x509.KeyUsage
}

// The bits RFC 8823, Section 3.3, tells certificates for signing from those
// for encryption by.
const (
	signingUsages    = x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment
	encryptionUsages = x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement
)

// finalize is RFC 8555, Section 7.4, and RFC 8823, Section 3, item 8.
func (ca *CA) finalize(r *request) (*answer, error) {
	var req struct {
		CSR string `json:"csr"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	o, err := ca.readyOrder(r)
	if err != nil {
		return nil, err
	}
	leaf, err := ca.checkCSR(req.CSR, o.identifiers, r.key)
	if err != nil {
		return nil, problemf(http.StatusBadRequest, "badCSR", "%v", err)
	}
	cert, err := ca.issueLeaf(o, leaf)
	if err != nil {
		return nil, err
	}
	return ca.finish(o, cert)
}

// readyOrder finds the order, which must be ready and must not meet one of
// the failures configured.
func (ca *CA) readyOrder(r *request) (*order, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	o, err := ca.ownOrder(r)
	if err != nil {
		return nil, err
	}
	if s := o.status(); s != statusReady {
		return nil, problemf(http.StatusForbidden, "orderNotReady", "the order is %s, not ready", s)
	}
	if ca.finalizeErrors > 0 {
		ca.finalizeErrors--
		return nil, problemf(http.StatusInternalServerError, "serverInternal", "the signer is busy; try again")
	}
	if ca.cfg.FinalizeFatal {
		o.finished = statusInvalid
		o.problem = problemf(http.StatusInternalServerError, "serverInternal", "this certificate cannot be made")
		return nil, o.problem
	}
	if ca.cfg.FinalizeStuck {
		o.finished, o.done = statusProcessing, expiry(100*365*24*time.Hour)
		return nil, problemf(http.StatusBadRequest, "badCSR", "the CSR's subject is not to our liking")
	}
	return o, nil
}

// finish gives the order its certificate, unless another request did.
func (ca *CA) finish(o *order, cert *issued) (*answer, error) {
	ca.mu.Lock()
	if s := o.status(); s != statusReady {
		ca.mu.Unlock()
		return nil, problemf(http.StatusForbidden, "orderNotReady", "the order is %s, not ready", s)
	}
	o.cert, o.finished = cert, statusValid
	if ca.cfg.Processing > 0 {
		o.finished, o.done = statusProcessing, time.Now().Add(ca.cfg.Processing)
	}
	ca.certs[cert.id] = cert
	ca.byARI[cert.ariID] = cert
	res := ca.orderAnswer(o)
	ca.mu.Unlock()
	ca.journal.emit(Event{
		Kind: EventIssued, URL: ca.url(kindCertificate, cert.id),
		Identifiers: values(cert.identifiers), Serial: serialOf(cert.cert),
	})
	return res, nil
}

func serialOf(c *x509.Certificate) string { return fmt.Sprintf("%x", c.SerialNumber) }

// checkCSR reads a CSR and checks all of it.
func (ca *CA) checkCSR(b64 string, want []identifier, accountKey *jose.JSONWebKey) (*leafRequest, error) {
	der, err := base64.RawURLEncoding.DecodeString(b64)
	if err != nil {
		return nil, errors.New("the CSR is not base64url without padding")
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("the CSR cannot be parsed: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the CSR's signature does not verify: %w", err)
	}
	// RFC 8555, Section 11.1.
	if sameKey(accountKey, &jose.JSONWebKey{Key: csr.PublicKey}) {
		return nil, errors.New("the key to certify is the account key")
	}
	if err := checkLeafKey(csr.PublicKey); err != nil {
		return nil, err
	}
	if err := checkExtensions(csr); err != nil {
		return nil, err
	}
	if err := ca.checkNames(csr, want); err != nil {
		return nil, err
	}
	usage, err := requestedUsage(csr)
	return &leafRequest{csr, usage}, err
}

// checkLeafKey is Section 6.1.5 of the CA/B Forum S/MIME Baseline
// Requirements.
func checkLeafKey(pub any) error {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < 2048 || n%8 != 0 || n > 8192 {
			return fmt.Errorf("an RSA key has 2048 to 8192 bits, a multiple of 8, not %d", n)
		}
		return nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() {
			return nil
		}
	}
	return errors.New("a key is RSA, or ECDSA on P-256 or P-384")
}

// checkExtensions lets only those through that RFC 8823 gives a meaning. None
// occurs twice: x509 sees to that.
func checkExtensions(csr *x509.CertificateRequest) error {
	for _, e := range csr.Extensions {
		if !e.Id.Equal(oidSubjectAltName) && !e.Id.Equal(oidKeyUsage) {
			return fmt.Errorf("the extension %s is not supported; only subjectAltName and keyUsage are", e.Id)
		}
	}
	return nil
}

// checkNames holds subjectAltName against the order: exactly its identifiers
// (RFC 8823, Section 3, item 8). A CA built for certbot knows names of type
// dNSName only, so that it wants each address as one of those as well.
func (ca *CA) checkNames(csr *x509.CertificateRequest, want []identifier) error {
	mail, dns, err := requestedNames(csr)
	if err != nil {
		return err
	}
	var wantMail, wantDNS []string
	for _, id := range want {
		wantMail = append(wantMail, certificateName(id.Value))
		if ca.cfg.Certbot {
			wantDNS = append(wantDNS, id.Value)
		}
	}
	if !sameSet(mail, wantMail) {
		return fmt.Errorf("the CSR names %q as mail addresses, the order has %q", mail, wantMail)
	}
	if !sameSet(dns, wantDNS) {
		return fmt.Errorf("the CSR has the dNSNames %q, not %q", dns, wantDNS)
	}
	if cn := csr.Subject.CommonName; cn != "" && !slices.Contains(values(want), cn) {
		return fmt.Errorf("the CSR's common name %q is not an identifier of the order", cn)
	}
	return nil
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// requestedNames takes subjectAltName apart. x509 would do, if it knew
// SmtpUTF8Mailbox and said what else was there.
func requestedNames(csr *x509.CertificateRequest) (mail, dns []string, err error) {
	for _, e := range csr.Extensions {
		if !e.Id.Equal(oidSubjectAltName) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(e.Value, &names); err != nil || len(rest) > 0 {
			return nil, nil, errors.New("the subjectAltName cannot be parsed")
		}
		for _, n := range names {
			switch {
			case n.Class == asn1.ClassContextSpecific && n.Tag == tagDNSName:
				dns = append(dns, string(n.Bytes))
			case n.Class == asn1.ClassContextSpecific && n.Tag == tagRFC822Name:
				if !isASCII(string(n.Bytes)) {
					return nil, nil, errors.New("an rfc822Name is ASCII; use SmtpUTF8Mailbox (RFC 9598)")
				}
				local, domain, _ := splitAddress(string(n.Bytes))
				mail = append(mail, local+"@"+asciiDomain(domain))
			default:
				name, err := smtpUTF8Mailbox(n)
				if err != nil {
					return nil, nil, err
				}
				mail = append(mail, name)
			}
		}
	}
	return mail, dns, nil
}

// smtpUTF8Mailbox reads the otherName of RFC 9598, Section 3, which must have
// a local part that is not ASCII and a domain in A-labels.
func smtpUTF8Mailbox(n asn1.RawValue) (string, error) {
	var o otherName
	if n.Class != asn1.ClassContextSpecific || n.Tag != tagOtherName {
		return "", fmt.Errorf("the subjectAltName has a name of kind [%d], not rfc822Name", n.Tag)
	}
	if _, err := asn1.UnmarshalWithParams(n.FullBytes, &o, "tag:0"); err != nil || !o.ID.Equal(oidSmtpUTF8Mailbox) {
		return "", errors.New("the subjectAltName has an otherName that is not an SmtpUTF8Mailbox")
	}
	var name string
	if _, err := asn1.UnmarshalWithParams(o.Value.Bytes, &name, "utf8"); err != nil {
		return "", errors.New("the SmtpUTF8Mailbox is not a UTF8String")
	}
	local, domain, ok := splitAddress(name)
	if !ok || isASCII(local) || domain != asciiDomain(domain) {
		return "", fmt.Errorf("the SmtpUTF8Mailbox %q must have a non-ASCII local part and a domain in A-labels", name)
	}
	return name, nil
}

// requestedUsage reads keyUsage; without it a certificate serves signing and
// encryption (RFC 8823, Section 3.3).
func requestedUsage(csr *x509.CertificateRequest) (x509.KeyUsage, error) {
	_, isRSA := csr.PublicKey.(*rsa.PublicKey)
	usage := x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement
	if isRSA {
		usage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	}
	for _, e := range csr.Extensions {
		if e.Id.Equal(oidKeyUsage) {
			var err error
			if usage, err = parseUsage(e.Value); err != nil {
				return 0, err
			}
		}
	}
	switch {
	case usage == 0 || usage&^(signingUsages|encryptionUsages) != 0:
		return 0, errors.New("keyUsage may have digitalSignature, contentCommitment, keyEncipherment and keyAgreement, and must have one of them")
	case isRSA && usage&x509.KeyUsageKeyAgreement != 0:
		return 0, errors.New("an RSA key cannot do keyAgreement; use keyEncipherment")
	case !isRSA && usage&x509.KeyUsageKeyEncipherment != 0:
		return 0, errors.New("an EC key cannot do keyEncipherment; use keyAgreement")
	}
	return usage, nil
}

func parseUsage(der []byte) (usage x509.KeyUsage, err error) {
	var bits asn1.BitString
	if rest, err := asn1.Unmarshal(der, &bits); err != nil || len(rest) > 0 {
		return 0, errors.New("the keyUsage cannot be parsed")
	}
	for i := range 9 {
		if bits.At(i) != 0 {
			usage |= 1 << i
		}
	}
	return usage, nil
}
