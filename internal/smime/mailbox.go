package smime

import (
	"crypto/x509"
	encasn1 "encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/net/idna"
)

var (
	oidSubjectAltName  = encasn1.ObjectIdentifier{2, 5, 29, 17}
	oidSmtpUTF8Mailbox = encasn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 9}
)

// mailboxes returns the addresses of a signer. It leaves out a name that is not an address,
// or could pass for another one in a log.
func (s *signer) mailboxes() []string {
	all := slices.Concat(s.cert.EmailAddresses, s.utf8)
	return slices.DeleteFunc(all, func(a string) bool { return !isMailbox(a) })
}

func isMailbox(a string) bool {
	at := strings.LastIndexByte(a, '@')
	return at > 0 && at < len(a)-1 && utf8.ValidString(a) && !strings.ContainsFunc(a, unhandy)
}

func unhandy(r rune) bool { return !unicode.IsPrint(r) }

// readMailboxes reads the names that crypto/x509 does not know.
func (s *signer) readMailboxes() error {
	for _, ext := range s.cert.Extensions {
		if !ext.Id.Equal(oidSubjectAltName) {
			continue
		}
		var ok bool
		if s.utf8, ok = readOtherNames(ext.Value); !ok {
			return errors.New("the signer's certificate has unreadable names")
		}
	}
	if len(s.mailboxes()) == 0 {
		return errors.New("the signer's certificate names no mailbox")
	}
	s.acceptCriticalNames()
	return nil
}

// acceptCriticalNames tells crypto/x509 that we have read the names that it could not: with
// an empty subject they must be critical (RFC 5280, Section 4.2.1.6), and it calls a
// SmtpUTF8Mailbox alone unhandled.
func (s *signer) acceptCriticalNames() {
	s.cert.UnhandledCriticalExtensions = slices.DeleteFunc(s.cert.UnhandledCriticalExtensions,
		func(oid encasn1.ObjectIdentifier) bool { return oid.Equal(oidSubjectAltName) })
}

// readOtherNames returns the SmtpUTF8Mailbox names among GeneralNames.
func readOtherNames(der []byte) (found []string, ok bool) {
	s := cryptobyte.String(der)
	var names cryptobyte.String
	if !s.ReadASN1(&names, asn1.SEQUENCE) || !s.Empty() {
		return nil, false
	}
	for !names.Empty() {
		var name cryptobyte.String
		var tag asn1.Tag
		if !names.ReadAnyASN1(&name, &tag) {
			return nil, false
		}
		if tag != tag0 {
			continue
		}
		mailbox, ok := readOtherName(name)
		if !ok {
			return nil, false
		}
		if mailbox != "" {
			found = append(found, mailbox)
		}
	}
	return found, true
}

// readOtherName reads an otherName (RFC 9598, Section 3). It returns "" for one of another
// type, and for one with an ASCII local part, which must be an rfc822Name.
func readOtherName(s cryptobyte.String) (mailbox string, ok bool) {
	var oid encasn1.ObjectIdentifier
	var wrapped, value cryptobyte.String
	if !s.ReadASN1ObjectIdentifier(&oid) || !s.ReadASN1(&wrapped, tag0) || !s.Empty() {
		return "", false
	}
	if !oid.Equal(oidSmtpUTF8Mailbox) {
		return "", true
	}
	if !wrapped.ReadASN1(&value, asn1.UTF8String) || !wrapped.Empty() {
		return "", false
	}
	mailbox = string(value)
	local := mailbox[:max(0, strings.LastIndexByte(mailbox, '@'))]
	if !strings.ContainsFunc(local, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return "", true
	}
	return mailbox, true
}

// checkConstraints applies the rfc822Name constraints of a CA to the names that crypto/x509
// did not see: the limit of a CA to one domain also holds for non-ASCII local parts (RFC
// 9598, Section 6).
func (s *signer) checkConstraints(ca *x509.Certificate) error {
	for _, mailbox := range s.utf8 {
		domain, err := idna.Lookup.ToASCII(mailbox[strings.LastIndexByte(mailbox, '@')+1:])
		if err != nil {
			return fmt.Errorf("the signer's mailbox %q has no domain", mailbox)
		}
		within := func(constraint string) bool { return inConstraint(domain, constraint) }
		if len(ca.PermittedEmailAddresses) > 0 && !slices.ContainsFunc(ca.PermittedEmailAddresses, within) ||
			slices.ContainsFunc(ca.ExcludedEmailAddresses, within) {
			return fmt.Errorf("certificate %q may not vouch for mailbox %q", ca.Subject.CommonName, mailbox)
		}
	}
	return nil
}

// inConstraint compares as RFC 5280, Section 4.2.1.10 does: a host, or a domain with a
// leading dot. A constraint for one mailbox has an ASCII local part, so it never concerns one
// of ours.
func inConstraint(domain, constraint string) bool {
	constraint = strings.ToLower(constraint)
	if strings.HasPrefix(constraint, ".") {
		return strings.HasSuffix(domain, constraint)
	}
	return domain == constraint
}
