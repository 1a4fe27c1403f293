package testca

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func lookup(t testing.TB, ca *CA, name string) ([]string, error) {
	t.Helper()
	return resolver(ca).LookupTXT(t.Context(), name+".")
}

func TestDNS(t *testing.T) {
	dir := t.TempDir()
	ca := start(t, Config{Dir: dir})
	long := strings.Repeat(`long \ "value" `, 60)
	ca.SetTXT("Long.Example.TEST", long)
	ca.SetTXT("two.example.test", "one", "two")
	ca.SetTXT("bücher.test", "u-label")
	for name, want := range map[string][]string{
		"long.example.test":  {long},
		"LONG.example.test":  {long},
		"two.example.test":   {"one", "two"},
		"xn--bcher-kva.test": {"u-label"},
	} {
		if got, err := lookup(t, ca, name); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	ca.SetTXT("two.example.test")
	var dnsErr *net.DNSError
	if _, err := lookup(t, ca, "two.example.test"); !errors.As(err, &dnsErr) || !dnsErr.IsNotFound {
		t.Errorf("a name without records: %v", err)
	}
}

func TestZoneFile(t *testing.T) {
	dir := t.TempDir()
	ca := start(t, Config{Dir: dir})
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, "zone.txt"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := lookup(t, ca, "a.test"); err == nil {
		t.Error("a name is found without a file")
	}
	write("# a comment\n\n  a.test   TXT  v=DKIM1; k=rsa; p=AA \nA.Test\ttxt\t\"second\"\nb.test SERVFAIL\n; x\n")
	if got, err := lookup(t, ca, "a.test"); err != nil || !slices.Equal(got, []string{"v=DKIM1; k=rsa; p=AA", "second"}) {
		t.Errorf("%q, %v", got, err)
	}
	if r := ask(t, ca, "udp", "b.test"); r.Rcode != dns.RcodeServerFailure {
		t.Errorf("b.test: %s", dns.RcodeToString[r.Rcode])
	}
	write("a.test TXT new\n")
	if got, err := lookup(t, ca, "a.test"); err != nil || !slices.Equal(got, []string{"new"}) {
		t.Errorf("after a change: %q, %v", got, err)
	}
}

func ask(t testing.TB, ca *CA, network, name string) *dns.Msg {
	t.Helper()
	c := &dns.Client{Net: network, Timeout: 5 * time.Second}
	r, _, err := c.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeTXT), ca.DNSAddr)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDNSFaults(t *testing.T) {
	ca := start(t, Config{})
	ca.SetTXT("x.test", "value")
	for fault, rcode := range map[DNSFault]int{DNSServFail: dns.RcodeServerFailure, DNSRefused: dns.RcodeRefused} {
		ca.SetDNSFault("x.test", fault)
		for _, network := range []string{"udp", "tcp"} {
			if r := ask(t, ca, network, "x.test"); r.Rcode != rcode || len(r.Answer) != 0 {
				t.Errorf("%s over %s: %v", fault, network, r)
			}
		}
	}
	ca.SetDNSFault("x.test", DNSTruncate)
	if r := ask(t, ca, "udp", "x.test"); !r.Truncated || len(r.Answer) != 0 {
		t.Errorf("over UDP: %v", r)
	}
	if got, err := lookup(t, ca, "x.test"); err != nil || got[0] != "value" {
		t.Errorf("a resolver gets %q, %v over TCP", got, err)
	}
	ca.SetDNSFault("x.test", DNSTimeout)
	c := &dns.Client{Timeout: 50 * time.Millisecond}
	if r, _, err := c.Exchange(new(dns.Msg).SetQuestion("x.test.", dns.TypeTXT), ca.DNSAddr); err == nil {
		t.Errorf("an answer came: %v", r)
	}
	ca.SetDNSFault("x.test", DNSWorks)
	if r := ask(t, ca, "udp", "x.test"); len(r.Answer) != 1 {
		t.Errorf("then %v", r)
	}
}

// A name with TXT records has no other ones, which is not the same as not
// being there.
func TestOtherTypes(t *testing.T) {
	ca := start(t, Config{})
	ca.SetTXT("x.test", "value")
	r, _, err := (&dns.Client{}).Exchange(new(dns.Msg).SetQuestion("x.test.", dns.TypeMX), ca.DNSAddr)
	if err != nil || r.Rcode != dns.RcodeSuccess || len(r.Answer) != 0 {
		t.Errorf("%v, %v", r, err)
	}
	if r := ask(t, ca, "udp", "y.test"); r.Rcode != dns.RcodeNameError {
		t.Errorf("%v", r)
	}
}
