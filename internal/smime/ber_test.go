package smime

import (
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

func TestReadOctets(t *testing.T) {
	for in, want := range map[string]string{
		"\x04\x02ab":                                "ab",
		"\x04\x00":                                  "",
		"\x24\x07\x04\x02ab\x04\x01c":               "abc",
		"\x24\x80\x04\x02ab\x04\x01c\x00\x00":       "abc",
		"\x24\x80\x00\x00":                          "",
		"\x04\x81\x02ab":                            "malformed", // length not minimal
		"\x04\x80ab\x00\x00":                        "malformed", // indefinite and primitive
		"\x24\x80\x04\x02ab":                        "malformed", // no end-of-contents
		"\x24\x80\x24\x80\x04\x01a\x00\x00\x00\x00": "malformed", // pieces in pieces
		"\x24\x80\x05\x00\x00\x00":                  "malformed", // a piece that is NULL
		"\x24\x80\x1f\x80\x01\x00\x00\x00":          "malformed", // tag of two bytes
		"\x24\x80\x3f\x80\x00\x00\x00\x00":          "malformed",
		"\x0c\x02ab":                                "malformed", // UTF8String
		"\x24\x80\x04\x03ab\x00\x00":                "malformed", // a piece over the end
		"\x24\x05\x24\x80\x00\x00\x00":              "malformed", // indefinite in definite
		"\x24\x84\xff\xff\xff\xff\x04\x01a":         "malformed",
		"\x24\x80\x04\x84\xff\xff\xff\xffa\x00\x00": "malformed",
		"\x24\x80\x00\x01a\x00\x00":                 "malformed",
		"":                                          "malformed",
	} {
		s := cryptobyte.String(in)
		got, ok := readOctets(&s)
		if ok != (want != "malformed") || ok && (string(got) != want || !s.Empty()) {
			t.Errorf("%q: %q, %v", in, got, ok)
		}
	}
}

func TestReadBERDepth(t *testing.T) {
	for depth := range maxIndefinite + 3 {
		var in cryptobyte.String
		for range depth {
			in = append(in, 0x30, 0x80)
		}
		in = append(in, make([]byte, 2*depth)...)
		var out cryptobyte.String
		if ok := readBER(&in, &out, asn1.SEQUENCE); ok != (depth > 0 && depth <= maxIndefinite) {
			t.Errorf("depth %d: %v", depth, ok)
		}
	}
}
