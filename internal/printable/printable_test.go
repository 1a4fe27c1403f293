package printable

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	for s, want := range map[string]string{
		"plain text":                 "plain text",
		"b\u00fccher \u7528\u6237":   "b\u00fccher \u7528\u6237",
		"a\r\nb\x00\x1b[2J\x7f\t":    `a\r\nb\x00\x1b[2J\x7f\t`,
		"\u009b2J \u0085 \u2028":     `\u009b2J \u0085 \u2028`,
		"\u202eright to left\u2066":  `\u202eright to left\u2066`,
		"soft\u00ad\u200d\ufeff":     `soft\u00ad\u200d\ufeff`,
		"\U000e0041 tag":             `\U000e0041 tag`,
		"\xff\xfe\x9b":               `\xff\xfe\x9b`,
		"\ufffd":                     `\ufffd`, // as somebody else shows invalid bytes
		"no\u00a0break\u3000":        `no\u00a0break\u3000`,
		"it's":                       "it's",
		strings.Repeat("\u7528", 90): strings.Repeat("\u7528", 65) + "…",
		strings.Repeat("x", 200):     strings.Repeat("x", 200),
	} {
		if got := Line(s, 200); got != want || !Text(got) {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
	if got := Lines("a\tb\r\nc\n", 100); got != "a\tb\\r\nc\n" {
		t.Errorf("%q", got)
	}
}

func TestASCII(t *testing.T) {
	for s, want := range map[string]bool{"": true, " a~": true, "a\x7f": false, "\u00fc": false, "\xff": false} {
		if ASCII(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

// A shell takes the word for one, whatever it holds.
func TestWord(t *testing.T) {
	for s, want := range map[string]string{
		"alice+1@example.test": "alice+1@example.test", "/a/b_c-d.e": "/a/b_c-d.e",
		"": "''", "-x": "'-x'", "a b": "'a b'", "a`b`": "'a`b`'", "$a": "'$a'", "it's": `'it'\''s'`, "b\u00fccher": "'b\u00fccher'",
	} {
		if got := Word(s); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}

// The lines of a JSON text stay, and it means the same.
func TestJSON(t *testing.T) {
	text := "{\n  \"a\": \"b\u00fc\u202e\U000e0041\u009b\"\n}\n"
	if got, want := string(JSON([]byte(text))), "{\n  \"a\": \"b\u00fc\\u202e\\udb40\\udc41\\u009b\"\n}\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("\ufffd")
	f.Add("a\r\nb\u202e\u009b\xff\U000e0041")
	f.Fuzz(func(t *testing.T, s string) {
		if got := Line(s, 60); !Text(got) || len(got) > 60 {
			t.Errorf("%q: %q", s, got)
		}
		plain, err := json.Marshal(map[string]string{"k": s})
		if err != nil {
			t.Fatal(err)
		}
		var before, after map[string]string
		text := JSON(plain)
		if json.Unmarshal(plain, &before) != nil || json.Unmarshal(text, &after) != nil || before["k"] != after["k"] || !Text(string(text)) {
			t.Errorf("%q: %s means %q", s, text, after["k"])
		}
		var out bytes.Buffer
		if n, err := Writer(&out).Write([]byte(s)); n != len(s) || err != nil || !utf8.Valid(out.Bytes()) {
			t.Errorf("%d, %v", n, err)
		}
		if got := strings.NewReplacer("\n", "", "\t", "").Replace(out.String()); !Text(got) {
			t.Errorf("%q wrote %q", s, got)
		}
	})
}
