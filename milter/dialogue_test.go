package milter

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	"postseal/internal/challenge"
)

// life is what a session shows of itself.
type life struct {
	replies []byte
	asked   []challenge.Message
	stats   [7]uint64
}

// witness returns a server that records its calls, and the function that returns the record.
func witness(nobody bool) (*Server, func(replies []byte) life) {
	a := new(answers)
	config := testConfig()
	config.Pending = func() (bool, error) { return !nobody, nil }
	config.Answer = func(ctx context.Context, m challenge.Message) challenge.Outcome {
		a.answer(ctx, m)
		return challenge.Outcome{Verdict: challenge.Verdict(len(m.Raw) % 4)}
	}
	s := New(config)
	return s, func(replies []byte) life {
		x := &s.stats
		return life{replies, a.all(), [7]uint64{x.Messages.Load(), x.AcceptedAtMail.Load(), x.AcceptedAtHeader.Load(),
			x.Decided.Load(), x.BrokenConnections.Load(), uint64(x.Connections.Load()), uint64(s.held.held.Load())}}
	}
}

// playLoop treats a connection as the loop does, with its bytes in pieces.
func playLoop(s *Server, in io.Reader, piece int) []byte {
	s.admit()
	d := newDialogue(s)
	var rest, replies []byte
	for {
		buf := make([]byte, piece)
		n, err := in.Read(buf)
		if n == 0 && err != nil {
			if len(rest) > 0 || d.code != 0 {
				s.broken(io.ErrUnexpectedEOF, "test")
			}
			break
		}
		var next then
		rest, replies, next, err = d.take(append(rest, buf[:n]...), replies)
		if err != nil {
			s.broken(err, "test")
			break
		}
		if next == decide {
			c := &script{in: in}
			s.newConn(c, d).serve(rest, replies, next)
			return c.out.Bytes()
		}
		if next == finish {
			break
		}
	}
	d.message.reset()
	s.stats.Connections.Add(-1)
	return replies
}

// wantSame expects the loop to do what a goroutine does.
func wantSame(t *testing.T, data []byte, nobody bool, piece int) {
	t.Helper()
	alone, sawAlone := witness(nobody)
	want := sawAlone(play(alone, bytes.NewReader(data)))
	server, saw := witness(nobody)
	got := saw(playLoop(server, bytes.NewReader(data), piece))
	if !reflect.DeepEqual(got, want) {
		t.Errorf("in pieces of %d from %q:\n%q %+v\nwant\n%q %+v", piece, data, got.replies, got, want.replies, want)
	}
}

// FuzzPieces compares the loop with a goroutine: replies, decisions and counters.
func FuzzPieces(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(noise(seed), seed%3 == 0, uint16(seed*seed))
	}
	for _, data := range sessions() {
		for _, piece := range []uint16{1, 7, 100, 4096} {
			f.Add(data, false, piece)
			f.Add(data, true, piece)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, nobody bool, piece uint16) {
		wantSame(t, data, nobody, int(piece%8192)+1)
	})
}

// sessions are those of mail servers with various habits.
func sessions() map[string][]byte {
	offer := packet(milter.CodeOptNeg, u32(6)+u32(0x1ff)+u32(uint32(allSteps)))
	subject := packet('L', "Subject\x00 ACME: V4nE8NhYh6edBpfQTg5qqQ\x00")
	all := map[string][]byte{}
	for name, packets := range map[string][][]byte{
		"ordinary": {packet('D', "Mi\x00x\x00"), packet('M', "<a@b>\x00SIZE=1\x00"), packet('R', "<c@d>\x00"),
			packet('L', "Subject\x00 lunch\x00"), packet('N', ""), packet('A', ""), packet('Q', "")},
		"challenge": {packet('M', "<a@b>\x00"), packet('R', "<c@d>\x00"), subject, packet('N', ""), packet('B', "text"),
			packet('D', "Ei\x00x\x00"), packet('E', "more"), packet('K', ""), packet('M', "<>\x00"), packet('A', ""), packet('Q', "")},
		"two messages":   {packet('M', ""), packet('A', ""), packet('M', ""), subject, packet('N', ""), packet('E', "")},
		"long field":     {packet('M', ""), subject, packet('L', "X\x00"+string(make([]byte, 9<<10))), packet('N', ""), packet('E', "")},
		"longer field":   {packet('M', ""), subject, packet('L', "X\x00"+string(make([]byte, 30<<10))), packet('N', ""), packet('E', "")},
		"old commands":   {packet('C', "x"), packet('H', "x\x00"), packet('T', ""), packet('U', "x"), packet('M', ""), packet('N', "")},
		"out of order":   {packet('N', ""), packet('R', "x"), subject, packet('E', ""), packet('B', "x"), packet('M', ""), packet('B', "y"), packet('E', "")},
		"unknown":        {packet('M', ""), packet('z', "")},
		"nothing at all": {packet('M', ""), {0, 0, 0, 0}},
		"half a body":    {packet('M', ""), {0, 0, 0, 9, 'B'}},
		"half a packet":  {packet('M', ""), {0, 0, 0, 9, 'R', 'x'}},
	} {
		all[name] = append(bytes.Clone(offer), bytes.Join(packets, nil)...)
		old := packet(milter.CodeOptNeg, u32(2)+u32(0x3f)+u32(0))
		all[name+", old"] = append(old, bytes.Join(packets, nil)...)
	}
	return all
}

func TestPieces(t *testing.T) {
	for name, data := range sessions() {
		t.Run(name, func(t *testing.T) {
			for _, piece := range []int{1, 2, 5, 64, 4096, 1 << 20} {
				wantSame(t, data, false, piece)
				wantSame(t, data, true, piece)
			}
		})
	}
}

// A connection that leaves the loop needs no further descriptor, and still obeys a stop.
func TestHandedOver(t *testing.T) {
	s := New(testConfig())
	addr, stop := serveWith(t, "unix", s)
	p, idle := connect(t, addr, 6, allSteps), connect(t, addr, 6, allSteps)
	for range 2 {
		p.challengeMail()
		p.expect(milter.ActAccept)
		p.ordinaryMail()
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	p.closed()
	idle.closed()
	if n := s.Stats().Connections.Load(); n != 0 {
		t.Errorf("%d connections are still counted", n)
	}
}

// Replies wait for a peer that does not read, in the order of the commands.
func TestManyReplies(t *testing.T) {
	_, addr := serve(t, "unix", testConfig())
	p := connect(t, addr, 6, allSteps)
	const messages = 50_000
	done := make(chan error, 1)
	go func() {
		mails := bytes.Repeat(append(packet(milter.CodeMail, "<>\x00"), packet(milter.CodeAbort, "")...), 1000)
		var err error
		for range messages / 1000 {
			_, err = p.Write(mails)
		}
		done <- err
	}()
	for range messages {
		p.expect(milter.ActContinue)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A panic below the loop ends one connection.
func TestPanicInLoop(t *testing.T) {
	config := testConfig()
	config.IsChallenge = func(subject string) bool {
		if subject == " panic" {
			panic("test")
		}
		return false
	}
	s, addr := serve(t, "unix", config)
	other := connect(t, addr, 6, allSteps)
	p := connect(t, addr, 6, allSteps)
	p.mail()
	p.expect(milter.ActContinue)
	p.header("Subject: panic")
	p.closed()
	other.ordinaryMail()
	if n := s.Stats().Connections.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// The deadline closes idle connections, however many there are, and spares those in use.
func TestManyDeadlines(t *testing.T) {
	config := testConfig()
	config.IdleTimeout = 300 * time.Millisecond
	s, addr := serve(t, "unix", config)
	peers := make([]*peer, 50)
	for i := range peers {
		peers[i] = connect(t, addr, 6, allSteps)
	}
	busy := connect(t, addr, 6, allSteps)
	for s.Stats().Connections.Load() > 1 {
		busy.ordinaryMail()
	}
	for _, p := range peers {
		p.closed()
	}
	busy.ordinaryMail()
}

// judgeAll is a milter that keeps what go-milter reads of a challenge.
type judgeAll struct {
	milter.NoOpMilter
	raw    []byte
	wanted bool
	asked  *[]string
}

func (j *judgeAll) MailFrom(string, *milter.Modifier) (milter.Response, error) {
	j.raw, j.wanted = nil, false
	return milter.RespContinue, nil
}

func (j *judgeAll) Header(name, value string, _ *milter.Modifier) (milter.Response, error) {
	j.wanted = j.wanted || name == "Subject" && challenge.IsChallenge(value)
	j.raw = fmt.Appendf(j.raw, "%s: %s\r\n", name, value)
	return milter.RespContinue, nil
}

func (j *judgeAll) Headers(textproto.MIMEHeader, *milter.Modifier) (milter.Response, error) {
	if j.raw = append(j.raw, "\r\n"...); j.wanted {
		return milter.RespContinue, nil
	}
	return milter.RespAccept, nil
}

func (j *judgeAll) BodyChunk(chunk []byte, _ *milter.Modifier) (milter.Response, error) {
	j.raw = append(j.raw, chunk...)
	return milter.RespContinue, nil
}

func (j *judgeAll) Body(*milter.Modifier) (milter.Response, error) {
	*j.asked = append(*j.asked, string(j.raw))
	return milter.RespAccept, nil
}

// Another reader of the protocol, go-milter's, gives the same replies to the same commands
// and sees the same messages.
func TestAnotherReader(t *testing.T) {
	var said []milter.ActionCode
	var asked []string
	ask := func(addr net.Addr) {
		p := connect(t, addr, 2, 0)
		for _, subject := range []string{"lunch", "ACME: V4nE8NhYh6edBpfQTg5qqQ", "Re: ACME: x", "ACME: V4nE8NhYh6edBpfQTg5qqQ"} {
			for _, c := range []string{"H mx\x00", "M <a@b>\x00", "R <c@d>\x00", "R <e@f>\x00", "L From\x00<a@b>\x00", "L Subject\x00" + subject + "\x00",
				"L X\x00" + strings.Repeat("x", 20<<10) + "\x00", "N ", "B one\r\n", "B " + strings.Repeat("y", 50<<10), "E "} {
				p.send(milter.Code(c[0]), c[2:])
				code, _ := p.reply()
				said = append(said, milter.ActionCode(code))
				if code == byte(milter.ActAccept) {
					break
				}
			}
		}
	}
	l := listen(t, "unix")
	other := &milter.Server{NewMilter: func() milter.Milter { return &judgeAll{asked: &asked} }}
	go other.Serve(l)
	ask(l.Addr())
	other.Close()
	a := new(answers)
	config := testConfig()
	config.Answer = a.answer
	theirs := said
	said = nil
	_, addr := serve(t, "unix", config)
	ask(addr)
	if !slices.Equal(said, theirs) {
		t.Errorf("replies %q, go-milter's %q", said, theirs)
	}
	if len(asked) != 2 || len(a.all()) != 2 {
		t.Fatalf("%d messages decided on, by go-milter %d", len(a.all()), len(asked))
	}
	for i, m := range a.all() {
		if string(m.Raw) != asked[i] {
			t.Errorf("message of %d bytes, go-milter's has %d", len(m.Raw), len(asked[i]))
		}
	}
}
