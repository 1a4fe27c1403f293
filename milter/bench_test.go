package milter

import (
	"bytes"
	"fmt"
	"net/textproto"
	"runtime"
	"testing"

	"github.com/emersion/go-milter"
)

// lunch is Postfix's input for a message of 25 fields, up to each point where it waits for a
// reply.
func lunch() (envelope, header []byte) {
	envelope = bytes.Join([][]byte{
		packet('D', "Mi\x00{mail_addr}\x00ann@example.net\x00{mail_host}\x00example.test\x00{mail_mailer}\x00smtp\x00"),
		packet('M', "<ann@example.net>\x00SIZE=5300\x00"),
	}, nil)
	for i := range 24 {
		header = append(header, packet('L', fmt.Sprintf("X-Field-%d\x00 some value of an ordinary length, folded once\n\tlike this\x00", i))...)
	}
	header = append(header, packet('L', "Subject\x00 lunch tomorrow?\x00")...)
	header = append(header, packet('D', "Ni\x004XyZ1234\x00")...)
	return envelope, append(header, packet('N', "")...)
}

// exchange sends bytes and reads the reply, without allocating.
func (p *peer) exchange(b []byte, want milter.ActionCode) {
	if _, err := p.Write(b); err != nil {
		p.Fatal(err)
	}
	var reply [5]byte
	for i := range reply {
		var err error
		if reply[i], err = p.in.ReadByte(); err != nil {
			p.Fatal(err)
		}
	}
	if reply[4] != byte(want) {
		p.Fatalf("reply %q", reply)
	}
}

// BenchmarkOrdinary measures ordinary mail.
func BenchmarkOrdinary(b *testing.B) {
	envelope, header := lunch()
	for _, network := range []string{"unix", "tcp"} {
		for _, pending := range []bool{false, true} {
			config := testConfig()
			config.Pending = func() (bool, error) { return pending, nil }
			message := func(p *peer) {
				if !pending {
					p.exchange(envelope, milter.ActAccept)
					return
				}
				p.exchange(envelope, milter.ActContinue)
				p.exchange(header, milter.ActAccept)
			}
			name := fmt.Sprintf("%s/pending=%v", network, pending)
			b.Run(name+"/connection=kept", func(b *testing.B) {
				_, addr := serve(b, network, config)
				p := connect(b, addr, 6, allSteps)
				for b.Loop() {
					message(p)
				}
			})
			b.Run(name+"/connection=each", func(b *testing.B) {
				_, addr := serve(b, network, config)
				for b.Loop() {
					p := connect(b, addr, 6, allSteps)
					message(p)
					p.send(milter.CodeQuit, "")
					p.Close()
				}
			})
		}
	}
}

// BenchmarkAlone measures go-milter when it sees every field itself.
func BenchmarkAlone(b *testing.B) {
	envelope, header := lunch()
	l := listen(b, "unix")
	server := &milter.Server{NewMilter: func() milter.Milter { return alone{} }, Protocol: wanted}
	go server.Serve(l)
	defer server.Close()
	p := dial(b, l.Addr())
	p.send(milter.CodeOptNeg, u32(6)+u32(0x1ff)+u32(uint32(allSteps)))
	p.reply()
	for b.Loop() {
		p.exchange(envelope, milter.ActContinue)
		p.exchange(header, milter.ActAccept)
	}
}

type alone struct{ milter.NoOpMilter }

func (alone) RcptTo(string, *milter.Modifier) (milter.Response, error) { return nil, nil }
func (alone) Header(string, string, *milter.Modifier) (milter.Response, error) {
	return nil, nil
}
func (alone) Headers(textproto.MIMEHeader, *milter.Modifier) (milter.Response, error) {
	return milter.RespAccept, nil
}

// Fields allocate no memory each: a message of 25 needs as much as one of 2.
func TestNothingPerField(t *testing.T) {
	_, addr := serve(t, "unix", testConfig())
	envelope, header := lunch()
	few := bytes.Join([][]byte{packet('L', "Subject\x00 lunch\x00"), packet('N', "")}, nil)
	allocs := func(header []byte) float64 {
		p := connect(t, addr, 6, allSteps)
		return testing.AllocsPerRun(500, func() {
			p.exchange(envelope, milter.ActContinue)
			p.exchange(header, milter.ActAccept)
		})
	}
	runtime.GC()
	if many, one := allocs(header), allocs(few); many > one+1 {
		t.Errorf("%.0f allocations with 25 fields, %.0f with one", many, one)
	}
}
