package smime

import (
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// maxIndefinite bounds how deep values of indefinite length nest: SignedData nests six of
// them.
const maxIndefinite = 8

// readBER reads a constructed value of definite (DER) or indefinite length. RFC 5652 requires
// DER only for attributes and certificates, and Bouncy Castle, Outlook and openssl -stream
// use indefinite lengths around them.
func readBER(s, out *cryptobyte.String, tag asn1.Tag) bool {
	b := *s
	if len(b) < 2 || b[1] != 0x80 {
		return s.ReadASN1(out, tag)
	}
	n, ok := indefiniteLength(b[2:])
	if asn1.Tag(b[0]) != tag || !ok {
		return false
	}
	*out, *s = b[2:2+n], b[2+n+2:]
	return true
}

// optionalBER is readBER for a value that may be missing.
func optionalBER(s, out *cryptobyte.String, tag asn1.Tag) (present, ok bool) {
	if !s.PeekASN1Tag(tag) {
		return false, true
	}
	return true, readBER(s, out, tag)
}

// indefiniteLength returns how many bytes precede the end-of-contents of a value of
// indefinite length (X.690, Section 8.1.3.6). It counts levels instead of recursing.
func indefiniteLength(s cryptobyte.String) (n int, ok bool) {
	total, depth := len(s), 1
	for {
		switch {
		case len(s) < 2:
			return 0, false
		case s[0] == 0 && s[1] == 0:
			if depth--; depth == 0 {
				return total - len(s), true
			}
			s.Skip(2)
		case s[1] == 0x80:
			if depth++; !canBeIndefinite(s[0]) || depth > maxIndefinite {
				return 0, false
			}
			s.Skip(2)
		case !skipDER(&s):
			return 0, false
		}
	}
}

// canBeIndefinite reports whether a tag has the constructed bit, and only one byte.
func canBeIndefinite(tag byte) bool { return tag&0x20 != 0 && tag&0x1f != 0x1f }

func skipDER(s *cryptobyte.String) bool {
	var value cryptobyte.String
	var tag asn1.Tag
	return s.ReadAnyASN1Element(&value, &tag)
}

// octetStringConstructed is an OCTET STRING in pieces (X.690, Section 8.7.3).
const octetStringConstructed = asn1.OCTET_STRING | 0x20

// readOctets reads an OCTET STRING in one piece, or in pieces of one level.
func readOctets(s *cryptobyte.String) ([]byte, bool) {
	var whole cryptobyte.String
	if !s.PeekASN1Tag(octetStringConstructed) {
		ok := s.ReadASN1(&whole, asn1.OCTET_STRING)
		return whole, ok
	}
	if !readBER(s, &whole, octetStringConstructed) {
		return nil, false
	}
	joined := make([]byte, 0, len(whole))
	for !whole.Empty() {
		var piece cryptobyte.String
		if !whole.ReadASN1(&piece, asn1.OCTET_STRING) {
			return nil, false
		}
		joined = append(joined, piece...)
	}
	return joined, true
}
