package e2e

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

// badDNS passes questions on to the CA's DNS, and does something wrong as long as it is
// told to.
type badDNS struct {
	addr, honest string
	fault        atomic.Pointer[dnsFault]
	injected     atomic.Int64
}

// dnsFault changes an answer; nil for none. UDP and TCP differ.
type dnsFault func(answer *dns.Msg, udp bool) *dns.Msg

func startBadDNS(t *testing.T, honest string, fault dnsFault) *badDNS {
	t.Helper()
	d := &badDNS{honest: honest}
	d.fault.Store(&fault)
	listener, err := net.Listen("tcp", "127.0.0.1:0") // first: its ports are the ones in demand
	if err != nil {
		t.Fatal(err)
	}
	d.addr = listener.Addr().String()
	packets, err := net.ListenPacket("udp", d.addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{PacketConn: packets, Handler: d}, {Listener: listener, Handler: d}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
	return d
}

// ServeDNS implements dns.Handler.
func (d *badDNS) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m, _, err := new(dns.Client).Exchange(q, d.honest)
	if err != nil {
		return // looks like silence
	}
	if f := d.fault.Load(); f != nil {
		d.injected.Add(1)
		_, udp := w.RemoteAddr().(*net.UDPAddr)
		m = (*f)(m, udp)
	}
	if m == nil {
		w.Close() // of TCP; UDP stays silent
		return
	}
	_ = w.WriteMsg(m) // who asked may be gone
}

func rcode(code int) dnsFault {
	return func(m *dns.Msg, _ bool) *dns.Msg { m.Rcode, m.Answer = code, nil; return m }
}

// dnsRow is something that the DNS does, and what is made of it: the challenge is put
// off until the DNS is right; or it is refused, and delivered; or nobody notices.
type dnsRow struct {
	name    string
	fault   dnsFault
	verdict string
	said    string
}

var dnsRows = []dnsRow{
	{"silent", func(*dns.Msg, bool) *dns.Msg { return nil }, "later", "timeout"},
	{"servfail", rcode(dns.RcodeServerFailure), "later", "server misbehaving"},
	{"refused", rcode(dns.RcodeRefused), "later", "server misbehaving"},
	{"truncated", func(m *dns.Msg, udp bool) *dns.Msg {
		if udp {
			m.Truncated, m.Answer = true, nil
		}
		return m
	}, "", ""},
	{"truncated, no TCP", func(m *dns.Msg, udp bool) *dns.Msg {
		if !udp {
			return nil
		}
		m.Truncated, m.Answer = true, nil
		return m
	}, "later", ""},
	{"to another question", func(m *dns.Msg, _ bool) *dns.Msg {
		m.Question[0].Name = "other.example."
		return m
	}, "later", ""},
	{"another id", func(m *dns.Msg, _ bool) *dns.Msg { m.Id++; return m }, "later", ""},
	{"another key", func(m *dns.Msg, _ bool) *dns.Msg {
		for _, rr := range m.Answer {
			if txt, ok := rr.(*dns.TXT); ok {
				txt.Txt = []string{signingKey().record[:200], signingKey().record[200:]}
			}
		}
		return m
	}, "refused", "did not verify"},
	{"no such name", rcode(dns.RcodeNameError), "refused", "no key"},
	{"garbage in the record", func(m *dns.Msg, _ bool) *dns.Msg {
		for _, rr := range m.Answer {
			if txt, ok := rr.(*dns.TXT); ok {
				txt.Txt = []string{"\\000\\255; p=;;v=DKIM1=\\010", strings.Repeat("x", 200)}
			}
		}
		return m
	}, "refused", ""},
}

// What the DNS does wrong, with a milter and a postseal-pipe in turn. What cannot be
// known now is put off, and the CA's mail server comes again until it is known. What the
// DNS denies is refused and delivered; the same challenge, brought again when the DNS
// tells the truth, is answered all the same.
func TestDNSTrouble(t *testing.T) {
	t.Parallel()
	y := newYard(t, testca.Config{Strict: true})
	doors := &dnsDoors{yard: y, rows: map[string]*dnsSite{}}
	y.through(doors.deliver)
	address := func(row dnsRow) string {
		return strings.NewReplacer(" ", "-", ",", "").Replace(row.name) + "@" + domain
	}
	for n, row := range dnsRows {
		doors.site(n, address(row), startBadDNS(t, y.ca.DNSAddr, row.fault))
	}
	var rows sync.WaitGroup
	for _, row := range dnsRows {
		rows.Go(func() { doors.rows[address(row)].run(row, address(row)) })
	}
	rows.Wait()
	injected := 0
	for _, s := range doors.rows {
		injected += int(s.dns.injected.Load())
	}
	replies, doubles := repliesOf(t, y.ca)
	t.Logf("DNS: %d rows, %d wrong answers, %d challenges put off, %d refused, then answered; replies sent %d, doubles %d, orders lost %d",
		len(dnsRows), injected, doors.verdicts("later"), doors.verdicts("refused"), replies, doubles, len(dnsRows)-y.ca.Counters().Events[testca.EventIssued])
	if replies != len(dnsRows) {
		t.Errorf("want %d replies", len(dnsRows))
	}
}

// dnsDoors brings a challenge to the milter or the pipe of its row.
type dnsDoors struct {
	*yard
	rows map[string]*dnsSite // by address
}

// dnsSite has a resolver of its own, and a milter if it has no pipe.
type dnsSite struct {
	*yard
	dns  *badDNS
	pipe *mta.Output // the log of postseal-pipe

	mu   sync.Mutex
	last []byte // the challenge
}

func (d *dnsDoors) site(n int, addr string, server *badDNS) {
	d.t.Helper()
	machine := *d.yard.site
	dir, err := os.MkdirTemp(d.dir, "row-")
	d.must(err)
	d.must(os.Chown(dir, d.user.UID, d.user.GID))
	s := &dnsSite{yard: &yard{site: &machine, socket: filepath.Join(dir, "milter.sock")}, dns: server}
	if n%2 == 1 {
		s.pipe, machine.log = new(mta.Output), new(mta.Output)
	} else {
		cmd := machine.milterCommand(dir)
		cmd.Args = append(cmd.Args, "--resolver", server.addr)
		s.runMilter(cmd, dir)
	}
	d.rows[addr] = s
}

func (d *dnsDoors) deliver(from, to string, msg []byte) error {
	s := d.rows[to]
	s.mu.Lock()
	s.last = bytes.Clone(msg)
	s.mu.Unlock()
	return s.deliver(from, to, msg)
}

func (s *dnsSite) deliver(from, to string, msg []byte) error {
	if s.pipe == nil {
		return s.milter(from, to, msg)
	}
	cmd := s.pipeCommand(msg, "--resolver", s.dns.addr)
	cmd.Stderr = s.pipe
	return cmd.Run()
}

// verdicts counts the lines of all logs with a verdict.
func (d *dnsDoors) verdicts(verdict string) (n int) {
	for addr, s := range d.rows {
		n += strings.Count(s.said(), `msg="challenge `+verdict+`" address=`+addr)
	}
	return n
}

func (s *dnsSite) said() string {
	if s.pipe != nil {
		return s.pipe.String()
	}
	return s.log.String()
}

// run orders, and has the DNS tell the truth as soon as the row has shown.
func (s *dnsSite) run(row dnsRow, addr string) {
	cmd := s.certCommand(addr)
	var told mta.Output
	cmd.Stdout, cmd.Stderr = &told, &told
	s.must(cmd.Start())
	if row.verdict != "" {
		line := regexp.MustCompile(`msg="challenge ` + row.verdict + `" address=` + regexp.QuoteMeta(addr) + ` .*` + row.said)
		mta.WaitFor(s.t, "the verdict of "+row.name, func() bool { return line.MatchString(s.said()) })
		if s.pipe == nil {
			if err := s.milter("bob@example.test", alice, []byte(lunch)); err != nil {
				s.t.Errorf("%s: ordinary mail: %v", row.name, err)
			}
		}
		s.dns.fault.Store(nil)
	}
	if row.verdict == "refused" {
		s.mu.Lock()
		again := s.last
		s.mu.Unlock()
		if err := s.deliver("", addr, again); err != nil {
			s.t.Errorf("%s: the second delivery: %v", row.name, err)
		}
	}
	if err := cmd.Wait(); err != nil {
		s.t.Errorf("%s: %v\n%s\n%s", row.name, err, told.String(), s.said())
	}
}
