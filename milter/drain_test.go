package milter

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	"postseal/internal/challenge"
)

// If a message's header is under way when the server has to stop, that message still gets its
// verdict; the next one does not start.
func TestDrainMessage(t *testing.T) {
	bothWays(t, "message", drainMessage)
}

func drainMessage(t *testing.T, network string) {
	s := New(testConfig())
	addr, stop := serveWith(t, network, s)
	p, idle := connect(t, addr, 6, allSteps), connect(t, addr, 2, 0)
	p.mail()
	p.expect(milter.ActContinue)
	p.header(acme)
	p.send(milter.CodeEOH, "")
	p.expect(milter.ActContinue)

	done := make(chan error, 1)
	go func() { done <- stop() }()
	idle.closed()
	p.body("still there")
	p.send(milter.CodeEOB, "")
	p.expect(milter.ActAccept)
	p.closed()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := s.Stats().Decided.Load(); n != 1 {
		t.Errorf("%d messages were decided on, want 1", n)
	}
}

// An aborted message also ends the wait.
func TestDrainAborted(t *testing.T) {
	s := New(testConfig())
	addr, stop := serveWith(t, "tcp", s)
	p, idle := connect(t, addr, 6, allSteps), connect(t, addr, 6, allSteps)
	p.mail()
	p.expect(milter.ActContinue)
	done := make(chan error, 1)
	go func() { done <- stop() }()
	idle.closed()
	p.send(milter.CodeAbort, "")
	p.closed()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Nor does one whose peer has fallen silent keep the server.
func TestDrainSilence(t *testing.T) {
	bothWays(t, "header", func(t *testing.T, network string) {
		config := testConfig()
		config.DrainTimeout = time.Millisecond
		addr, stop := serveWith(t, network, New(config))
		p := connect(t, addr, 6, allSteps)
		p.mail()
		p.expect(milter.ActContinue)
		if err := stop(); !errors.Is(err, ErrCutOff) {
			t.Errorf("Serve: %v, want ErrCutOff", err)
		}
		p.closed()
	})
}

// The server cuts off a message that does not end.
func TestDrainTimeout(t *testing.T) {
	config := testConfig()
	config.DrainTimeout = time.Millisecond
	asked := make(chan bool)
	config.Answer = func(ctx context.Context, _ challenge.Message) challenge.Outcome {
		asked <- true
		<-ctx.Done()
		return challenge.Outcome{Verdict: challenge.Later}
	}
	addr, stop := serveWith(t, "unix", New(config))
	p := connect(t, addr, 6, allSteps)
	p.challengeMail()
	<-asked
	if err := stop(); !errors.Is(err, ErrCutOff) {
		t.Errorf("Serve: %v, want ErrCutOff", err)
	}
}
