package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/mail"
	"net/smtp"
	"strings"
	"sync"
	"testing"
	"time"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

// badServer is the mail server that takes replies and passes them on to the CA. For
// some senders it does something wrong first.
type badServer struct {
	ca string // where replies go

	mu       sync.Mutex
	faults   map[string]*smtpFault // by sender
	injected int
}

type smtpFault struct {
	at  string // MAIL, RCPT, DATA, text (within the message), dot (after it)
	act string // a reply; drop; stall; "late" takes the message and says so after a while
}

func startBadServer(t *testing.T) (s *badServer, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s = &badServer{faults: map[string]*smtpFault{}}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.speak(conn)
		}
	}()
	return s, l.Addr().String()
}

func (s *badServer) will(from string, f *smtpFault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[from] = f
}

// take returns the fault of a sender at a step, once.
func (s *badServer) take(from, at string) (act string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.faults[from]
	if f == nil || f.at != at {
		return ""
	}
	delete(s.faults, from)
	s.injected++
	return f.act
}

// done reports whether the fault of a sender has happened.
func (s *badServer) done(from string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults[from] == nil
}

func (s *badServer) speak(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	var from, to string
	for say := "220 hi"; say != ""; {
		if _, err := fmt.Fprintf(conn, "%s\r\n", say); err != nil || strings.HasPrefix(say, "221") {
			return
		}
		if strings.HasPrefix(say, "354") {
			say = s.message(r, from, to)
			continue
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch addr := inBrackets(arg); verb {
		case "MAIL":
			from = addr
		case "RCPT":
			to = addr
		}
		if say = s.take(from, verb); say == "" {
			say = map[string]string{"QUIT": "221 bye", "DATA": "354 go on"}[verb]
		}
		switch say {
		case "":
			say = "250 ok"
		case "drop":
			return
		case "stall":
			io.Copy(io.Discard, r)
			return
		}
	}
}

func inBrackets(s string) string {
	_, s, _ = strings.Cut(s, "<")
	s, _, _ = strings.Cut(s, ">")
	return s
}

const lateBy = 2 * time.Second

// message takes a message; "" ends the connection.
func (s *badServer) message(r *bufio.Reader, from, to string) (say string) {
	var msg bytes.Buffer
	for {
		line, err := r.ReadString('\n')
		if err != nil || s.take(from, "text") != "" {
			return ""
		}
		if line == ".\r\n" {
			break
		}
		msg.WriteString(strings.TrimPrefix(line, "."))
	}
	act := s.take(from, "dot")
	if act == "drop" || len(act) > 3 && act[0] == '5' {
		return strings.TrimPrefix(act, "drop")
	}
	if err := smtp.SendMail(s.ca, nil, from, []string{to}, msg.Bytes()); err != nil {
		return "451 " + err.Error()
	}
	switch act {
	case "stall":
		io.Copy(io.Discard, r)
		return ""
	case "late":
		time.Sleep(lateBy) // that is the fault
	}
	return "250 taken"
}

// smtpRow is something that the mail server does wrong once, and what comes of it.
type smtpRow struct {
	name   string
	fault  smtpFault
	said   string // in the log
	told   string // by "postseal cert"
	again  bool   // the challenge comes a second time: who had it has delivered it
	orders int
}

var smtpRows = []smtpRow{
	{"deferred-at-mail", smtpFault{"MAIL", "450 4.7.1 greylisted"}, "450 4.7.1 greylisted", "", false, 1},
	{"deferred-at-rcpt", smtpFault{"RCPT", "451 4.3.0 queue full"}, "451 4.3.0 queue full", "", false, 1},
	{"refused-at-rcpt", smtpFault{"RCPT", "550 5.7.1 no relaying"}, "550 5.7.1 no relaying", "550 5.7.1 no relaying", true, 1},
	{"refused-after-dot", smtpFault{"dot", "554 5.7.26 not signed"}, "554 5.7.26 not signed", "554 5.7.26 not signed", true, 1},
	{"stalls-at-mail", smtpFault{"MAIL", "stall"}, "the reply cannot be sent now", "", false, 1},
	{"drops-at-data", smtpFault{"DATA", "drop"}, "the reply cannot be sent now", "", false, 1},
	{"drops-in-text", smtpFault{"text", "drop"}, "", "", false, 0},
	{"drops-after-dot", smtpFault{"dot", "drop"}, "so it is not sent again", "is not known", false, 2},
	{"stalls-after-dot", smtpFault{"dot", "stall"}, "so it is not sent again", "is not known", false, 1},
	{"250-late", smtpFault{"dot", "late"}, "the SMTP server took the reply", "", false, 1},
}

// What the mail server does wrong, through both doors at once and with real programs:
// each order gets its certificate by one reply, and ordinary mail flows all the time.
// A connection that breaks within the message may break before or after the client has
// written its dot, so there may be a second order.
func TestSMTPTrouble(t *testing.T) {
	t.Parallel()
	server, addr := startBadServer(t)
	y := newYard(t, testca.Config{Strict: true, Validate: testca.ValidateOnArrival})
	server.ca = y.ca.SMTPAddr
	y.configure(addr)
	y.startMilter(y.dir)
	doors := &doors{yard: y}
	y.through(doors.deliver)

	stop := make(chan struct{})
	var mail, rows sync.WaitGroup
	ordinary := 0
	mail.Go(func() {
		for ; ; ordinary += 2 {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				y.wantOrdinaryMail()
			}
		}
	})
	for _, row := range smtpRows {
		for _, door := range []string{"milter", "pipe"} {
			from := door + "-" + row.name + "@" + domain
			server.will(from, &row.fault)
			rows.Go(func() { doors.row(server, row, from) })
		}
	}
	rows.Wait()
	close(stop)
	mail.Wait()
	replies, doubles := repliesOf(t, y.ca)
	certs := 2 * len(smtpRows)
	t.Logf("SMTP: %d faults, %d deliveries of challenges, %d ordinary messages; %d orders, %d certificates; "+
		"replies sent %d, doubles %d, orders lost %d", server.injected, doors.count(), ordinary, y.ca.Counters().Events[testca.EventOrder],
		certs, replies, doubles, doors.lost)
	if server.injected != certs || replies != certs || doubles > 0 {
		t.Errorf("want %d faults, and as many replies", certs)
	}
}

// doors brings a challenge through the door that its address names, and keeps it.
type doors struct {
	*yard
	pipeLog mta.Output

	mu        sync.Mutex
	delivered int
	last      map[string][]byte
	lost      int
}

func (d *doors) deliver(from, to string, msg []byte) error {
	d.mu.Lock()
	d.delivered++
	if d.last == nil {
		d.last = map[string][]byte{}
	}
	d.last[to] = bytes.Clone(msg)
	d.mu.Unlock()
	if strings.HasPrefix(to, "milter-") {
		return d.yard.milter(from, to, msg)
	}
	cmd := d.pipeCommand(msg)
	cmd.Stderr = &d.pipeLog
	return cmd.Run()
}

func (d *doors) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.delivered
}

func (d *doors) kept(to string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last[to]
}

// row orders, with a fault waiting.
func (d *doors) row(server *badServer, row smtpRow, from string) {
	cmd := d.certCommand(from)
	cmd.Args = append(cmd.Args, "--verbose", "--timeout", "40s") // of which a lost reply takes a third
	var told mta.Output
	cmd.Stdout, cmd.Stderr = &told, &told
	d.must(cmd.Start())
	mta.WaitFor(d.t, row.name, func() bool { return server.done(from) })
	switch {
	case row.again:
		mta.WaitFor(d.t, "the refusal", func() bool { return strings.Contains(told.String(), row.told) })
		if err := d.deliver("", from, d.kept(from)); err != nil {
			d.t.Errorf("%s: the second delivery: %v", from, err)
		}
	case row.fault.act == "late": // the same challenge comes to the other door, too
		if err := d.pipe("", from, d.kept(from)); err != nil {
			d.t.Errorf("%s: meanwhile: %v", from, err)
		}
	}
	if err := cmd.Wait(); err != nil {
		d.mu.Lock()
		d.lost++
		d.mu.Unlock()
		d.t.Errorf("%s: %v\n%s", from, err, told.String())
	}
	if !strings.Contains(told.String(), row.told) {
		d.t.Errorf("%s: postseal cert does not tell %q:\n%s", from, row.told, told.String())
	}
	if !d.said(from, row.said) {
		d.t.Errorf("%s: the log does not say %q", from, row.said)
	}
	if orders := strings.Count(told.String(), "ordered for "+from); row.orders > 0 && orders != row.orders {
		d.t.Errorf("%s: %d orders, want %d\n%s", from, orders, row.orders, told.String())
	}
}

// said reports whether a line of either log about an address holds a text.
func (d *doors) said(addr, text string) bool {
	for line := range strings.Lines(d.log.String() + d.pipeLog.String()) {
		if strings.Contains(line, "address="+addr) && strings.Contains(line, text) {
			return true
		}
	}
	return false
}

// repliesOf counts what the CA has received, and what it has received twice.
func repliesOf(t *testing.T, ca *testca.CA) (replies, doubles int) {
	t.Helper()
	seen := map[string]int{}
	for _, r := range ca.Replies() {
		m, err := mail.ReadMessage(bytes.NewReader(r.Data))
		if err != nil {
			t.Fatal(err)
		}
		replies++
		if seen[m.Header.Get("Subject")]++; seen[m.Header.Get("Subject")] > 1 {
			doubles++
			t.Errorf("a second reply: %s", m.Header.Get("Subject"))
		}
	}
	return replies, doubles
}
