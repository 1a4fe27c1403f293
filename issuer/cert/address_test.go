package cert

import (
	"strings"
	"testing"

	"postseal/internal/failure"
)

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]string{
		"alice@example.test":             "alice@example.test",
		"Alice@Example.TEST":             "Alice@example.test",
		"o'brien+tag@example.test":       "o'brien+tag@example.test",
		"jo@bücher.test":                 "jo@xn--bcher-kva.test",
		"jörg@example.test":              "jörg@example.test",
		"alice":                          "",
		"":                               "",
		"@example.test":                  "",
		"alice@":                         "",
		"*@example.test":                 "",
		"alice@*.example.test":           "",
		"Alice <alice@example.test>":     "",
		"<alice@example.test>":           "",
		`"a b"@example.test`:             "",
		"a b@example.test":               "",
		"alice@example.test, b@x.test":   "",
		"alice@[127.0.0.1]":              "",
		"alice@example.test\r\nBcc: x@y": "",
		"alice\x00@example.test":         "",
		"alice@-example.test":            "",
		" \u00a0\ufeffalice@example.test\u3000\r\n":       "alice@example.test",
		"al\u200bice@example.test":                        "",
		"al\u00adice@example.test":                        "",
		"alice@exam\u00adple.test":                        "",
		"\u202ealice@example.test":                        "",
		"al\ufeffice@example.test":                        "",
		"alice\u2066@example.test":                        "",
		"alice\U000e0061@example.test":                    "", // a tag
		"alice\ufe0f@example.test":                        "", // a variation selector
		"alice\u3164@example.test":                        "", // a filler, which is a letter
		"alice\u2028@example.test":                        "",
		"al\u00a0ice@example.test":                        "",
		"alice\x85@example.test":                          "",
		"alice\ue000@example.test":                        "", // for private use
		"日本@example.test":                                 "日本@example.test",
		"e\u0301@example.test":                            "e\u0301@example.test",
		strings.Repeat("a", 65) + "@example.test":         "",
		"a@" + strings.Repeat("a.", 200) + "example.test": "",
		"a@" + strings.Repeat("a", 64) + ".example.test":  "",
		"a@example..test":                                 "",
		strings.Repeat("a", 64) + "@example.test":         strings.Repeat("a", 64) + "@example.test",
	} {
		got, err := ParseAddress(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
		if err != nil && (failure.KindOf(err) != failure.KindUsage || failure.HintOf(err) == "") {
			t.Errorf("%q: kind %v, hint %q", in, failure.KindOf(err), failure.HintOf(err))
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"alice@example.test", "jörg@bücher.test", `"x"@y`, "*@z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		addr, err := ParseAddress(s)
		if err != nil {
			return
		}
		again, err := ParseAddress(addr)
		if err != nil || again != addr {
			t.Errorf("%q became %q, which became %q, %v", s, addr, again, err)
		}
	})
}

func TestSameAddresses(t *testing.T) {
	if !SameAddresses([]string{"A@x.test", "b@x.test"}, []string{"b@X.test", "a@x.test"}) {
		t.Error("order or case counted")
	}
	if SameAddresses([]string{"a@x.test"}, []string{"a@x.test", "b@x.test"}) {
		t.Error("a subset is not the same")
	}
}
