package challenge

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
)

// What an order waits for has a line in the log, and a warning if it has no answer.
func TestOutcomeInLog(t *testing.T) {
	for _, c := range []struct {
		out      Outcome
		concerns bool
		level    slog.Level
		attrs    []any
	}{
		{Outcome{Reason: "news"}, false, slog.LevelInfo, []any{"verdict", "none", "reason", "news"}},
		{Outcome{Reason: "busy", Email: alice}, true, slog.LevelInfo, []any{"verdict", "none", "address", alice, "reason", "busy"}},
		{Outcome{Verdict: Refused, Email: alice}, true, slog.LevelWarn, []any{"verdict", "refused", "address", alice}},
		{Outcome{Verdict: Later}, true, slog.LevelWarn, []any{"verdict", "later"}},
		{Outcome{Verdict: Answered, Server: server, Order: "1", ReplyID: "<r>"}, true, slog.LevelInfo,
			[]any{"verdict", "answered", "ca", server, "order", "1", "reply", "<r>"}},
	} {
		if o := c.out; o.Concerns() != c.concerns || o.Level() != c.level || !slices.Equal(o.Attrs(), c.attrs) {
			t.Errorf("%+v: %v, %v, %q", o, o.Concerns(), o.Level(), o.Attrs())
		}
	}
}

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
