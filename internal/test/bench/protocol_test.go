package bench

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"postseal/internal/test/mta"
)

// Packets as Postfix sends them, up to where it waits for each reply.
var (
	offer    = packet('O', "\x00\x00\x00\x06\x00\x00\x01\xff\x00\x1f\xff\xff")
	envelope = append(packet('D', "Mi\x00{mail_addr}\x00bob@ca.test\x00{mail_host}\x00example.test\x00{mail_mailer}\x00smtp\x00"),
		packet('M', "<bob@ca.test>\x00SIZE=5300\x00")...)
	quit = packet('Q', "")
)

func packet(code byte, data string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)+1))
	return append(append(b, code), data...)
}

// header is 25 fields with the given Subject, and their end. No recipient is among them:
// the milters have said that they need none.
func header(subject string) (b []byte) {
	for i := range 24 {
		b = append(b, packet('L', fmt.Sprintf("X-Field-%d\x00 some value of an ordinary length, folded once\n\tlike this\x00", i))...)
	}
	b = append(b, packet('L', "Subject\x00"+subject+"\x00")...)
	b = append(b, packet('D', "Ni\x004XyZ1234\x00")...)
	return append(b, packet('N', "")...)
}

// client is a mail server that does nothing but speak to a milter.
type client struct {
	net.Conn
	in *bufio.Reader
}

func dial(socket string) (*client, error) {
	nc, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	c := &client{nc, bufio.NewReader(nc)}
	if code, err := c.exchange(offer); err != nil || code != 'O' {
		return nil, fmt.Errorf("negotiation: %q, %w", code, err)
	}
	return c, nil
}

// exchange sends bytes and returns the code of the reply.
func (c *client) exchange(b []byte) (code byte, err error) {
	if _, err := c.Write(b); err != nil {
		return 0, err
	}
	var head [5]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return 0, err
	}
	_, err = c.in.Discard(int(binary.BigEndian.Uint32(head[:])) - 1)
	return head[4], err
}

// message sends an ordinary message.
func (c *client) message(fields []byte) error {
	code, err := c.exchange(envelope)
	if err == nil && code == 'c' {
		code, err = c.exchange(fields)
	}
	if err == nil && code != 'a' {
		err = fmt.Errorf("reply %q", code)
	}
	return err
}

func (c *client) end() error {
	_, err := c.Write(quit)
	c.Close()
	return err
}

// load sends messages over four connections at a time, which are kept or not.
func load(socket string, messages int, keep bool) error {
	fields := header(" lunch tomorrow?")
	failed := make(chan error, 4)
	for range 4 {
		go func() { failed <- sendAll(socket, fields, messages/4, keep) }()
	}
	var err error
	for range 4 {
		if e := <-failed; e != nil {
			err = e
		}
	}
	return err
}

func sendAll(socket string, fields []byte, messages int, keep bool) error {
	var c *client
	for i := range messages {
		if c == nil {
			var err error
			if c, err = dial(socket); err != nil {
				return err
			}
		}
		if err := c.message(fields); err != nil {
			return err
		}
		if !keep || i == messages-1 {
			if err := c.end(); err != nil {
				return err
			}
			c = nil
		}
	}
	return nil
}

// spoken is a milter without a mail server, and what was measured of it.
type spoken struct {
	name        string
	milter      *process
	cpu, micros map[bool][]float64 // by whether connections are kept
}

// BenchmarkProtocol is ordinary mail without a mail server.
func BenchmarkProtocol(b *testing.B) {
	once(b, func() {
		all := []*spoken{newSpoken("C, libmilter, accepts at MAIL", startC(b)), newSpoken("C, libmilter, accepts at the end of header", startC(b, "fields"))}
		for _, pending := range []int{0, 1} {
			name := fmt.Sprintf("postseal-milter, %d pending", pending)
			all = append(all, newSpoken(name, startPostseal(b, newSocket(b), stateWith(b, inMemory, pending).Path())))
		}
		for round := range rounds + 1 {
			for _, x := range all {
				x.round(b, true, round > 0)
				x.round(b, false, round > 0)
			}
		}
		report.group("2. The protocol alone, 25 fields, four connections at a time, unix socket")
		for _, keep := range []bool{true, false} {
			kind := map[bool]string{true: "kept connections", false: "a connection each"}[keep]
			for _, x := range all {
				report.add(x.name+", "+kind, "CPU µs/message", x.cpu[keep], all[0].cpu[keep], "")
			}
			for _, x := range all {
				report.add(x.name+", "+kind, "wall µs/message", x.micros[keep], all[0].micros[keep], "")
			}
		}
		for i, x := range all {
			goal := ""
			if i > 1 {
				goal = "<= 40"
			}
			report.add(x.name+", 1,000 idle connections", "RSS MB", []float64{x.crowd(b)}, nil, goal)
		}
	})
}

func newSpoken(name string, p *process) *spoken {
	return &spoken{name, p, map[bool][]float64{}, map[bool][]float64{}}
}

func newSocket(b testing.TB) string { return filepath.Join(shortDir(b, inMemory), "s") }

func startC(b testing.TB, args ...string) *process {
	socket := newSocket(b)
	return start(b, socket, program(b, "accept"), append([]string{"unix:" + socket}, args...)...)
}

func (x *spoken) round(b *testing.B, keep, count bool) {
	const messages = 4000
	cpu, began := x.milter.cpu(b), time.Now()
	check(b, load(x.milter.socket, messages, keep))
	took := time.Since(began)
	if !count {
		return
	}
	x.cpu[keep] = append(x.cpu[keep], (x.milter.cpu(b)-cpu)*1e6/messages)
	x.micros[keep] = append(x.micros[keep], took.Seconds()*1e6/messages)
}

// crowd returns the memory with 1,000 connections that negotiated and are silent.
func (x *spoken) crowd(b *testing.B) float64 {
	for range 1000 {
		c, err := dial(x.milter.socket)
		check(b, err)
		defer c.Close()
	}
	return x.milter.rss(b)
}

// The load that BenchmarkProtocol measures is what these milters expect.
func TestLoad(t *testing.T) {
	mta.NotShort(t)
	for name, p := range map[string]*process{
		"C":                          startC(t, "fields"),
		"postseal-milter":            startPostseal(t, newSocket(t), stateWith(t, inMemory, 0).Path()),
		"postseal-milter, 1 pending": startPostseal(t, newSocket(t), stateWith(t, inMemory, 1).Path()),
	} {
		if err := load(p.socket, 8, true); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
