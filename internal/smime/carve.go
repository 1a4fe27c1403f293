package smime

import (
	"bytes"
	"errors"
	"strings"
)

// carve returns the raw bytes of the two parts of a multipart/signed body. The line end
// before a delimiter belongs to the delimiter (RFC 2046, Section 5.1.1), so the signature
// does not cover it.
func carve(body []byte, boundary string) (first, second []byte, err error) {
	if !isBoundary(boundary) {
		return nil, nil, errors.New("multipart/signed has no usable boundary")
	}
	open := nextDelimiter(body, 0, boundary)
	middle := nextDelimiter(body, open.end, boundary)
	last := nextDelimiter(body, middle.end, boundary)
	switch {
	case !open.found || open.closing || !middle.found || middle.closing:
		return nil, nil, errors.New("multipart/signed has fewer than two parts")
	case !last.found:
		return nil, nil, errors.New("multipart/signed ends before its closing boundary")
	case !last.closing:
		return nil, nil, errors.New("multipart/signed has more than two parts")
	case nextDelimiter(body, last.end, boundary).found:
		return nil, nil, errors.New("multipart/signed goes on after its closing boundary")
	case middle.start <= open.end || last.start <= middle.end:
		return nil, nil, errors.New("multipart/signed has an empty part")
	}
	return body[open.end:middle.start], body[middle.end:last.start], nil
}

// delimiter is the position of a boundary line, including the line ends around it.
type delimiter struct {
	start, end     int
	found, closing bool
}

// nextDelimiter finds the first delimiter line that begins at or after from,
// where from is the start of a line.
func nextDelimiter(body []byte, from int, boundary string) delimiter {
	dash := []byte("--" + boundary)
	for at := from; ; at += len(dash) {
		i := bytes.Index(body[at:], dash)
		if i < 0 {
			return delimiter{end: len(body)}
		}
		at += i
		if at != 0 && !bytes.HasSuffix(body[:at], crlf) {
			continue
		}
		if d := readDelimiter(body, at, len(dash)); d.found {
			return d
		}
	}
}

// readDelimiter reads the rest of a line that begins like a delimiter.
func readDelimiter(body []byte, at, length int) delimiter {
	d := delimiter{start: max(0, at-len(crlf))}
	rest := body[at+length:]
	tail, closing := bytes.CutPrefix(rest, []byte("--"))
	if closing {
		rest = tail
	}
	rest = bytes.TrimLeft(rest, " \t")
	after, ended := bytes.CutPrefix(rest, crlf)
	d.closing, d.end = closing, len(body)-len(after)
	d.found = ended || (closing && len(rest) == 0)
	return d
}

// isBoundary checks the grammar of RFC 2046, Section 5.1.1.
func isBoundary(s string) bool {
	const punctuation = "'()+_,-./:=? "
	for _, c := range []byte(s) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && !strings.Contains(punctuation, string(rune(c))) {
			return false
		}
	}
	return s != "" && len(s) <= 70 && !strings.HasSuffix(s, " ")
}
