package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	"postseal/internal/failure"
	"postseal/milter"
)

// asked returns the result of the health check against any server.
func asked(t *testing.T, serve func(net.Listener)) error {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go serve(l)
	f := &flags{Listen: fmt.Sprintf("inet:%d@127.0.0.1", l.Addr().(*net.TCPAddr).Port)}
	return f.probe(context.Background())
}

// each serves connections with a function, one after the other.
func each(handle func(net.Conn)) func(net.Listener) {
	return func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handle(c)
			c.Close()
		}
	}
}

// A milter is alive whether or not anybody waits for a challenge, and the health check leaves
// nothing in its log.
func TestProbe(t *testing.T) {
	for _, pending := range []bool{false, true} {
		var log strings.Builder
		server := milter.New(milter.Config{
			Pending: func() (bool, error) { return pending, nil },
			Logger:  slog.New(slog.NewTextHandler(&log, nil)),
		})
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan struct{})
		err := asked(t, func(l net.Listener) { defer close(done); _ = server.Serve(ctx, l) })
		stop()
		<-done
		if err != nil || log.String() != "" {
			t.Errorf("pending %v: %v, log %q", pending, err, &log)
		}
	}
}

// A server that listens but does not speak the protocol is not a working milter.
func TestProbeFails(t *testing.T) {
	for name, c := range map[string]struct {
		serve func(net.Listener)
		want  string
	}{
		"gone":   {func(l net.Listener) { l.Close() }, ""},
		"closes": {each(func(net.Conn) {}), "it closed the connection"},
		"silent": {each(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), "it says nothing"},
		"HTTP":   {each(func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }), "does not answer a mail server"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := asked(t, c.serve)
			if failure.KindOf(err) != failure.KindFailed || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
