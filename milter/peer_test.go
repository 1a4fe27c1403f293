package milter

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	"postseal/internal/challenge"
)

// Offers of mail servers.
const (
	allSteps  = milter.OptProtocol(0x1fffff) // Postfix 3.7, Sendmail 8.17
	v2Steps   = milter.OptProtocol(0x7f)
	noReplies = milter.OptNoHeaderReply | milter.OptNoRcptReply | milter.OptNoBodyReply
)

// testConfig looks at every message, answers every challenge, and is quiet.
func testConfig() Config {
	return Config{
		Pending: func() (bool, error) { return true, nil },
		Answer: func(context.Context, challenge.Message) challenge.Outcome {
			return challenge.Outcome{Verdict: challenge.Answered}
		},
		Logger: slog.New(slog.DiscardHandler),
	}
}

// serve runs a server on a new socket until the test ends, and then expects a clean end.
func serve(t testing.TB, network string, config Config) (*Server, net.Addr) {
	t.Helper()
	s := New(config)
	addr, stop := serveWith(t, network, s)
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
		if held := s.held.held.Load(); held != 0 {
			t.Errorf("%d bytes are still charged to the budget", held)
		}
		if n := s.stats.Connections.Load(); n != 0 {
			t.Errorf("%d connections are still counted", n)
		}
	})
	return s, addr
}

func serveWith(t testing.TB, network string, s *Server) (addr net.Addr, stop func() error) {
	t.Helper()
	l := listen(t, network)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	return l.Addr(), func() error { cancel(); return <-done }
}

func listen(t testing.TB, network string) net.Listener {
	t.Helper()
	at := "127.0.0.1:0"
	if network != "tcp" {
		at = filepath.Join(t.TempDir(), "s")
	}
	if network == goroutines {
		return struct{ net.Listener }{listen(t, "unix")}
	}
	l, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// goroutines is a unix socket that the server does not recognise as such, so that each
// connection has a goroutine, as on systems without the loop.
const goroutines = "unix, goroutines"

// peer is a mail server that speaks bare packets and does nothing by itself.
type peer struct {
	testing.TB
	net.Conn
	in    *bufio.Reader
	steps milter.OptProtocol // as negotiated
}

const patience = 20 * time.Second // bounds each wait for an event

func dial(t testing.TB, addr net.Addr) *peer {
	t.Helper()
	nc, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &peer{t, nc, bufio.NewReader(nc), 0}
}

// connect dials and negotiates.
func connect(t testing.TB, addr net.Addr, version uint32, steps milter.OptProtocol) *peer {
	t.Helper()
	p := dial(t, addr)
	p.negotiate(version, steps)
	return p
}

func packet(code milter.Code, data string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)+1))
	return append(append(b, byte(code)), data...)
}

func (p *peer) send(code milter.Code, data string) {
	p.Helper()
	if _, err := p.Write(packet(code, data)); err != nil {
		p.Fatal(err)
	}
}

// reply reads one packet.
func (p *peer) reply() (code byte, data string) {
	p.Helper()
	var head [5]byte
	if _, err := io.ReadFull(p.in, head[:]); err != nil {
		p.Fatalf("no reply: %v", err)
	}
	rest := make([]byte, binary.BigEndian.Uint32(head[:])-1)
	if _, err := io.ReadFull(p.in, rest); err != nil {
		p.Fatal(err)
	}
	return head[4], string(rest)
}

// expect reads one packet and expects that action.
func (p *peer) expect(want milter.ActionCode) string {
	p.Helper()
	code, data := p.reply()
	if code != byte(want) {
		p.Fatalf("reply %q %q, want %q", code, data, byte(want))
	}
	return data
}

// closed expects the end of the connection without another byte.
func (p *peer) closed() {
	p.Helper()
	b, err := p.in.ReadByte()
	if err == nil {
		p.Fatalf("got byte %q, want the end", b)
	}
	if nerr := net.Error(nil); errors.As(err, &nerr) && nerr.Timeout() {
		p.Fatal("the connection is still open")
	}
}

func (p *peer) negotiate(version uint32, steps milter.OptProtocol) {
	p.Helper()
	p.send(milter.CodeOptNeg, u32(version)+u32(0x1ff)+u32(uint32(steps)))
	code, data := p.reply()
	if code != 'O' || len(data) != 12 {
		p.Fatalf("negotiation answered with %q %q", code, data)
	}
	if got := binary.BigEndian.Uint32([]byte(data)); got != min(version, newest) {
		p.Fatalf("version %d, offered %d", got, version)
	}
	p.steps = milter.OptProtocol(binary.BigEndian.Uint32([]byte(data[8:])))
	if p.steps&^steps != 0 {
		p.Fatalf("steps %#x, offered %#x", p.steps, steps)
	}
}

func u32(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }

// step sends a command and reads "continue" unless no reply was negotiated.
func (p *peer) step(code milter.Code, data string, noReply milter.OptProtocol) {
	p.Helper()
	p.send(code, data)
	if p.steps&noReply == 0 {
		p.expect(milter.ActContinue)
	}
}

func (p *peer) mail() { p.Helper(); p.send(milter.CodeMail, "<ca@example.net>\x00SIZE=1\x00") }
func (p *peer) rcpt(a string) {
	p.Helper()
	if p.steps&milter.OptNoRcptTo == 0 {
		p.step(milter.CodeRcpt, "<"+a+">\x00", milter.OptNoRcptReply)
	}
}

// header sends fields written "Name: value", with LF for folds.
func (p *peer) header(fields ...string) {
	p.Helper()
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ":")
		if p.steps&milter.OptHeaderLeadingSpace == 0 {
			value = strings.TrimPrefix(value, " ")
		}
		p.step(milter.CodeHeader, name+"\x00"+value+"\x00", milter.OptNoHeaderReply)
	}
}

func (p *peer) body(chunks ...string) {
	p.Helper()
	for _, c := range chunks {
		p.step(milter.CodeBody, c, milter.OptNoBodyReply)
	}
}

// toBody sends a message up to the end of its header, after which the milter asks for the
// body.
func (p *peer) toBody(fields ...string) {
	p.Helper()
	p.mail()
	p.expect(milter.ActContinue)
	p.rcpt("alice@example.test")
	p.header(fields...)
	p.send(milter.CodeEOH, "")
	p.expect(milter.ActContinue)
}

// challengeMail sends a whole challenge but does not read the verdict.
func (p *peer) challengeMail() {
	p.Helper()
	p.toBody("From: ca@example.net", "Subject: ACME: V4nE8NhYh6edBpfQTg5qqQ")
	p.body("hello\r\n")
	p.send(milter.CodeEOB, "")
}

// ordinaryMail sends a message that is accepted at the end of its header.
func (p *peer) ordinaryMail() {
	p.Helper()
	p.mail()
	p.expect(milter.ActContinue)
	p.rcpt("bob@example.test")
	p.header("From: ann@example.net", "Subject: lunch")
	p.send(milter.CodeEOH, "")
	p.expect(milter.ActAccept)
}

// answers records the calls of Config.Answer.
type answers struct {
	mu      sync.Mutex
	asked   []challenge.Message
	outcome challenge.Outcome
}

func (a *answers) answer(_ context.Context, m challenge.Message) challenge.Outcome {
	a.mu.Lock()
	defer a.mu.Unlock()
	m.Raw = append([]byte(nil), m.Raw...)

	a.asked = append(a.asked, m)
	return a.outcome
}

func (a *answers) all() []challenge.Message {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}
