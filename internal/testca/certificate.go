package testca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// authority is a CA certificate and its key.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

const infrastructureLife = 10 * 365 * 24 * time.Hour

// newAuthority makes a root, or an intermediate under parent. P-256 makes
// signing quick.
func newAuthority(name string, parent *authority) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name, Organization: []string{"postseal demo"}},
		NotAfter:              time.Now().Add(infrastructureLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	self := &authority{cert: t, key: key}
	if parent == nil {
		parent = self
	} else {
		t.MaxPathLenZero = true
	}
	self.cert, err = parent.issue(t, key.Public())
	return self, err
}

// issue signs a certificate made from t, with a random serial number (CA/B
// Forum S/MIME Baseline Requirements, Section 7.1: at least 64 random bits).
func (a *authority) issue(t *x509.Certificate, pub crypto.PublicKey) (*x509.Certificate, error) {
	serial := make([]byte, 16)
	rand.Read(serial)
	serial[0] = serial[0]&0x7f | 0x40 // positive, and always 16 bytes long
	t.SerialNumber = new(big.Int).SetBytes(serial)
	if t.NotBefore.IsZero() {
		t.NotBefore = time.Now().Add(-time.Minute)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, pub, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// newTLS makes the certificate of the HTTPS listener.
func (a *authority) newTLS() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	cert, err := a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "postseal demo ACME server"},
		NotAfter:    time.Now().Add(infrastructureLife),
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, key.Public())
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
	}, nil
}

func pemOf(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// issued is a certificate the CA made. Its fields but for the last two never
// change; those are guarded by CA.mu.
type issued struct {
	id          string // of the download
	ariID       string // RFC 9773, Section 4.1
	account     *account
	identifiers []identifier
	cert        *x509.Certificate
	revoked     bool
	recalled    bool
	replacedBy  *order
}

// issueLeaf makes the certificate of an order for a checked CSR.
func (ca *CA) issueLeaf(o *order, req *leafRequest) (*issued, error) {
	now := ca.cfg.Now().Truncate(time.Second)
	t := &x509.Certificate{
		NotBefore: now,
		NotAfter:  now.Add(ca.cfg.Lifetime),
		KeyUsage:  req.usage,
	}
	if !o.notAfter.IsZero() {
		t.NotAfter = o.notAfter
	}
	names := values(o.identifiers)
	// X.520 bounds a CN to 64 characters.
	if !ca.cfg.EmptySubject && len(names[0]) <= 64 {
		t.Subject.CommonName = names[0]
	}
	san, err := ca.subjectAltName(names, t.Subject.CommonName == "")
	if err != nil {
		return nil, err
	}
	t.ExtraExtensions = []pkix.Extension{san}
	t.ExtKeyUsage = ca.extKeyUsage(req.usage)
	cert, err := ca.intermediate.issue(t, req.csr.PublicKey)
	if err != nil {
		return nil, err
	}
	return &issued{
		id: randomID(9), ariID: ariID(cert), account: o.account, identifiers: o.identifiers, cert: cert,
	}, nil
}

func (ca *CA) extKeyUsage(usage x509.KeyUsage) []x509.ExtKeyUsage {
	var all []x509.ExtKeyUsage
	if !ca.cfg.OmitEKU || usage&encryptionUsages != 0 {
		all = append(all, x509.ExtKeyUsageEmailProtection)
	}
	if ca.cfg.ClientAuth {
		all = append(all, x509.ExtKeyUsageClientAuth)
	}
	return all
}

var (
	oidSubjectAltName  = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidKeyUsage        = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidSmtpUTF8Mailbox = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 9}
)

// Tags of GeneralName (RFC 5280, Section 4.2.1.6).
const (
	tagOtherName  = 0
	tagRFC822Name = 1
	tagDNSName    = 2
)

type otherName struct {
	ID    asn1.ObjectIdentifier
	Value asn1.RawValue `asn1:"tag:0,explicit"`
}

// subjectAltName builds the extension that names the addresses. It is
// critical beside an empty subject (RFC 5280, Section 4.1.2.6).
func (ca *CA) subjectAltName(addrs []string, critical bool) (pkix.Extension, error) {
	var names []asn1.RawValue
	for _, addr := range addrs {
		name, err := generalName(addr)
		if err != nil {
			return pkix.Extension{}, err
		}
		names = append(names, name)
	}
	der, err := asn1.Marshal(names)
	return pkix.Extension{Id: oidSubjectAltName, Critical: critical, Value: der}, err
}

// generalName writes an address as rfc822Name, or as SmtpUTF8Mailbox when its
// local part is not ASCII (RFC 9598, Section 3).
func generalName(addr string) (asn1.RawValue, error) {
	name := certificateName(addr)
	if isASCII(name) {
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tagRFC822Name, Bytes: []byte(name)}, nil
	}
	text, err := asn1.MarshalWithParams(name, "utf8")
	if err != nil {
		return asn1.RawValue{}, err
	}
	der, err := asn1.MarshalWithParams(otherName{oidSmtpUTF8Mailbox, asn1.RawValue{FullBytes: explicit0(text)}}, "tag:0")
	return asn1.RawValue{FullBytes: der}, err
}

// explicit0 wraps a value in the explicit tag [0], which encoding/asn1 does
// not do for raw values.
func explicit0(der []byte) []byte {
	out, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: der})
	if err != nil {
		panic(err) // the type always marshals
	}
	return out
}

// certificateResource is the download of RFC 8555, Section 7.4.2: the
// certificate and the intermediate, without the root.
func (ca *CA) certificateResource(r *request) (*answer, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	acct, err := ca.caller(r)
	if err != nil {
		return nil, err
	}
	c := ca.certs[r.PathValue("id")]
	if c == nil {
		return nil, notFound("certificate")
	}
	if c.account != acct {
		return nil, unauthorized("this is another account's certificate")
	}
	return &answer{status: 200, pem: pemOf(c.cert, ca.intermediate.cert)}, nil
}
