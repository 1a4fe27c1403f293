package issuer

import (
	"net/mail"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"postseal/internal/printable"
	"postseal/state"
)

const addressHint = "write one plain address such as alice@example.org"

// ParseAddress reads a mail address as a user types it and returns it in the
// form in which it is ordered: the local part as it is, the domain in A-labels
// (RFC 9598, Section 3, wants them in certificates).
func ParseAddress(s string) (string, error) {
	bad := func(why string) (string, error) {
		return "", usageError(addressHint, "%q is no mail address: %s", s, why)
	}
	if strings.ContainsRune(s, '*') {
		// RFC 8823, Section 3: the identifier must not have a wildcard.
		return bad("a certificate for mail cannot have a wildcard")
	}
	parsed, err := mail.ParseAddress(s)
	if err != nil {
		return bad("it must be LOCAL@DOMAIN")
	}
	if parsed.Name != "" || parsed.Address != s {
		return bad("a name, a comment or quotes stand beside it")
	}
	at := strings.LastIndexByte(s, '@')
	local, domain := s[:at], s[at+1:]
	switch {
	case len(local) > 64:
		return bad("its local part is longer than 64 bytes") // RFC 5321, Section 4.5.3.1.1
	case !utf8.ValidString(s) || strings.ContainsFunc(s, isControl):
		return bad("it has characters that no address has")
	case strings.HasPrefix(domain, "["):
		return bad("an IP address is no mail domain here")
	}
	ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(domain, "."))
	longLabel := func(label string) bool { return len(label) > 63 }
	if err != nil || ascii == "" || len(ascii) > 253 || slices.ContainsFunc(strings.Split(ascii, "."), longLabel) {
		return bad("its domain is none")
	}
	return local + "@" + strings.ToLower(ascii), nil
}

func isControl(r rune) bool { return r == ' ' || !printable.Is(r) }

// isPlain reports whether the text of a CA is one plain address and nothing else: no name,
// no list, no line that would begin a header field of its own.
func isPlain(s string) bool {
	_, err := ParseAddress(s)
	return err == nil && len(s) <= 320
}

// ParseAddresses reads several addresses and refuses one that stands twice.
func ParseAddresses(list []string) ([]string, error) {
	var addrs []string
	for _, s := range list {
		addr, err := ParseAddress(s)
		if err != nil {
			return nil, err
		}
		same := func(other string) bool { return state.Key(other) == state.Key(addr) }
		if slices.ContainsFunc(addrs, same) {
			return nil, usageError("give it once", "%q is given twice", s)
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

// sameAddresses tells whether two lists name the same mailboxes, in any order.
func sameAddresses(a, b []string) bool {
	return slices.Equal(sortedKeys(a), sortedKeys(b))
}

func sortedKeys(addrs []string) []string {
	keys := make([]string, len(addrs))
	for i, a := range addrs {
		keys[i] = state.Key(a)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}
