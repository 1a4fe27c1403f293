package challenge

import (
	"io"
	"mime"
	"net/mail"
	"strings"
	"unicode"

	"postseal/state"
)

// maxMailboxes bounds how many addresses of a To are looked up. A To with more than one is
// refused anyway, and the log should say so.
const maxMailboxes = 10

// addressParser reads addresses. It leaves display names in charsets that Go does not know
// undecoded, since nobody here reads them.
var addressParser = mail.AddressParser{WordDecoder: &mime.WordDecoder{
	CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil },
}}

// mailboxes returns the addresses in a From, To or Reply-To, without names.
func mailboxes(value string) ([]string, error) {
	list, err := addressParser.ParseList(withoutName(value))
	if err != nil {
		return nil, err
	}
	var all []string
	for _, a := range list {
		all = append(all, a.Address)
	}
	return all, nil
}

// withoutName removes a display name that has an at sign without the quotes it needs, as in
// "ca@ca.example <ca@ca.example>": common, and invalid under RFC 5322, Section 3.2.5. It does
// so only if there is a single reading: words, then one address in brackets, and nothing that
// could be a quote, a comment, a list or a group.
func withoutName(value string) string {
	name, addr, ok := strings.Cut(value, "<")
	if !ok || !strings.Contains(name, "@") || strings.ContainsAny(name, `"(),:;<>[]\`) ||
		strings.IndexFunc(name, unicode.IsControl) >= 0 || strings.Index(addr, ">") != len(addr)-1 || strings.ContainsAny(addr, `<"(`) {
		return value
	}
	return "<" + addr
}

// oneMailbox returns the address in a field that must hold exactly one.
func oneMailbox(name, value string) (string, error) {
	all, err := mailboxes(value)
	switch {
	case value == "":
		return "", refuse("%s is empty", name)
	case err != nil:
		return "", refuse("%s is not an address: %s", name, printable(value))
	case len(all) != 1:
		return "", refuse("%s names %d mailboxes", name, len(all))
	case isGroup(value):
		return "", refuse("%s is a group", name)
	case !legalAddress(all[0]):
		return "", refuse("%s is not an address that can be mailed to: %s", name, printable(all[0]))
	}
	return all[0], nil
}

// legalAddress reports whether an address can go unchanged into an SMTP command and a header
// field. A quoted local part can hold anything, so it cannot.
func legalAddress(addr string) bool {
	at := strings.LastIndexByte(addr, '@')
	if at <= 0 || at == len(addr)-1 || len(addr) > 320 {
		return false
	}
	return strings.IndexFunc(addr, func(r rune) bool {
		return r == 0xfffd || unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(`<>()[]\,;:"`, r)
	}) < 0 && strings.Count(addr, "@") == 1
}

// isGroup reports whether a value has the colon of RFC 5322's group syntax.
func isGroup(value string) bool {
	value, ok := plain(value)
	return !ok || strings.Contains(value, ":")
}

// plain returns the value of a structured field without quotes and with a space for each
// comment (RFC 5322, Section 3.2.2). It masks syntax characters inside quotes, so that
// strangers cannot mislead a reader that knows neither quotes nor comments. It is not ok if a
// quote or comment does not end.
func plain(value string) (out string, ok bool) {
	var b strings.Builder
	quoted, depth := false, 0
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case c == '\\' && (quoted || depth > 0):
			i++
		case c == '"' && depth == 0:
			quoted = !quoted
		case quoted && strings.IndexByte(" \t;:=,()<>", c) >= 0:
			b.WriteByte('_')
		case c == '(' && !quoted:
			b.WriteByte(' ')
			depth++
		case c == ')' && depth > 0:
			depth--
		case depth == 0:
			b.WriteByte(c)
		}
	}
	return b.String(), !quoted && depth == 0
}

// domainOf returns the domain of an address in the form for comparison.
func domainOf(addr string) string {
	return state.Domain(addr[strings.LastIndexByte(addr, '@')+1:])
}

// within reports whether domain is parent or one of its sub-domains.
func within(domain, parent string) bool {
	return domain == parent || strings.HasSuffix(domain, "."+parent)
}

// sameAddress compares two addresses, ignoring case.
func sameAddress(a, b string) bool { return state.Key(a) == state.Key(b) }
