package mta

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// Send submits a message over SMTP. The error is an *smtp.SMTPError where the
// server refused it.
func (in *Instance) Send(from, to string, msg []byte) error {
	return Send(in.SMTPAddr, from, to, msg)
}

// Send submits a message to the SMTP server at addr.
func Send(addr, from, to string, msg []byte) error {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return err
	}
	client := smtp.NewClient(conn)
	defer client.Close()
	client.CommandTimeout, client.SubmissionTimeout = patience, patience
	if err := client.Hello("client.test"); err != nil {
		return err
	}
	utf8, _ := client.Extension("SMTPUTF8")
	if err := client.Mail(from, &smtp.MailOptions{UTF8: utf8}); err != nil {
		return err
	}
	if err := client.Rcpt(to, nil); err != nil {
		return err
	}
	if err := data(client, msg); err != nil {
		return err
	}
	return client.Quit()
}

func data(client *smtp.Client, msg []byte) error {
	w, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(msg); err != nil {
		return err
	}
	return w.Close()
}

// Received is a message that came to a Sink.
type Received struct {
	From string
	To   []string
	Data []byte // as it came, lines ending in LF
}

// Sink is an SMTP server that keeps what it gets: the rest of the world, as seen
// from a Postfix instance.
type Sink struct {
	Addr string // HOST:PORT

	t        testing.TB
	mu       sync.Mutex
	received []Received
	refuse   error
}

// StartSink starts a Sink that ends with the test.
func StartSink(t testing.TB) *Sink {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sink := &Sink{Addr: l.Addr().String(), t: t}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return &sinkSession{sink: sink}, nil
	}))
	server.Domain = "sink.test"
	server.EnableSMTPUTF8 = true
	server.ReadTimeout, server.WriteTimeout = time.Minute, time.Minute
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		l.Close() // a server that has not begun to serve does not know it
		<-done
	})
	return sink
}

// Refuse makes the sink answer every message with err, an *smtp.SMTPError; nil
// makes it take them again.
func (s *Sink) Refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = err
}

// Received returns what came so far.
func (s *Sink) Received() []Received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Received(nil), s.received...)
}

// Wait waits until n messages have come and returns them.
func (s *Sink) Wait(n int) []Received {
	s.t.Helper()
	WaitFor(s.t, "mail at the sink", func() bool { return len(s.Received()) >= n })
	return s.Received()
}

func (s *Sink) take(r Received) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return s.refuse
	}
	s.received = append(s.received, r)
	return nil
}

type sinkSession struct {
	sink    *Sink
	current Received
}

func (s *sinkSession) Mail(from string, _ *smtp.MailOptions) error {
	s.current = Received{From: from}
	return nil
}

func (s *sinkSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.current.To = append(s.current.To, to)
	return nil
}

func (s *sinkSession) Data(r io.Reader) error {
	msg, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.current.Data = bytes.ReplaceAll(msg, []byte("\r\n"), []byte("\n"))
	return s.sink.take(s.current)
}

func (s *sinkSession) Reset()        { s.current = Received{} }
func (s *sinkSession) Logout() error { return nil }
