package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/emersion/go-milter"

	"postseal/internal/failure"
)

// probeLimit bounds a probe.
const probeLimit = 5 * time.Second

// opened is an open connection for the library's client, which would otherwise make its own.
type opened struct{ net.Conn }

func (o opened) Dial(string, string) (net.Conn, error) { return o.Conn, nil }

// probe asks the milter at --listen whether it answers, as a mail server does: it shows an
// ordinary message up to MAIL. A milter that only listens is not alive.
func (f *flags) probe(ctx context.Context) error {
	if f.Listen == "" {
		return failure.Usage(listenExample, "--listen is missing")
	}
	network, addr, err := parseListen(f.Listen)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return failure.Failed("start postseal-milter with the same --listen", "nobody answers at %s: %v", addr, cause(err))
	}
	defer conn.Close()
	context.AfterFunc(ctx, func() { conn.Close() })
	session, err := milter.NewClientWithOptions("", "", milter.ClientOptions{
		Dialer: opened{conn}, ReadTimeout: probeLimit, WriteTimeout: probeLimit,
		ActionMask: milter.OptAction(0x1ff), ProtocolMask: milter.OptProtocol(0x1fffff), // as Postfix
	}).Session()
	if err == nil {
		err = showMail(session)
	}
	if err != nil {
		return failure.Failed("is postseal-milter what listens there? its log says more", "%s does not answer a mail server: %v", addr, silence(err))
	}
	return session.Close()
}

// showMail goes as far as MAIL, or to an earlier reply that ends the message.
func showMail(s *milter.ClientSession) error {
	answer, err := s.Conn("localhost", milter.FamilyInet, 25, "127.0.0.1")
	if err == nil && answer.Code == milter.ActContinue {
		answer, err = s.Helo("localhost")
	}
	if err == nil && answer.Code == milter.ActContinue {
		answer, err = s.Mail("probe@localhost", nil)
	}
	if err == nil && answer.Code != milter.ActContinue && answer.Code != milter.ActAccept {
		err = errors.New("it does not accept ordinary mail")
	}
	return err
}

// silence explains the end of a connection.
func silence(err error) error {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, end) {
			return errors.New("it closed the connection")
		}
	}
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("it says nothing")
	}
	return err
}
