package smime

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"strings"
)

const (
	maxHeader = 64 << 10
	maxFields = 200
)

var crlf = []byte("\r\n")

// Field is a header field. Value is the text after the colon, unfolded (RFC 5322, Section
// 2.2.3: the CRLF goes, the white space stays) and otherwise untouched.
type Field struct{ Name, Value string }

// entity is a MIME entity (RFC 2045, Section 2.4): a message or a body part.
type entity struct {
	header []Field
	body   []byte
}

// parseEntity splits an entity into header fields and body. It is stricter than RFC 5322,
// Section 4: if readers disagree about a line, a signature over it is worthless.
func parseEntity(b []byte) (entity, error) {
	var e entity
	total := len(b)
	for len(b) > 0 && !bytes.HasPrefix(b, crlf) {
		raw, rest := cutField(b)
		f, err := parseField(raw)
		if err != nil {
			return e, err
		}
		e.header = append(e.header, f)
		if len(e.header) > maxFields || total-len(rest) > maxHeader {
			return e, errors.New("the header is too long")
		}
		b = rest
	}
	e.body = bytes.TrimPrefix(b, crlf)
	return e, nil
}

// cutField cuts the first field, with its continuation lines, off b.
func cutField(b []byte) (field, rest []byte) {
	for end := 0; ; {
		i := bytes.Index(b[end:], crlf)
		if i < 0 {
			return b, nil
		}
		next := end + i + len(crlf)
		if next == len(b) || (b[next] != ' ' && b[next] != '\t') {
			return b[:end+i], b[next:]
		}
		end = next
	}
}

func parseField(raw []byte) (Field, error) {
	name, value, ok := bytes.Cut(raw, []byte(":"))
	if !ok || len(name) == 0 || bytes.IndexFunc(name, notFieldName) >= 0 {
		return Field{}, fmt.Errorf("a header line is not a field: %q", abbreviate(raw))
	}
	unfolded := strings.ReplaceAll(string(value), "\r\n", "")
	if strings.ContainsAny(unfolded, "\r\n\x00") {
		return Field{}, fmt.Errorf("header field %s holds a bare CR, a bare LF or a NUL", name)
	}
	return Field{string(name), unfolded}, nil
}

// notFieldName reports whether r is invalid in a field name (RFC 5322,
// Section 3.6.8).
func notFieldName(r rune) bool { return r < '!' || r > '~' }

func abbreviate(b []byte) []byte { return b[:min(len(b), 40)] }

// one returns the value of a field that may occur once.
func (e entity) one(name string) (value string, found bool, err error) {
	for _, f := range e.header {
		if !equalFold(f.Name, name) {
			continue
		}
		if found {
			return "", true, fmt.Errorf("%s stands there more than once", name)
		}
		value, found = f.Value, true
	}
	return value, found, nil
}

func (e entity) mediaType() (mediaType, error) {
	v, found, err := e.one("Content-Type")
	if err != nil {
		return mediaType{}, err
	}
	if !found {
		return mediaType{name: "text/plain"}, nil // RFC 2045, Section 5.2
	}
	return parseMediaType(v)
}

// decode undoes the Content-Transfer-Encoding (RFC 2045, Section 6).
func (e entity) decode() ([]byte, error) {
	if identity, err := e.isIdentity(); identity || err != nil {
		return e.body, err
	}
	v, _, _ := e.one(encodingField)
	if !equalFold(strings.TrimSpace(v), "base64") {
		return nil, fmt.Errorf("the S/MIME data has Content-Transfer-Encoding %q", strings.TrimSpace(v))
	}
	return decodeBase64(e.body)
}

const encodingField = "Content-Transfer-Encoding"

// isIdentity reports whether the body is not encoded.
func (e entity) isIdentity() (bool, error) {
	v, found, err := e.one(encodingField)
	if err != nil {
		return false, err
	}
	switch strings.ToLower(strings.TrimSpace(v)) {
	case "7bit", "8bit", "binary":
		return true, nil
	}
	return !found, nil
}

func decodeBase64(in []byte) ([]byte, error) {
	packed := make([]byte, 0, len(in))
	for _, c := range in {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			packed = append(packed, c)
		}
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(packed)))
	n, err := base64.StdEncoding.Strict().Decode(out, packed)
	if err != nil {
		return nil, errors.New("the S/MIME data is not good base64 (cut short or altered?)")
	}
	return out[:n], nil
}

// mediaType is a parsed Content-Type.
type mediaType struct {
	name   string
	params map[string]string
}

func parseMediaType(v string) (mediaType, error) {
	name, params, err := mime.ParseMediaType(strings.ReplaceAll(v, "\r\n", ""))
	if err != nil {
		return mediaType{}, fmt.Errorf("unreadable Content-Type %q", abbreviate([]byte(v)))
	}
	return mediaType{name, params}, nil
}

// isPKCS7 reports whether t is application/pkcs7-KIND or the x- form that OpenSSL and other
// early writers use (RFC 8551, Section 3.8 and its note).
func (t mediaType) isPKCS7(kind string) bool {
	return t.name == "application/pkcs7-"+kind || t.name == "application/x-pkcs7-"+kind
}

func (t mediaType) isClearSigned() bool {
	protocol := mediaType{name: strings.ToLower(t.params["protocol"])}
	return t.name == "multipart/signed" && protocol.isPKCS7("signature")
}

// isCryptoLayer reports whether t is a wrapper of S/MIME or PGP/MIME.
func (t mediaType) isCryptoLayer() bool {
	return t.isPKCS7("mime") || t.name == "multipart/signed" || t.name == "multipart/encrypted"
}

func equalFold(a, b string) bool { return strings.EqualFold(a, b) }
