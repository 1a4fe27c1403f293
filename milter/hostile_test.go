package milter

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	"postseal/internal/challenge"
	"postseal/internal/test/mta"
)

const crowd = 1000 // peers at a time

// logged is a log that can be read while it is written.
type logged struct{ mta.Output }

func (l *logged) lines() int { return strings.Count(l.String(), "\n") }

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// memory returns the bytes in use on heap and stacks. It leaves out garbage that is not yet
// collected, which depends on the machine and its load.
func memory() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // sync.Pool keeps its content through one
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// likeTheProgram sets postseal-milter's limit, at which the garbage collector works harder.
func likeTheProgram(t *testing.T) {
	old := debug.SetMemoryLimit(48 << 20)
	t.Cleanup(func() { debug.SetMemoryLimit(old) })
}

// wantMemory fails if memory has grown by more than limit since before.
func wantMemory(t *testing.T, before uint64, limit int64) {
	t.Helper()
	grown := int64(memory()) - int64(before)
	t.Logf("memory grew by %d KiB", grown>>10)
	if grown > limit {
		t.Errorf("memory grew by %d KiB, want at most %d", grown>>10, limit>>10)
	}
}

// forCrowd runs f for each of many peers, on few goroutines.
func forCrowd(n int, f func(i int)) {
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := worker; i < n; i += 8 {
				f(i)
			}
		})
	}
	wg.Wait()
}

// Peers that stop one byte short of a 1 MiB packet: go-milter alone would hold a gigabyte for
// them.
func TestOneByteShort(t *testing.T) {
	whole := func(code milter.Code) func(*peer) milter.Code { return func(*peer) milter.Code { return code } }
	for name, c := range map[string]struct {
		peers int // if a packet is read and dropped, fewer show as much
		start func(p *peer) milter.Code
	}{
		"command":     {crowd, whole(milter.CodeRcpt)},
		"macros":      {crowd / 10, whole(milter.CodeMacro)},
		"body":        {crowd / 10, whole(milter.CodeBody)},
		"wanted body": {crowd, func(p *peer) milter.Code { p.toBody(acme); return milter.CodeBody }},
		"header": {crowd, func(p *peer) milter.Code {
			p.mail()
			p.expect(milter.ActContinue)
			return milter.CodeHeader
		}},
	} {
		t.Run(name, func(t *testing.T) {
			likeTheProgram(t)
			_, addr := serve(t, "unix", testConfig())
			data := packet(0, strings.Repeat("x", 1<<20-1))
			before := memory()
			peers := make([]*peer, c.peers)
			for i := range peers {
				peers[i] = connect(t, addr, 6, allSteps)
				data[4] = byte(c.start(peers[i]))
			}
			forCrowd(c.peers, func(i int) {
				// This fails if the server refuses the packet at its head.
				_, _ = peers[i].Write(data[:len(data)-1])
			})
			connect(t, addr, 6, allSteps).ordinaryMail()
			wantMemory(t, before, 56<<20)
		})
	}
}

// Peers that each send a message of allowed size and never end it.
func TestManyLargeMessages(t *testing.T) {
	likeTheProgram(t)
	s, addr := serve(t, "unix", testConfig())
	peers := make([]*peer, crowd)
	for i := range peers {
		peers[i] = connect(t, addr, 6, allSteps)
	}
	before := memory()
	chunk := strings.Repeat("x", milter.MaxBodyChunk)
	forCrowd(crowd, func(i int) {
		peers[i].toBody(acme)
		for range 4 {
			peers[i].body(chunk)
		}
	})
	connect(t, addr, 6, allSteps).ordinaryMail()
	wantMemory(t, before, 56<<20)
	forCrowd(crowd, func(i int) {
		peers[i].send(milter.CodeEOB, "")
		peers[i].reply()
	})
	late := s.Stats().OutOfMemory.Load()
	t.Logf("%d of %d messages were put off", late, crowd)
	if late == 0 || late == crowd {
		t.Errorf("%d messages were put off, want some", late)
	}
}

func TestBudget(t *testing.T) {
	config := testConfig()
	config.MaxHeld = 64 << 10
	s, addr := serve(t, "unix", config)
	p := connect(t, addr, 6, allSteps)
	for range 2 {
		p.toBody(acme)
		p.body(strings.Repeat("x", 40<<10), strings.Repeat("y", 40<<10))
		p.send(milter.CodeEOB, "")
		p.expect(milter.ActReplyCode)
		p.challengeMail()
		p.expect(milter.ActAccept)
		// Ordinary mail passes, whatever its size.
		p.mail()
		p.expect(milter.ActContinue)
		p.header("X: "+strings.Repeat("x", 60<<10), "Y: "+strings.Repeat("y", 60<<10))
		p.send(milter.CodeEOH, "")
		p.expect(milter.ActAccept)
	}
	if n := s.Stats().OutOfMemory.Load(); n != 2 {
		t.Errorf("%d messages were put off, want 2", n)
	}
}

// A peer that leaves within a message leaves nothing behind; serve looks.
func TestLeavesWithinMessage(t *testing.T) {
	bothWays(t, "body", func(t *testing.T, network string) {
		_, addr := serve(t, network, testConfig())
		p := connect(t, addr, 6, allSteps)
		p.toBody(acme)
		p.body(strings.Repeat("x", 60<<10))
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestEndlessHeader(t *testing.T) {
	_, addr := serve(t, "unix", testConfig())
	for _, o := range offers {
		p := connect(t, addr, o.version, o.steps|milter.OptNoHeaderReply)
		p.mail()
		p.expect(milter.ActContinue)
		before := memory()
		field := packet(milter.CodeHeader, "X\x00"+strings.Repeat("x", 60<<10)+"\x00")
		for range 200 {
			if _, err := p.Write(field); err != nil {
				t.Fatal(err)
			}
		}
		wantMemory(t, before, 8<<20)
		p.send(milter.CodeEOH, "")
		p.expect(milter.ActAccept)
	}
}

// Messages without end on one connection: memory must not grow.
func TestManyMessages(t *testing.T) {
	_, addr := serve(t, "unix", testConfig())
	p := connect(t, addr, 6, allSteps)
	before := memory()
	for range 3000 {
		p.ordinaryMail()
	}
	wantMemory(t, before, 8<<20)
}

func TestIdleCrowd(t *testing.T) {
	s, addr := serve(t, "unix", testConfig())
	before := memory()
	peers := make([]*peer, crowd)
	for i := range peers {
		peers[i] = connect(t, addr, 6, allSteps)
	}
	connect(t, addr, 6, allSteps).ordinaryMail()
	if n := s.Stats().Connections.Load(); n != crowd+1 {
		t.Errorf("%d connections, want %d", n, crowd+1)
	}
	// Both ends are in this process; the peers' share is about half.
	wantMemory(t, before, crowd*(32<<10))
}

func TestMaxConnections(t *testing.T) {
	bothWays(t, "two", maxConnections)
}

func maxConnections(t *testing.T, network string) {
	config := testConfig()
	config.MaxConnections = 2
	s, addr := serve(t, network, config)
	a, b := connect(t, addr, 6, allSteps), connect(t, addr, 6, allSteps)
	dial(t, addr).closed()
	a.ordinaryMail()
	b.send(milter.CodeQuit, "")
	b.closed()
	connect(t, addr, 6, allSteps).ordinaryMail()
	if n := s.Stats().RefusedOverCap.Load(); n != 1 {
		t.Errorf("%d connections were refused, want 1", n)
	}
}

// bothWays runs a test with the loop and without.
func bothWays(t *testing.T, name string, test func(t *testing.T, network string)) {
	for _, network := range []string{"unix", goroutines} {
		t.Run(name+"/"+network, func(t *testing.T) { test(t, network) })
	}
}

func TestMalformed(t *testing.T) {
	offer := packet(milter.CodeOptNeg, u32(6)+u32(0x1ff)+u32(uint32(allSteps)))
	for name, data := range map[string]string{
		"empty packet":         "\x00\x00\x00\x00O",
		"2 GiB":                "\x80\x00\x00\x00O",
		"4 GiB":                "\xff\xff\xff\xffO",
		"no negotiation":       string(packet(milter.CodeMail, "<>\x00")),
		"short negotiation":    string(packet(milter.CodeOptNeg, "\x00\x00\x00\x06")),
		"version 1":            string(packet(milter.CodeOptNeg, u32(1)+u32(0)+u32(0))),
		"unknown code":         string(offer) + string(packet('z', "")),
		"code NUL":             string(offer) + string(packet(0, "")),
		"code NUL, with data":  string(offer) + string(packet(0, string(packet(milter.CodeQuit, "")))),
		"reply code":           string(offer) + string(packet('c', "")),
		"long command":         string(offer) + string(packet(milter.CodeMail, strings.Repeat("x", maxCommand+1))),
		"long negotiation":     string(packet(milter.CodeOptNeg, strings.Repeat("x", maxCommand+1))),
		"HTTP":                 "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"over 1 MiB":           string(offer) + "\x00\x10\x00\x02B",
		"body before an offer": string(packet(milter.CodeBody, "x")),
	} {
		bothWays(t, name, func(t *testing.T, network string) {
			s, addr := serve(t, network, testConfig())
			p := dial(t, addr)
			if _, err := io.WriteString(p, data); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(data, string(offer)) {
				p.reply()
			}
			p.closed()
			if n := s.Stats().BrokenConnections.Load(); n != 1 {
				t.Errorf("%d connections count as broken, want 1", n)
			}
		})
	}
}

// A connection ends in good order only between two packets.
func TestEndsAnywhere(t *testing.T) {
	offer := packet(milter.CodeOptNeg, u32(6)+u32(0x1ff)+u32(uint32(allSteps)))
	for cut := range len(offer) + 1 {
		s, addr := serve(t, "unix", testConfig())
		p := dial(t, addr)
		if _, err := p.Write(offer[:cut]); err != nil {
			t.Fatal(err)
		}
		if err := p.Conn.(*net.UnixConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if cut == len(offer) {
			p.reply()
		}
		p.closed()
		want := uint64(1)
		if cut == 0 || cut == len(offer) {
			want = 0
		}
		if n := s.Stats().BrokenConnections.Load(); n != want {
			t.Errorf("cut at %d: %d connections count as broken, want %d", cut, n, want)
		}
	}
}

func TestDeadlines(t *testing.T) {
	config := testConfig()
	config.IdleTimeout, config.PacketTimeout = 30*time.Millisecond, 30*time.Millisecond
	for name, c := range map[string]struct {
		send   string
		broken uint64
	}{
		"silence":        {"", 0},
		"half a length":  {"\x00\x00", 1},
		"half a command": {"\x00\x00\x00\x0dO\x00", 1},
	} {
		bothWays(t, name, func(t *testing.T, network string) {
			s, addr := serve(t, network, config)
			p := dial(t, addr)
			if _, err := io.WriteString(p, c.send); err != nil {
				t.Fatal(err)
			}
			p.closed()
			if n := s.Stats().BrokenConnections.Load(); n != c.broken {
				t.Errorf("%d connections count as broken, want %d", n, c.broken)
			}
		})
	}
}

// A packet's deadline holds even if bytes keep arriving.
func TestDrip(t *testing.T) {
	bothWays(t, "body", drip)
}

func drip(t *testing.T, network string) {
	config := testConfig()
	config.PacketTimeout = 30 * time.Millisecond
	s, addr := serve(t, network, config)
	p := connect(t, addr, 6, allSteps)
	p.toBody(acme)
	_, err := io.WriteString(p, "\x00\x10\x00\x00B")
	for range 1<<20 - 3 { // of 1<<20 - 1
		if err == nil {
			_, err = p.Write([]byte("x"))
		}
	}
	if err == nil {
		t.Error("the packet may take for ever")
	}
	p.Close()
	if n := s.Stats().BrokenConnections.Load(); n != 1 {
		t.Errorf("%d connections count as broken, want 1", n)
	}
}

// A peer that sends and sends and reads nothing.
func TestNeverReads(t *testing.T) {
	config := testConfig()
	config.WriteTimeout = 30 * time.Millisecond
	_, addr := serve(t, "unix", config)
	p := connect(t, addr, 6, allSteps)
	mails := bytes.Repeat(packet(milter.CodeMail, "<>\x00"), 1000)
	var err error
	for err == nil {
		_, err = p.Write(mails)
	}
	connect(t, addr, 6, allSteps).ordinaryMail()
}

// Noise costs few log lines and delays nobody's mail.
func TestNoise(t *testing.T) {
	log := new(logged)
	config := testConfig()
	config.Logger = log.logger()
	_, addr := serve(t, "unix", config)
	ordinary := connect(t, addr, 6, allSteps)
	forCrowd(crowd, func(i int) {
		nc, err := net.Dial(addr.Network(), addr.String())
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		_, _ = nc.Write(noise(uint64(i)))
		_, _ = io.Copy(io.Discard, nc) // until the server ends it
	})
	ordinary.ordinaryMail()
	if n := log.lines(); n == 0 || n > 3*perWindow {
		t.Errorf("%d lines in the log, want a few", n)
	}
}

// noise is random bytes, half of the time after a negotiation, with a final packet that no
// server accepts.
func noise(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	var b []byte
	if seed%2 == 0 {
		b = packet(milter.CodeOptNeg, u32(6)+u32(0x1ff)+u32(r.Uint32()))
	}
	for range r.IntN(50) {
		codes := "ABCDEHKLMNORTU"
		data := make([]byte, r.IntN(300))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		b = append(b, packet(milter.Code(codes[r.IntN(len(codes))]), string(data))...)
	}
	return append(b, 0xff, 0xff, 0xff, 0xff, 'B')
}

// A decision under way does not delay other mail.
func TestSlowDecision(t *testing.T) {
	asked, answer := make(chan bool), make(chan bool)
	config := testConfig()
	config.Answer = func(context.Context, challenge.Message) challenge.Outcome {
		asked <- true
		<-answer
		return challenge.Outcome{}
	}
	_, addr := serve(t, "unix", config)
	slow := connect(t, addr, 6, allSteps)
	slow.challengeMail()
	<-asked
	connect(t, addr, 6, allSteps).ordinaryMail()
	answer <- true
	slow.expect(milter.ActAccept)
}
