package challenge

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// nameServer is a DNS server on loopback, over UDP and TCP. The first label of a name
// determines its answer.
func nameServer(t *testing.T) (addr string) {
	t.Helper()
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.RecursionAvailable = true
		name := q.Question[0].Name
		txt := &dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}}
		_, udp := w.RemoteAddr().(*net.UDPAddr)
		switch label, _, _ := strings.Cut(name, "."); label {
		case "good":
			txt.Txt = []string{"v=DKIM1; ", "p=x"}
			m.Answer = []dns.RR{txt}
		case "long":
			txt.Txt = []string{strings.Repeat("a", 255), strings.Repeat("b", 255), strings.Repeat("c", 255), strings.Repeat("d", 255), strings.Repeat("e", 255)}
			m.Truncated = udp
			if !udp {
				m.Answer = []dns.RR{txt}
			}
		case "xn--schlssel-95a":
			txt.Txt = []string{"international"}
			m.Answer = []dns.RR{txt}
		case "empty":
		case "servfail":
			m.Rcode = dns.RcodeServerFailure
		case "refused":
			m.Rcode = dns.RcodeRefused
		case "silent":
			return
		default:
			m.Rcode = dns.RcodeNameError
		}
		w.WriteMsg(m)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0") // first: TCP ports are scarcer
	if err != nil {
		t.Fatal(err)
	}
	packets, err := net.ListenPacket("udp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{PacketConn: packets, Handler: handler}, {Listener: listener, Handler: handler}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
	return packets.LocalAddr().String()
}

// The library's view of permanent and temporary matches the DNS's answer.
func TestResolver(t *testing.T) {
	server := nameServer(t)
	lookup := Resolver(server)
	for name, want := range map[string]struct {
		record    string
		temporary bool
	}{
		"good._domainkey.ca.example":             {"v=DKIM1; p=x", false},
		"good._domainkey.ca.example.":            {"v=DKIM1; p=x", false},
		"long._domainkey.ca.example":             {strings.Repeat("a", 255) + strings.Repeat("b", 255), false},
		"schl\u00fcssel._domainkey.ca.example":   {"international", false},
		"none._domainkey.ca.example":             {"", false},
		"empty._domainkey.ca.example":            {"", false},
		"servfail._domainkey.ca.example":         {"", true},
		"refused._domainkey.ca.example":          {"", true},
		"silent._domainkey.ca.example":           {"", true},
		"":                                       {"", false},
		"a b._domainkey.ca.example":              {"", false},
		"a\x00._domainkey.ca.example":            {"", false},
		strings.Repeat("good.", 60) + "example":  {"", false},
		strings.Repeat("g", 70) + ".example":     {"", false},
		strings.Repeat("\u4e00", 400) + ".a.b.c": {"", false},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		records, err := lookup(ctx, name)
		cancel()
		var dnsErr *net.DNSError
		switch {
		case want.record != "" && (err != nil || len(records) != 1 || !strings.HasPrefix(records[0], want.record)):
			t.Errorf("%q: %q, %v", name, records, err)
		case want.record == "" && (!errors.As(err, &dnsErr) || dnsErr.Temporary() != want.temporary):
			t.Errorf("%q: %q, %v, want an error that is temporary: %v", name, records, err, want.temporary)
		case want.record == "" && dnsErr.Server != "" && dnsErr.Server != server:
			t.Errorf("%q: %v, but the server is %s", name, err, server)
		}
	}
}

// Nobody listens at the port: the DNS is down, which says nothing about the key.
func TestResolverDown(t *testing.T) {
	_, err := Resolver("127.0.0.1:1")(context.Background(), "good._domainkey.ca.example")
	var dnsErr *net.DNSError
	if !errors.As(err, &dnsErr) || !dnsErr.Temporary() {
		t.Errorf("got %v, want a temporary error", err)
	}
}
