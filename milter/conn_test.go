package milter

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/emersion/go-milter"
)

// A mail server writes a message's commands in several pieces and, by Nagle's algorithm,
// sends the second only after the first is acknowledged. By default a kernel delays that by
// 40 ms.
func TestNoDelayedAcknowledgements(t *testing.T) {
	_, addr := serve(t, "tcp", testConfig())
	p := connect(t, addr, 6, allSteps)
	if err := p.Conn.(*net.TCPConn).SetNoDelay(false); err != nil {
		t.Fatal(err)
	}
	// Alternate runs without Nagle's algorithm are the measure.
	other := connect(t, addr, 6, allSteps)
	var with, without []time.Duration
	for range 101 {
		with, without = append(with, p.oneMessage()), append(without, other.oneMessage())
	}
	slices.Sort(with)
	slices.Sort(without)
	const middle = 50
	if with[middle] > 10*without[middle] {
		t.Errorf("a message takes %v with Nagle's algorithm and %v without", with[middle], without[middle])
	}
}

// oneMessage returns how long an ordinary message takes.
func (p *peer) oneMessage() time.Duration {
	start := time.Now()
	p.mail()
	p.expect(milter.ActContinue)
	p.header("From: ann@example.net", "Subject: lunch")
	p.send(milter.CodeEOH, "")
	p.expect(milter.ActAccept)
	return time.Since(start)
}
