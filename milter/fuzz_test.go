package milter

import (
	"bytes"
	"context"
	"io"
	"math"
	"net"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	"postseal/internal/challenge"
)

// script is a connection whose peer sends fixed bytes and reads everything.
type script struct {
	net.Conn // nil: what is not below is not used
	in       io.Reader
	out      bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)       { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }
func (s *script) RemoteAddr() net.Addr             { return &net.UnixAddr{Name: "fuzz"} }
func (s *script) LocalAddr() net.Addr              { return s.RemoteAddr() }
func (s *script) Close() error                     { return nil }

// oneByte returns a byte at a time, so that packets arrive in every possible way.
type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }

// play runs a whole session.
func play(s *Server, in io.Reader) []byte {
	c := &script{in: in}
	s.admit()
	s.newConn(c, newDialogue(s)).serve(nil, nil, readOn)
	return c.out.Bytes()
}

// FuzzSession feeds a peer's bytes to a session. They must not make it panic, hold memory, or
// allocate much more than their own size; the replies must not depend on how the bytes are
// split, and must be packets.
func FuzzSession(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(noise(seed))
	}
	offer := packet(milter.CodeOptNeg, u32(6)+u32(0x1ff)+u32(uint32(allSteps)))
	mail := bytes.Join([][]byte{
		offer, packet('D', "Mi\x00x\x00"), packet('M', "<a@b>\x00"), packet('R', "<c@d>\x00"),
		packet('L', "Subject\x00 ACME: V4nE8NhYh6edBpfQTg5qqQ\x00"), packet('N', ""), packet('B', "text"),
		packet('D', "Ei\x00x\x00"), packet('E', ""), packet('K', ""), packet('M', "<>\x00"), packet('A', ""), packet('Q', ""),
	}, nil)
	f.Add(mail)
	f.Add(bytes.Replace(mail, offer, packet(milter.CodeOptNeg, u32(2)+u32(0x3f)+u32(0)), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		config := testConfig()
		config.Answer = func(_ context.Context, m challenge.Message) challenge.Outcome {
			if len(m.Raw) > len(data)*2 {
				t.Errorf("message of %d bytes from %d", len(m.Raw), len(data))
			}
			return challenge.Outcome{Verdict: challenge.Verdict(len(m.Raw) % 4)}
		}
		s := New(config)
		whole := play(s, bytes.NewReader(data))
		if asked, limit := leastAllocated(s, data), uint64(256<<10+len(data)*1100); asked > limit {
			t.Errorf("%d bytes made it ask for %d, want at most %d", len(data), asked, limit)
		}
		if pieces := play(s, oneByte{bytes.NewReader(data)}); !bytes.Equal(whole, pieces) {
			t.Errorf("answers differ:\n%q\n%q", whole, pieces)
		}
		wantPackets(t, whole)
		if n := s.held.held.Load(); n != 0 {
			t.Errorf("%d bytes are still charged", n)
		}
	})
}

// leastAllocated plays a session up to five times and returns the least that it allocated:
// the process has other goroutines, the fuzzer's, that also allocate.
func leastAllocated(s *Server, data []byte) uint64 {
	least := uint64(math.MaxUint64)
	for range 5 {
		before := allocated()
		play(s, bytes.NewReader(data))
		least = min(least, allocated()-before)
		if least < 256<<10 {
			break
		}
	}
	return least
}

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// wantPackets expects a sequence of whole packets that a milter may send.
func wantPackets(t *testing.T, b []byte) {
	t.Helper()
	for len(b) > 0 {
		if len(b) < 5 || !bytes.Contains([]byte("Oacdy"), b[4:5]) {
			t.Fatalf("no reply: %q", b)
		}
		size := 4 + int(b[3]) + int(b[2])<<8
		if b[0] != 0 || b[1] != 0 || size > len(b) {
			t.Fatalf("no whole packet: %q", b)
		}
		b = b[size:]
	}
}
