package testca

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// checkAddress accepts an addr-spec as RFC 5321 and RFC 6531 write it in an
// envelope: no comments, no display name, no quoting.
func checkAddress(s string) error {
	local, domain, ok := splitAddress(s)
	switch {
	case !utf8.ValidString(s):
		return errors.New("it is not UTF-8")
	case !ok || local == "" || domain == "":
		return errors.New("it has no local part or no domain")
	case len(local) > 64 || len(s) > 254:
		return errors.New("it is too long (RFC 5321, Section 4.5.3.1)")
	case strings.ContainsAny(s, " \t\r\n<>()[]\\,;:\""):
		return errors.New("it has characters that need quoting")
	case !strings.Contains(domain, "."):
		return errors.New("its domain has one label only")
	}
	if _, err := mail.ParseAddress(s); err != nil {
		return err
	}
	if _, err := idna.Lookup.ToASCII(domain); err != nil {
		return fmt.Errorf("its domain is not a domain name: %w", err)
	}
	return nil
}

func splitAddress(s string) (local, domain string, ok bool) {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// asciiDomain is a domain in A-labels and lower case, without a last dot. It
// goes label by label, for names in DNS have labels IDNA does not allow, such
// as _domainkey.
func asciiDomain(domain string) string {
	labels := strings.Split(strings.TrimSuffix(domain, "."), ".")
	for i, label := range labels {
		a, err := idna.Lookup.ToASCII(label)
		if err != nil || isASCII(label) {
			a = strings.ToLower(label)
		}
		labels[i] = a
	}
	return strings.Join(labels, ".")
}

// certificateName is how an address is written in a certificate: with
// A-labels (RFC 9598, Section 3). Two addresses with the same one are the
// same mailbox, as far as one may say that without asking its host.
func certificateName(addr string) string {
	local, domain, _ := splitAddress(addr)
	return local + "@" + asciiDomain(domain)
}

// needsSMTPUTF8 reports whether SMTP must be asked for RFC 6531.
func needsSMTPUTF8(addrs ...string) bool {
	for _, s := range addrs {
		if !isASCII(s) {
			return true
		}
	}
	return false
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// randomAlnum returns n characters that survive mail systems that change case.
func randomAlnum(n int) string { return rand.Text()[:n] }
