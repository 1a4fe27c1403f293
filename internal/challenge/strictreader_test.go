package challenge

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"postseal/state"
)

// reading is the content of a reply as a CA reads it.
type reading struct{ from, to, subject, token, inReplyTo, digest string }

// replyNames are the fields of a reply, in order, and no others.
var replyNames = []string{
	"From", "To", "Subject", "Date", "Message-ID", "In-Reply-To",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding",
}

var (
	replySubject = regexp.MustCompile(`^Re: ACME: ([A-Za-z0-9_-]+={0,2})$`)
	replyDigest  = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	replyMsgID   = regexp.MustCompile(`^<[^<>@\s]+@[^<>@\s]+>$`)
)

// readReply reads a reply by RFC 8823, Section 3.2 alone, and refuses whatever a picky CA
// might: it expects one part, no folding, and nothing beside the block.
func readReply(raw string) (r reading, err error) {
	if strings.Contains(strings.ReplaceAll(raw, "\r\n", ""), "\n") || strings.Contains(strings.ReplaceAll(raw, "\r\n", ""), "\r") {
		return r, errors.New("a bare CR or LF")
	}
	header, body, ok := strings.Cut(raw, "\r\n\r\n")
	if !ok {
		return r, errors.New("no body")
	}
	fields, err := readReplyHeader(header)
	if err != nil {
		return r, err
	}
	r.from, r.to, r.subject, r.inReplyTo = fields["From"], fields["To"], fields["Subject"], fields["In-Reply-To"]
	m := replySubject.FindStringSubmatch(r.subject)
	if m == nil {
		return r, fmt.Errorf("Subject %q", r.subject)
	}
	r.token = m[1]
	lines := strings.Split(body, "\r\n")
	if len(lines) != 4 || lines[0] != "-----BEGIN ACME RESPONSE-----" || lines[2] != "-----END ACME RESPONSE-----" || lines[3] != "" {
		return r, fmt.Errorf("body %q", body)
	}
	if r.digest = lines[1]; !replyDigest.MatchString(r.digest) {
		return r, fmt.Errorf("digest %q", r.digest)
	}
	return r, nil
}

// readReplyHeader returns the fields, each of which must occur once and in its place.
// In-Reply-To and a signature on top are optional.
func readReplyHeader(header string) (map[string]string, error) {
	fields := map[string]string{}
	var order []string
	for _, line := range strings.Split(header, "\r\n") {
		name, value, ok := strings.Cut(line, ": ")
		if _, twice := fields[name]; !ok || twice || value == "" || value != strings.TrimSpace(value) {
			return nil, fmt.Errorf("header line %q", line)
		}
		fields[name] = value
		order = append(order, name)
	}
	want := strings.Join(replyNames, " ")
	if _, ok := fields["In-Reply-To"]; !ok {
		want = strings.Replace(want, "In-Reply-To ", "", 1)
	}
	if got := strings.Join(order, " "); got != want {
		return nil, fmt.Errorf("header is %q, want %q", got, want)
	}
	for _, name := range []string{"From", "To"} {
		if strings.ContainsAny(fields[name], " <>(),;:\"\\") || strings.Count(fields[name], "@") != 1 {
			return nil, fmt.Errorf("%s %q is not a plain address", name, fields[name])
		}
	}
	if !replyMsgID.MatchString(fields["Message-ID"]) {
		return nil, fmt.Errorf("Message-ID %q", fields["Message-ID"])
	}
	for name, want := range map[string]string{
		"MIME-Version": "1.0", "Content-Type": "text/plain; charset=us-ascii", "Content-Transfer-Encoding": "7bit",
	} {
		if fields[name] != want {
			return nil, fmt.Errorf("%s is %q", name, fields[name])
		}
	}
	return fields, nil
}

// expectedDigest implements RFC 8823, Section 3 and RFC 8555, Section 8.1 a second time, from
// their text.
func expectedDigest(token1 string, p *state.Pending) string {
	token := token1 + p.Token
	if p.Join == "bytes" {
		bits := ""
		for _, part := range []string{token1, p.Token} {
			part = strings.TrimRight(part, "=")
			var all string
			for _, c := range part {
				all += fmt.Sprintf("%06b", strings.IndexRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", c))
			}
			bits += all[:len(all)/8*8]
		}
		var joined []byte
		for ; bits != ""; bits = bits[8:] {
			var b byte
			fmt.Sscanf(bits[:8], "%b", &b)
			joined = append(joined, b)
		}
		token = strings.TrimRight(base64.URLEncoding.EncodeToString(joined), "=")
	}
	sum := sha256.Sum256([]byte(token + "." + p.Thumbprint))
	return strings.TrimRight(base64.URLEncoding.EncodeToString(sum[:]), "=")
}

// The vectors of the RFC's community: both ways of joining.
func TestExpectedDigest(t *testing.T) {
	p := pending()
	for join, want := range map[string]string{
		"string": "gtzugYfQ1gO_Pi-ripWZTUtKP_xzPoQe-brDkSOvX5c",
		"bytes":  "Fjt2SD7KoqSt3I6jwgg8ljjkP9Er7h1w0wF0UihvQIU",
	} {
		p.Join = join
		if got := expectedDigest(part1, p); got != want {
			t.Errorf("%s: %s, want %s", join, got, want)
		}
		if got, err := p.Digest(part1); err != nil || got != want {
			t.Errorf("Digest, %s: %s, %v, want %s", join, got, err, want)
		}
	}
}
