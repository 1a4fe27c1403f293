package challenge

import (
	"strings"
	"testing"
)

// Strangers' text cannot drive a terminal or start a second line in a log.
func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{
		"plain text":                 "plain text",
		"a\r\nb\x00\x1b[2J\x7f":      `a\r\nb\x00\x1b[2J\x7f`,
		"\u202eright to left\u2066":  `\u202eright to left\u2066`,
		strings.Repeat("\u7528", 90): strings.Repeat("\u7528", 65) + "\u2026",
	} {
		if got := printable(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}
