package store

import (
	"strings"
	"testing"
)

func FuzzBaseName(f *testing.F) {
	for _, s := range []string{"alice@example.test", ".x/y@z", "\x00%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, addr string) {
		if name := BaseName(addr); strings.ContainsAny(name, "/\\\x00") || name != "" && name[0] == '.' || len(name) > 250 {
			t.Errorf("%q has the file name %q", addr, name)
		}
	})
}

func TestBaseName(t *testing.T) {
	for addr, want := range map[string]string{
		"alice@example.test":                       "alice@example.test",
		"Alice@Example.test":                       "alice@example.test",
		"a/b@example.test":                         "a%2Fb@example.test",
		"a%2Fb@example.test":                       "a%252fb@example.test",
		".hidden@example.test":                     "%2Ehidden@example.test",
		"o'brien@example.test":                     "o'brien@example.test",
		"jörg@example.test":                        "jörg@example.test",
		strings.Repeat("/", 100) + "@example.test": "",
	} {
		got := BaseName(addr)
		if want == "" {
			if !strings.HasPrefix(got, "sha256-") {
				t.Errorf("%q: %q", addr, got)
			}
			continue
		}
		if got != want {
			t.Errorf("%q: %q, want %q", addr, got, want)
		}
	}
}
