package resolve

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/dns/dnsmessage"
)

const name = "s._domainkey.ca.test."

// server is a name server that answers by a function of the question's number, from 0. The
// function may return nil to stay silent.
type server struct {
	addr  string
	asked atomic.Int64
}

type script func(n int, udp bool, q, good *dns.Msg) *dns.Msg

func start(t *testing.T, host string, do script) *server {
	t.Helper()
	s := &server{}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		n := int(s.asked.Add(1)) - 1
		if !q.RecursionDesired {
			t.Error("no recursion is asked for")
		}
		good := new(dns.Msg).SetReply(q)
		good.RecursionAvailable = true
		good.Answer = []dns.RR{
			&dns.CNAME{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET}, Target: "key.ca.test."},
			&dns.TXT{Hdr: dns.RR_Header{Name: "key.ca.test.", Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{`v=DKIM1\\; `, `p=\"\200x`}},
		}
		_, udp := w.RemoteAddr().(*net.UDPAddr)
		if m := do(n, udp, q, good); m != nil {
			w.WriteMsg(m)
		}
	})
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0")) // first: TCP ports are scarcer
	if err != nil {
		t.Fatal(err)
	}
	packets, err := net.ListenPacket("udp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []*dns.Server{{PacketConn: packets, Handler: handler}, {Listener: listener, Handler: handler}} {
		started := make(chan struct{})
		d.NotifyStartedFunc = func() { close(started) }
		go d.ActivateAndServe()
		<-started
		t.Cleanup(func() { d.Shutdown() })
	}
	s.addr = packets.LocalAddr().String()
	return s
}

func code(c int) script {
	return func(_ int, _ bool, _, good *dns.Msg) *dns.Msg { good.Rcode, good.Answer = c, nil; return good }
}

func good(_ int, _ bool, _, m *dns.Msg) *dns.Msg { return m }

// forged changes an answer, and what it answers.
func forged(change func(*dns.Msg)) script {
	return func(_ int, _ bool, _, m *dns.Msg) *dns.Msg {
		m.Answer[1].(*dns.TXT).Txt = []string{"forged"}
		change(m)
		return m
	}
}

func silent(_ int, _ bool, _, _ *dns.Msg) *dns.Msg { return nil }

// withEDNS answers with a code as long as the question has EDNS.
func withEDNS(c int, question bool) script {
	return func(_ int, _ bool, q, good *dns.Msg) *dns.Msg {
		if q.IsEdns0() == nil {
			return good
		}
		good.Answer, good.Rcode = nil, c
		if c > 15 {
			good.SetEdns0(1232, false)
		}
		if !question {
			good.Question = nil
		}
		return good
	}
}

// askAll asks servers as if resolv.conf named them.
func askAll(t *testing.T, servers ...*server) ([]string, error) {
	t.Helper()
	var addrs []string
	for _, s := range servers {
		addrs = append(addrs, s.addr)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	data, err := askEach(ctx, addrs, maxWait, name, dnsmessage.TypeTXT)
	return texts(name, data, err)
}

// Whatever one server does, a later answer from it or another counts.
func TestTroubleIsOvercome(t *testing.T) {
	for what, scripts := range map[string][]script{
		"first is silent":             {silent, good},
		"two are silent":              {silent, silent, good},
		"first packet is lost":        {func(n int, u bool, q, m *dns.Msg) *dns.Msg { return map[bool]*dns.Msg{true: m}[n > 0] }},
		"FORMERR to EDNS":             {withEDNS(dns.RcodeFormatError, true)},
		"FORMERR, without a question": {withEDNS(dns.RcodeFormatError, false)},
		"NOTIMP to EDNS":              {withEDNS(dns.RcodeNotImplemented, true)},
		"BADVERS":                     {withEDNS(dns.RcodeBadVers, true)},
		"EDNS is dropped":             {func(_ int, _ bool, q, m *dns.Msg) *dns.Msg { return map[bool]*dns.Msg{true: m}[q.IsEdns0() == nil] }},
		"SERVFAIL, then a good one":   {code(dns.RcodeServerFailure), good},
		"SERVFAIL once": {func(n int, u bool, q, m *dns.Msg) *dns.Msg {
			if n == 0 {
				return code(dns.RcodeServerFailure)(n, u, q, m)
			}
			return m
		}},
		"REFUSED, then a good one":    {code(dns.RcodeRefused), good},
		"a referral, then a good one": {func(_ int, _ bool, _, m *dns.Msg) *dns.Msg { m.Answer, m.RecursionAvailable = nil, false; return m }, good},
		"truncated": {func(_ int, udp bool, _, m *dns.Msg) *dns.Msg {
			if udp {
				m.Truncated, m.Answer = true, nil
			}
			return m
		}},
		"truncated, no TCP, then good": {func(_ int, udp bool, _, m *dns.Msg) *dns.Msg {
			m.Truncated, m.Answer = true, nil
			return map[bool]*dns.Msg{true: m}[udp]
		}, good},
		"truncated over TCP, too, then good": {func(_ int, _ bool, _, m *dns.Msg) *dns.Msg { m.Truncated, m.Answer = true, nil; return m }, good},
		"an alias alone of one who asks nobody, then good": {func(_ int, _ bool, _, m *dns.Msg) *dns.Msg {
			m.Answer, m.Authoritative, m.RecursionAvailable = m.Answer[:1], true, false
			return m
		}, good},
		"another id, then good":          {forged(func(m *dns.Msg) { m.Id++ }), good},
		"another name, then good":        {forged(func(m *dns.Msg) { m.Question[0].Name = "x.test." }), good},
		"another type, then good":        {forged(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeA }), good},
		"another class, then good":       {forged(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), good},
		"no question, then good":         {forged(func(m *dns.Msg) { m.Question = nil }), good},
		"two questions, then good":       {forged(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), good},
		"the question itself, then good": {forged(func(m *dns.Msg) { m.Response = false }), good},
		"name in another case":           {func(_ int, _ bool, _, m *dns.Msg) *dns.Msg { m.Question[0].Name = strings.ToUpper(name); return m }},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			var servers []*server
			for _, do := range scripts {
				servers = append(servers, start(t, "127.0.0.1", do))
			}
			records, err := askAll(t, servers...)
			if err != nil || len(records) != 1 || records[0] != "v=DKIM1\\; p=\"\xc8x" {
				t.Errorf("%q, %v", records, err)
			}
		})
	}
}

// Who cannot read EDNS is asked without it at once, and an answer that fits into the packet
// that EDNS allows needs no TCP.
func TestEDNS(t *testing.T) {
	long := strings.Repeat("x", 200)
	for what, do := range map[string]script{
		"FORMERR": withEDNS(dns.RcodeFormatError, true), "NOTIMP": withEDNS(dns.RcodeNotImplemented, true), "BADVERS": withEDNS(dns.RcodeBadVers, true),
		"large": func(_ int, udp bool, _, m *dns.Msg) *dns.Msg {
			m.Answer[1].(*dns.TXT).Txt = []string{long, long, long, long, long}
			return map[bool]*dns.Msg{true: m}[udp]
		},
	} {
		first, second := start(t, "127.0.0.1", do), start(t, "127.0.0.1", good)
		records, err := askAll(t, first, second)
		if err != nil || len(records) != 1 || second.asked.Load() > 0 {
			t.Errorf("%s: %q, %v; the second server was asked %d times", what, records, err, second.asked.Load())
		}
	}
}

// An attacker who answers first has to guess, and the true answer still counts.
func TestForgedFirst(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	var asked atomic.Int64
	go func() {
		buf := make([]byte, 4<<10)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			asked.Add(1)
			q := new(dns.Msg)
			if err := q.Unpack(buf[:n]); err != nil {
				t.Error(err)
			}
			for _, text := range []string{"forged", "true"} {
				m := new(dns.Msg).SetReply(q)
				m.RecursionAvailable = true
				m.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{text}}}
				if text == "forged" {
					m.Id++
				}
				packed, err := m.Pack()
				if err == nil {
					_, err = conn.WriteTo(packed, from)
				}
				if err != nil {
					t.Error(err)
				}
			}
		}
	}()
	c := Client{Addr: conn.LocalAddr().String(), Time: 5 * time.Second}
	if records, err := c.TXT(context.Background(), name); err != nil || len(records) != 1 || records[0] != "true" || asked.Load() != 1 {
		t.Errorf("%q, %v, asked %d times", records, err, asked.Load())
	}
}

// An answer may be cut off anywhere behind the question.
func TestCutOff(t *testing.T) {
	q, err := newQuery(name, dnsmessage.TypeTXT, false)
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(q.packed); err != nil {
		t.Fatal(err)
	}
	m.Response, m.Truncated = true, true
	m.Answer = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{"x"}}}
	packed, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for cut := len(q.packed); cut <= len(packed); cut++ {
		if r, err := q.parse(packed[:cut]); err != nil || !r.truncated {
			t.Errorf("cut at %d of %d: %+v, %v", cut, len(packed), r, err)
		}
	}
}

// A look-up ends with its caller.
func TestCallerLeaves(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s := start(t, "127.0.0.1", func(int, bool, *dns.Msg, *dns.Msg) *dns.Msg { cancel(); return nil })
	begin := time.Now()
	c := Client{Addr: s.addr, Time: time.Hour}
	if _, err := c.TXT(ctx, name); err == nil || time.Since(begin) > maxWait/2 {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}

// What is not a name has no record, and nobody is asked.
func TestNotAName(t *testing.T) {
	s := start(t, "127.0.0.1", good)
	c := Client{Addr: s.addr, Time: time.Second}
	for _, bad := range []string{strings.Repeat("a", 64) + ".test.", strings.Repeat("a.", 128), "a..test.", "test"} {
		_, err := c.TXT(context.Background(), bad)
		if e := new(net.DNSError); !errors.As(err, &e) || !e.IsNotFound || e.IsTemporary || s.asked.Load() > 0 {
			t.Errorf("%.80q: %v", bad, err)
		}
	}
}

// "No such record" is an answer: no other server is asked.
func TestNothingIsFinal(t *testing.T) {
	for what, do := range map[string]script{
		"NXDOMAIN": code(dns.RcodeNameError), "no TXT record": code(dns.RcodeSuccess),
	} {
		first, second := start(t, "127.0.0.1", do), start(t, "127.0.0.1", good)
		_, err := askAll(t, first, second)
		if e := new(net.DNSError); !errors.As(err, &e) || !e.IsNotFound || e.IsTemporary || second.asked.Load() > 0 {
			t.Errorf("%s: %v; the second server was asked %d times", what, err, second.asked.Load())
		}
	}
}

// If all fail, the error names the servers with each one's failure.
func TestAllFail(t *testing.T) {
	quiet, refuses := start(t, "127.0.0.1", silent), start(t, "127.0.0.1", code(dns.RcodeRefused))
	_, err := askAll(t, quiet, refuses)
	want := "lookup " + name + " on " + quiet.addr + ": timeout; on " + refuses.addr + ": server misbehaving (REFUSED)"
	if e := new(net.DNSError); !errors.As(err, &e) || !e.IsTemporary || !e.IsTimeout || e.IsNotFound || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if quiet.asked.Load() != rounds || refuses.asked.Load() != rounds {
		t.Errorf("asked %d and %d times", quiet.asked.Load(), refuses.asked.Load())
	}
}

// IPv6 servers, by address only.
func TestIPv6(t *testing.T) {
	c := Client{Addr: start(t, "::1", good).addr, Time: 2 * time.Second}
	if records, err := c.TXT(context.Background(), name); err != nil || len(records) != 1 {
		t.Errorf("%q, %v", records, err)
	}
}

func TestResolvConf(t *testing.T) {
	for text, want := range map[string]struct {
		servers string
		wait    time.Duration
	}{
		"": {"127.0.0.1:53 [::1]:53", maxWait},
		"# x\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver 192.0.2.1\n": {"192.0.2.1:53 [2001:db8::1]:53", maxWait},
		"nameserver fe80::1%lo\noptions rotate timeout:2 attempts:9 edns0":          {"[fe80::1%lo]:53", 2 * time.Second},
		"options timeout:0\nnameserver nonsense!\nnameserver\nnameserver ::1":       {"[::1]:53", time.Second},
		"nameserver localhost\nnameserver a.b\nnameserver ::1":                      {"[::1]:53", maxWait}, // addresses only, as libc
		"options timeout:99 timeout:x\nnameserver ::1":                              {"[::1]:53", maxWait},
		"nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\nnameserver 192.0.2.5\nnameserver 192.0.2.6": {
			"192.0.2.1:53 192.0.2.2:53 192.0.2.3:53 192.0.2.4:53 192.0.2.5:53", maxWait},
	} {
		path := filepath.Join(t.TempDir(), "resolv.conf")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		servers, wait := (&Client{Conf: path}).servers()
		if strings.Join(servers, " ") != want.servers || wait != want.wait {
			t.Errorf("%q: %q, %v", text, servers, wait)
		}
	}
}

// FuzzParse checks that no answer of any form does harm.
func FuzzParse(f *testing.F) {
	q, err := newQuery(name, dnsmessage.TypeTXT, true)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(q.packed)
	f.Fuzz(func(t *testing.T, answer []byte) {
		if r, err := q.parse(answer); err == nil {
			if all, _ := texts(name, r.records, nil); len(all) != len(r.records) {
				t.Errorf("%d texts of %d records", len(all), len(r.records))
			}
		}
	})
}
