package challenge

import (
	"cmp"
	"encoding/base64"
	"io"
	"mime"
	"regexp"
	"strings"
	"sync"

	filter "postseal/internal/printable"
)

// label starts the Subject of a challenge (RFC 8823, Section 3.1, item 1).
const label = "ACME:"

// Bounds of token-part1, in characters of base64url. 128 bits take 22 (RFC 8823,
// Section 3, item 4); the upper bound is ours.
const (
	minToken = 22
	maxToken = 256
)

// maxSubject bounds how much of a Subject is decoded. A token of maxToken characters takes
// less than half of it in any encoding.
const maxSubject = 4 << 10

// IsChallenge reports whether a raw Subject, folded and encoded as it arrived, is a
// challenge's. It does not say whether the challenge is genuine.
func IsChallenge(subject string) bool {
	return strings.HasPrefix(legible(subject[:min(len(subject), maxSubject)]), label)
}

// legible decodes a Subject and removes leading white space.
func legible(subject string) string {
	subject = strings.TrimLeft(subject, " \t\r\n")
	if strings.Contains(subject, "=?") {
		subject = strings.TrimLeft(decodeWords(subject), " \t")
	}
	return subject
}

// encodedWord is the start of RFC 2047's form, with the language that RFC 2231, Section 5
// adds. It finds all that Go decodes, even if a space makes it invalid.
//
// It is compiled at the first encoded Subject: postseal-pipe starts for each ordinary
// message.
var encodedWord = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`=\?([^?*]*)(\*[^?]*)?\?([bBqQ])\?`)
})

// decodeWords decodes encoded words, and keeps those of a charset that Go does not know as
// they are. A later check decides whether they are legal; this only looks for a challenge's
// Subject.
func decodeWords(s string) string {
	s = encodedWord().ReplaceAllString(s, "=?$1?$3?")
	dec := mime.WordDecoder{CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil }}
	if decoded, err := dec.DecodeHeader(s); err == nil {
		return decoded
	}
	return s
}

// tokenPart1 reads token-part1 from an unfolded Subject (RFC 8823, Section 3.1, item 1). It
// drops white space from folding and keeps padding, which CAs that join the parts as strings
// count.
func tokenPart1(subject string) (string, error) {
	if strings.Contains(subject, "=?") {
		if len(subject) > maxSubject {
			return "", refuse("the encoded Subject is longer than %d bytes", maxSubject)
		}
		for _, word := range encodedWord().FindAllStringSubmatch(subject, -1) {
			if c := strings.ToLower(word[1]); c != "utf-8" && c != "us-ascii" {
				return "", refuse("the Subject is encoded in %s, and only UTF-8 and US-ASCII are allowed", cmp.Or(printable(word[1]), "no charset"))
			}
		}
	}
	token, ok := strings.CutPrefix(legible(subject), label)
	if !ok {
		return "", refuse("the Subject is not that of a challenge")
	}
	return checkToken(strings.Join(strings.FieldsFunc(token, isFold), ""))
}

// isFold reports whether a character can remain from folding. Other white space of Unicode is
// foreign to a token.
func isFold(r rune) bool { return r == ' ' || r == '\t' }

// foreign reports whether a character is not base64url.
func foreign(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

func checkToken(token string) (string, error) {
	digits := strings.TrimSuffix(strings.TrimSuffix(token, "="), "=")
	switch {
	case len(token) > maxToken:
		return "", refuse("token-part1 is longer than %d characters", maxToken)
	case token == "":
		return "", refuse("the Subject holds no token-part1")
	case strings.IndexFunc(digits, foreign) >= 0:
		return "", refuse("token-part1 has characters that are not base64url")
	case len(digits) < minToken:
		return "", refuse("token-part1 has less than 128 bits")
	}
	if _, err := base64.RawURLEncoding.DecodeString(digits); err != nil {
		return "", refuse("token-part1 is not base64url")
	}
	return token, nil
}

// maxShown bounds how much of a foreign text a reason shows, in bytes.
const maxShown = 200

// printable makes foreign bytes printable in a log line.
func printable(s string) string { return filter.Line(s, maxShown) }
