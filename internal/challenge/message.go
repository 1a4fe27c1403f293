package challenge

import (
	"bufio"
	"bytes"
	"errors"
	"strings"

	"github.com/emersion/go-message/textproto"
)

// Bounds of a message. A challenge is a few kilobytes; a larger message is an attempt to make
// us work.
const (
	MaxHeader  = 64 << 10 // bytes of the header block
	MaxFields  = 200      // header fields
	MaxMessage = 1 << 20  // bytes of header and body
)

// Message is a message as a mail server hands it over, without its envelope: see rule 4.
type Message struct {
	Raw       []byte // header and body; LF line ends become CRLF
	Truncated bool   // the message was larger, and Raw is only its first MaxMessage bytes
}

// field is one header field.
type field struct {
	name  string // lower case
	value string // unfolded, without surrounding white space
	raw   string // as it arrived, with the final CRLF
}

// message is a parsed message. Nothing in it is trusted.
type message struct {
	fields []field
	stray  string // a line of the header that is not a field
	header []byte // with the empty line
	body   []byte
	size   int
	cut    bool
}

var errHeader = errors.New("the header block is too large")

// parse parses a message. It fails if the header block exceeds the bounds.
func parse(m Message) (*message, error) {
	header, body, ok := split(m.Raw)
	if !ok {
		return nil, errHeader
	}
	header = withCRLF(header)
	if len(header) > MaxHeader {
		return nil, errHeader
	}
	plain, stray := plainFields(header)
	h, err := textproto.ReadHeader(bufio.NewReader(bytes.NewReader(plain)))
	if err != nil || h.Len() > MaxFields {
		return nil, errHeader
	}
	p := &message{header: header, stray: stray, size: len(m.Raw), cut: m.Truncated}
	for fields := h.Fields(); fields.Next(); {
		raw, err := fields.Raw()
		if err != nil {
			return nil, errHeader
		}
		p.fields = append(p.fields, field{strings.ToLower(fields.Key()), strings.TrimSpace(fields.Value()), string(raw)})
	}
	if !p.tooLarge() {
		p.body = withCRLF(body)
	}
	return p, nil
}

func (m *message) tooLarge() bool { return m.cut || m.size > MaxMessage }

// split finds the empty line that ends the header block. A message without one is all header.
func split(raw []byte) (header, body []byte, ok bool) {
	end := 0
	for end < len(raw) {
		if end > MaxHeader {
			return nil, nil, false
		}
		line, more := cutLine(raw[end:])
		end += len(line)
		if !more || isEmptyLine(line) {
			break
		}
	}
	return raw[:end], raw[end:], true
}

// cutLine returns the first line with its end, and reports whether it has one.
func cutLine(b []byte) (line []byte, more bool) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return b[:i+1], true
	}
	return b, false
}

// plainFields returns a header without the lines that are not fields, and the first of those
// lines with its continuation. White space before the colon is obsolete syntax (RFC 5322,
// Section 4.5) that mail servers remove, so such a line is a field. Any other line is the end
// of the header to some readers, an unknown field to others, and perhaps a From to a DKIM
// library.
func plainFields(header []byte) (plain []byte, stray string) {
	var out []byte // nil while all lines are fields
	field := false // the previous line is a field or belongs to one
	for at := 0; at < len(header); {
		line, _ := cutLine(header[at:])
		if line[0] != ' ' && line[0] != '\t' {
			field = isEmptyLine(line) || isField(line)
		}
		switch {
		case !field && stray == "":
			stray, out = string(line), append([]byte{}, header[:at]...)
		case field && out != nil:
			out = append(out, line...)
		}
		at += len(line)
	}
	if out == nil {
		return header, ""
	}
	return out, stray
}

func isEmptyLine(line []byte) bool { return string(line) == "\n" || string(line) == "\r\n" }

// isField reports whether a line starts with the name and colon of a field (RFC 5322,
// Sections 2.2 and 4.5).
func isField(line []byte) bool {
	name, _, ok := bytes.Cut(line, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	return ok && len(name) > 0 && bytes.IndexFunc(name, func(r rune) bool { return r < '!' || r > '~' }) < 0
}

// withCRLF gives every line the end that DKIM signs. It returns b itself if no line needs a
// change.
func withCRLF(b []byte) []byte {
	bare := bytes.Count(b, []byte("\n")) - bytes.Count(b, []byte("\r\n"))
	if bare == 0 {
		return b
	}
	out := make([]byte, 0, len(b)+bare)
	for i, c := range b {
		if c == '\n' && (i == 0 || b[i-1] != '\r') {
			out = append(out, '\r')
		}
		out = append(out, c)
	}
	return out
}

// values returns the values of all fields with a name, which must be in lower case.
func (m *message) values(name string) []string {
	var all []string
	for _, f := range m.fields {
		if f.name == name {
			all = append(all, f.value)
		}
	}
	return all
}

// value returns the value of the only field with a name, or "". checkFields has made sure
// that singular fields are single.
func (m *message) value(name string) string {
	if all := m.values(name); len(all) > 0 {
		return all[0]
	}
	return ""
}

func (m *message) has(name string) bool { return len(m.values(name)) > 0 }

// singular are the fields that may occur only once in a header (RFC 5322, Section 3.6, RFC
// 2045, RFC 3834). DKIM takes the bottom one of several and people read the top one, so a
// second one can change the meaning of a signed message.
var singular = []string{
	"from", "sender", "reply-to", "to", "cc", "bcc", "subject", "date", "message-id",
	"in-reply-to", "references", "auto-submitted", "mime-version", "content-type", "content-transfer-encoding",
}

// checkFields enforces rule 3 of the package.
func (m *message) checkFields() error {
	if m.stray != "" {
		return refuse("the header has a line that is not a field: %q", printable(strings.TrimSuffix(strings.TrimSuffix(m.stray, "\n"), "\r")))
	}
	for _, name := range singular {
		if n := len(m.values(name)); n > 1 {
			return refuse("the header has %d %s fields", n, title(name))
		}
	}
	for _, name := range []string{"from", "to", "subject"} {
		if !m.has(name) {
			return refuse("the header has no %s", title(name))
		}
	}
	return nil
}

// title writes a lower-case field name in its usual form.
func title(name string) string {
	parts := strings.Split(name, "-")
	for i, p := range parts {
		if p != "" {
			parts[i] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	if name == "message-id" {
		return "Message-ID"
	}
	return strings.Join(parts, "-")
}
