package main

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"postseal/internal/check"
)

// Servers that accept a connection and say nothing do not delay a run.
func TestSilence(t *testing.T) {
	t.Parallel()
	l := listen(t)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
		}
	}()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	addr := l.Addr().String()
	var all []check.Finding
	start := time.Now()
	prepare(t.Context(), check.Options{
		State: t.TempDir(), Server: "https://" + addr, SMTP: "smtp://" + addr, Milter: "inet:" + addr,
		Resolver: udp.LocalAddr().String(), Emails: []string{"alice@example.test"},
	}).run(t.Context(), func(f check.Finding) { all = append(all, f) })
	if took := time.Since(start); took > 2*oneCheck {
		t.Errorf("it took %s", took)
	}
	for _, words := range []string{
		"does not speak the milter protocol: it says nothing", "smtp://" + addr + ": ", "does not answer within 6s",
		"CAA of example.test: ", "MX of example.test: ",
	} {
		wantFinding(t, all, check.Failure, words)
	}
}

// A check that hangs where no context helps is left behind.
func TestBounded(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	out := bounded(t.Context(), "test", time.Millisecond, func(context.Context, *report) { <-release })
	wantFinding(t, <-out, check.Failure, "no outcome after 1ms")
}

// The findings appear in the order of the checks, however long each takes.
func TestOrder(t *testing.T) {
	t.Parallel()
	var names []string
	prepare(t.Context(), check.Options{State: t.TempDir(), Server: "https://127.0.0.1:1/", SMTP: "smtp://127.0.0.1:1", PostfixConfig: "/nowhere"}).run(t.Context(), func(f check.Finding) {
		if len(names) == 0 || names[len(names)-1] != f.Check {
			names = append(names, f.Check)
		}
	})
	if got := fmt.Sprint(names); got != "[configuration state postfix milter delivery smtp reply ca dns clock]" {
		t.Error(got)
	}
}
