package cert

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"postseal/internal/printable"
)

var (
	oidSubjectAltName  = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidKeyUsage        = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidSmtpUTF8Mailbox = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 9} // RFC 9598, Section 3
)

// Tags of GeneralName (RFC 5280, Section 4.2.1.6).
const (
	tagOtherName  = 0
	tagRFC822Name = 1
	tagDNSName    = 2
)

// NewCSR makes the request for a certificate that names exactly these addresses (RFC 8823,
// Section 3, item 8). Its only extensions are subjectAltName and, if usages are given,
// keyUsage: CASTLE refuses others.
func NewCSR(key crypto.Signer, emails, usages []string, certbot bool) ([]byte, error) {
	san, err := marshalNames(emails, certbot)
	if err != nil {
		return nil, err
	}
	template := &x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: oidSubjectAltName, Value: san}}}
	if len(usages) > 0 {
		usage, err := marshalUsage(usageOf(usages))
		if err != nil {
			return nil, err
		}
		template.ExtraExtensions = append(template.ExtraExtensions,
			pkix.Extension{Id: oidKeyUsage, Critical: true, Value: usage})
	}
	return x509.CreateCertificateRequest(rand.Reader, template, key)
}

// marshalNames writes the addresses as GeneralNames; for certbot's CAs it repeats each as
// dNSName, the only kind that they compare.
func marshalNames(emails []string, certbot bool) ([]byte, error) {
	var names []asn1.RawValue
	for _, email := range emails {
		name, err := generalName(email)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	if certbot {
		for _, email := range emails {
			names = append(names, stringName(tagDNSName, email))
		}
	}
	return asn1.Marshal(names)
}

func stringName(tag int, s string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(s)}
}

// otherName is the SEQUENCE behind a GeneralName of that kind.
type otherName struct {
	ID    asn1.ObjectIdentifier
	Value string `asn1:"tag:0,explicit,utf8"`
}

// generalName writes an address as rfc822Name, or as SmtpUTF8Mailbox if its local part is not
// ASCII.
func generalName(email string) (asn1.RawValue, error) {
	if printable.ASCII(email) {
		return stringName(tagRFC822Name, email), nil
	}
	der, err := asn1.MarshalWithParams(otherName{oidSmtpUTF8Mailbox, email}, "tag:0")
	return asn1.RawValue{FullBytes: der}, err
}

// marshalUsage writes the KeyUsage bit string, whose first bit is the highest of its first
// byte. All of ours are in that byte.
func marshalUsage(usage x509.KeyUsage) ([]byte, error) {
	octet := uint8(usage)
	return asn1.Marshal(asn1.BitString{Bytes: []byte{bits.Reverse8(octet)}, BitLength: bits.Len8(octet)})
}

// parseNames reads the addresses and DNS names of a subjectAltName extension. A name of
// another kind is an error, since nobody orders one.
func parseNames(der []byte) (emails, dns []string, err error) {
	var names []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &names); err != nil || len(rest) > 0 {
		return nil, nil, errors.New("its subjectAltName cannot be read")
	}
	for _, n := range names {
		o := otherName{}
		switch {
		case n.Class == asn1.ClassContextSpecific && n.Tag == tagRFC822Name:
			if !printable.ASCII(string(n.Bytes)) {
				return nil, nil, errors.New("an rfc822Name is not ASCII") // RFC 5280, Section 4.2.1.6
			}
			emails = append(emails, string(n.Bytes))
		case n.Class == asn1.ClassContextSpecific && n.Tag == tagDNSName:
			dns = append(dns, strings.ToLower(string(n.Bytes)))
		case isMailbox(n, &o):
			emails = append(emails, o.Value)
		default:
			return nil, nil, fmt.Errorf("its subjectAltName has a name of kind [%d], which is not an address", n.Tag)
		}
	}
	return emails, dns, nil
}

func isMailbox(n asn1.RawValue, o *otherName) bool {
	if n.Class != asn1.ClassContextSpecific || n.Tag != tagOtherName {
		return false
	}
	rest, err := asn1.UnmarshalWithParams(n.FullBytes, o, "tag:0")
	return err == nil && len(rest) == 0 && o.ID.Equal(oidSmtpUTF8Mailbox)
}
