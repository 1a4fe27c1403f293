package cert

import (
	"fmt"
	"slices"
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
		"a@example.test.":                                 "",
		"a@example\u3002test":                             "a@example.test", // a full stop, too
		"a@example\u3002test\u3002":                       "",
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

// A CA's address goes into a header field as it is.
func TestIsPlain(t *testing.T) {
	for s, want := range map[string]bool{
		"ca@ca.example": true, "jörg@bücher.example": true,
		"": false, "ca": false, "CA <ca@ca.example>": false, "a@ca.example, b@ca.example": false,
		" ca@ca.example": false, "ca@ca.example ": false, "ca@ca.example\r\n": false, "ca@ca.example\t": false,
		"\ufeffca@ca.example": false, "ca@ca.example\u3000": false, "ca@ca.example\u2028": false,
		"a@" + strings.Repeat(strings.Repeat("\u3042", 50)+".", 3) + "example": false, // longer than any address
	} {
		if got := IsPlain(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}

// Each mailbox is ordered once; one error names each invalid address by its place, and the
// number of those beyond the twentieth.
func TestParseAddresses(t *testing.T) {
	got, err := ParseAddresses([]string{"Alice@example.test", "bob@example.test", "alice@Example.test"})
	if err != nil || !slices.Equal(got, []string{"Alice@example.test", "bob@example.test"}) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := ParseAddresses([]string{"alice"}); err == nil || !strings.HasPrefix(err.Error(), `"alice" is not`) {
		t.Error(err)
	}
	for _, n := range []int{maxBadAddresses, maxBadAddresses + 1, maxBadAddresses + 5} {
		_, err := ParseAddresses(append(slices.Repeat([]string{"alice"}, n), "bob@example.test"))
		if failure.KindOf(err) != failure.KindUsage {
			t.Fatal(err)
		}
		named, more := strings.Count(err.Error(), "is not a mail address"), fmt.Sprintf("; and %d more", n-maxBadAddresses)
		if named != maxBadAddresses || strings.HasSuffix(err.Error(), more) != (n > maxBadAddresses) || !strings.HasPrefix(err.Error(), `address 1: "alice" is not`) {
			t.Errorf("%d: %v", n, err)
		}
	}
}

func TestSameAddresses(t *testing.T) {
	if !SameAddresses([]string{"A@x.test", "b@x.test"}, []string{"b@X.test", "a@x.test"}) {
		t.Error("order or case counted")
	}
	if SameAddresses([]string{"a@x.test"}, []string{"a@x.test", "b@x.test"}) {
		t.Error("a subset is not the same")
	}
}
