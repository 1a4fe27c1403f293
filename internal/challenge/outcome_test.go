package challenge

import (
	"strings"
	"testing"
)

// What strangers wrote cannot drive a terminal or make a second line of a log.
func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{
		"plain text":                 "plain text",
		"b\u00fccher \u7528\u6237":   "b\u00fccher \u7528\u6237",
		"a\r\nb\x00\x1b[2J\x7f":      "a??b??[2J?",
		"\u009b2J \u0085 \u2028":     "?2J ? ?",
		"\u202eright to left\u2066":  "?right to left?",
		"\xff\xfe":                   "??",
		strings.Repeat("\u7528", 90): strings.Repeat("\u7528", 66) + "??\u2026",
	} {
		if got := printable(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}
