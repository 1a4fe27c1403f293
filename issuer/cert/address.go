package cert

import (
	"fmt"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"postseal/internal/failure"
	"postseal/internal/printable"
	"postseal/state"
)

const addressHint = "write one plain address such as alice@example.org"

// Bounds of an error: how many addresses it names, and how many bytes of one it shows.
const (
	maxBadAddresses = 20
	maxShown        = 200
)

// ParseAddress reads a mail address as a user types or pastes it and returns the form to
// order: without white space or a byte order mark around it, the local part unchanged, the
// domain in A-labels (RFC 9598, Section 3, requires them in certificates). The error has the
// kind Usage.
func ParseAddress(s string) (string, error) {
	addr, why := parseAddress(s)
	if why != "" {
		return "", failure.Usage(addressHint, "%s", badAddress(s, why))
	}
	return addr, nil
}

func badAddress(s, why string) string {
	return fmt.Sprintf("%s is not a mail address: %s", printable.Line(strconv.Quote(s), maxShown), why)
}

// parseAddress returns the address, or why it is invalid.
func parseAddress(s string) (addr, why string) {
	s = strings.TrimFunc(s, func(r rune) bool { return r == byteOrderMark || unicode.IsSpace(r) })
	if strings.ContainsRune(s, '*') {
		// RFC 8823, Section 3: the identifier must not have a wildcard.
		return "", "a certificate for mail cannot have a wildcard"
	}
	if !utf8.ValidString(s) {
		return "", "it is not UTF-8"
	}
	if n := strings.IndexFunc(s, isUnseen); n >= 0 {
		r, _ := utf8.DecodeRuneInString(s[n:])
		return "", fmt.Sprintf("it holds a character that nobody sees, %U", r)
	}
	parsed, err := mail.ParseAddress(s)
	if err != nil {
		return "", "it must be LOCAL@DOMAIN"
	}
	if parsed.Name != "" || parsed.Address != s {
		return "", "a name, a comment or quotes stand beside it"
	}
	at := strings.LastIndexByte(s, '@')
	local, domain := s[:at], s[at+1:]
	switch {
	case len(local) > 64:
		return "", "its local part is longer than 64 bytes" // RFC 5321, Section 4.5.3.1.1
	case strings.HasPrefix(domain, "["):
		return "", "an IP address is not a mail domain here"
	}
	ascii, err := idna.Lookup.ToASCII(domain)
	longLabel := func(label string) bool { return len(label) > 63 }
	if err != nil || ascii == "" || strings.HasSuffix(ascii, ".") || len(ascii) > 253 || slices.ContainsFunc(strings.Split(ascii, "."), longLabel) {
		return "", "its domain is invalid"
	}
	return local + "@" + strings.ToLower(ascii), ""
}

// IsPlain reports whether the text of a CA is one plain address and nothing else: no name, no
// list, no line that would start a header field of its own, nothing to trim.
func IsPlain(s string) bool {
	unseen := func(r rune) bool { return r == ' ' || !printable.Is(r) }
	_, err := ParseAddress(s)
	return err == nil && len(s) <= 320 && strings.IndexFunc(s, unseen) < 0
}

const byteOrderMark = '\ufeff'

// isUnseen reports whether a character may be invisible on a screen. Two addresses that
// differ only in one look the same, and a certificate for the wrong one is useless: so none
// is accepted. Visible are letters, marks, digits, punctuation, symbols and the space, except
// for those drawn as nothing (Unicode's default ignorable code points, and variation
// selectors).
func isUnseen(r rune) bool {
	return !unicode.IsPrint(r) || unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// Typed is an address as typed, and its place, such as "line 3".
type Typed struct{ Text, Where string }

// ParseTyped reads several addresses. An address that occurs twice, even in another case,
// counts once. One error, of the kind Usage, names the places of the first twenty invalid
// ones, so that people can correct the whole list at once.
func ParseTyped(list []Typed) ([]string, error) {
	var addrs, bad []string
	seen := map[string]bool{}
	for _, typed := range list {
		addr, why := parseAddress(typed.Text)
		switch key := state.Key(addr); {
		case why != "" && typed.Where != "":
			bad = append(bad, typed.Where+": "+badAddress(typed.Text, why))
		case why != "":
			bad = append(bad, badAddress(typed.Text, why))
		case !seen[key]:
			seen[key] = true
			addrs = append(addrs, addr)
		}
	}
	if len(bad) == 0 {
		return addrs, nil
	}
	if more := len(bad) - maxBadAddresses; more > 0 {
		bad = append(bad[:maxBadAddresses], fmt.Sprintf("and %d more", more))
	}
	return nil, failure.Usage(addressHint, "%s", strings.Join(bad, "; "))
}

// ParseAddresses is ParseTyped for addresses on a command line, which it counts from 1 if
// there are several.
func ParseAddresses(list []string) ([]string, error) {
	typed := make([]Typed, len(list))
	for n, s := range list {
		typed[n].Text = s
		if len(list) > 1 {
			typed[n].Where = fmt.Sprintf("address %d", n+1)
		}
	}
	return ParseTyped(typed)
}

// SameAddresses reports whether two lists name the same mailboxes, in any order.
func SameAddresses(a, b []string) bool {
	return slices.Equal(AddressKeys(a), AddressKeys(b))
}

// NamesOneOf reports whether addresses include one of those wanted, or none is wanted.
func NamesOneOf(emails, wanted []string) bool {
	return len(wanted) == 0 || slices.ContainsFunc(emails, func(e string) bool {
		return slices.ContainsFunc(wanted, func(w string) bool { return state.Key(w) == state.Key(e) })
	})
}

// AddressKeys returns the keys of the mailboxes, sorted, each once.
func AddressKeys(addrs []string) []string {
	keys := make([]string, len(addrs))
	for i, a := range addrs {
		keys[i] = state.Key(a)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
