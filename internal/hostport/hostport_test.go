package hostport

import (
	"strings"
	"testing"
)

// longest is a name as long as the DNS allows.
var longest = strings.Repeat("a.", 126) + "b"

// The error says what to write.
func TestHints(t *testing.T) {
	for s, want := range map[string]string{
		"2001:db8::1": "write [2001:db8::1]:PORT", "[::1]": "write [::1]:PORT", "x:53:53": "goes in brackets",
		"[localhost]:53": "only an IPv6 address", "x:0": "from 1 to 65535", "127.0.0.300:53": "not an IP address",
	} {
		if _, err := Dial(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", s, err, want)
		}
	}
}

func TestDial(t *testing.T) {
	for s, want := range map[string]string{
		"127.0.0.1:53": "127.0.0.1:53", "localhost:53": "localhost:53", "[::1]:53": "[::1]:53", "[fe80::1%lo]:53": "[fe80::1%lo]:53",
		longest + ":53": longest + ":53", "[::ffff:127.0.0.1]:53": "[::ffff:127.0.0.1]:53", "mx-1.example.org.:65535": "mx-1.example.org.:65535",
	} {
		if got, err := Dial(s); got != want || err != nil {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
	for _, s := range []string{
		"", "x", ":53", "x:", "x:0", "x:65536", "x:-1", "x:+1", "x:dns", "::1", "[::1]", "[::1", "::1]", "::1:53", "[::1]53", "[::1]:", "[::1]:x",
		"[localhost]:53", "[127.0.0.1]:53", "[]:53", "127.0.0.300:53", "127.0.0:53", "1:53", "a b:53", "a..b:53", "-a:53", "2001:db8::1:53",
		"[::g]:53", "x:53:53", "http://x:53", "x:53 ", "x/y:53", "\u200bx:53", strings.Repeat("a", 64) + ":53", strings.Repeat("a.", 127) + "b:53", longest + "b:53",
	} {
		if got, err := Dial(s); err == nil {
			t.Errorf("%q is taken for %q", s, got)
		}
	}
}

func TestListen(t *testing.T) {
	for s, want := range map[string]string{":9891": ":9891", "127.0.0.1:0": "127.0.0.1:0", "[::]:1": "[::]:1", "[::1]:0": "[::1]:0"} {
		if got, err := Listen(s); got != want || err != nil {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
	for _, s := range []string{"", ":", "9891", "::1", "[::1]", ":x", "x:65536", "[]:1"} {
		if got, err := Listen(s); err == nil {
			t.Errorf("%q is taken for %q", s, got)
		}
	}
}

func TestJoin(t *testing.T) {
	for _, host := range []string{"::1", "[::1]"} {
		if got, err := Join(host, "25"); got != "[::1]:25" || err != nil {
			t.Errorf("%q: %q, %v", host, got, err)
		}
	}
	for _, host := range []string{"[::1", "::1]", "[x]", "", "[]", "[[::1]]"} {
		if got, err := Join(host, "25"); err == nil {
			t.Errorf("%q is taken for %q", host, got)
		}
	}
}
