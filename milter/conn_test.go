package milter

import (
	"net"
	"testing"
	"time"

	"github.com/emersion/go-milter"
)

// A mail server writes a message's commands in several pieces and, by Nagle's
// algorithm, sends the second only when the first is acknowledged. A kernel left
// alone puts that off by 40 ms.
func TestNoDelayedAcknowledgements(t *testing.T) {
	_, addr := serve(t, "tcp", testConfig())
	p := connect(t, addr, 6, allSteps)
	if err := p.Conn.(*net.TCPConn).SetNoDelay(false); err != nil {
		t.Fatal(err)
	}
	const messages = 100
	start := time.Now()
	for range messages {
		p.mail()
		p.expect(milter.ActContinue)
		p.header("From: ann@example.net", "Subject: lunch")
		p.send(milter.CodeEOH, "")
		p.expect(milter.ActAccept)
	}
	if took := time.Since(start); took > messages*20*time.Millisecond {
		t.Errorf("%d messages took %v", messages, took)
	} else {
		t.Logf("%d messages took %v", messages, took)
	}
}
