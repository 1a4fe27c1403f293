package hostport

import (
	"net/netip"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{"mx1.example.org", "a.b", "MX-1.Example.ORG", "[192.0.2.1]", "[IPv6:2001:db8::1]", "[ipv6:::1]", "xn--bcher-kva.example"} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{
		"", "mx1", "localhost", "a..b", ".a.b", "a.b.", "-a.b", "a-.b", "a_b.c", "a b.c", "a.b\r\nMAIL", "192.0.2.1", "2001:db8::1", "[300.1.1.1]", "[192.0.2.1",
		"[2001:db8::1]", "[IPv6:192.0.2.1]", "[IPv6:fe80::1%lo]", "[]", "b\u00fccher.example", "a.1", strings.Repeat("a.", 127) + "bc",
	} {
		if err := CheckName(name); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
}

// An IPv4 address that a socket shows as one of IPv6 is still one of IPv4 to a mail server,
// and a zone means something only here.
func TestLiteral(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1": "[192.0.2.1]", "::ffff:192.0.2.1": "[192.0.2.1]", "2001:db8::1": "[IPv6:2001:db8::1]", "fe80::1%lo": "[IPv6:fe80::1]",
	} {
		if got := Literal(netip.MustParseAddr(addr)); got != want || CheckName(got) != nil {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
