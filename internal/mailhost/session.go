package mailhost

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// envelope is what the SMTP client says about a message.
type envelope struct {
	from string
	to   []string
	utf8 bool // SMTPUTF8 was asked for
}

// session is one SMTP connection.
type session struct {
	host *Host
	helo string

	mu       sync.Mutex // Close calls Logout while a message may be on its way
	milter   *milterSession
	envelope envelope
}

func (h *Host) newSession(c *smtp.Conn) (smtp.Session, error) {
	return &session{
		host:   h,
		helo:   c.Hostname(),
		milter: h.newMilterSession(c.Conn().RemoteAddr(), c.Hostname()),
	}, nil
}

func (s *session) Mail(from string, opts *smtp.MailOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.envelope = envelope{from: from, utf8: opts.UTF8}
	return s.milter.mail(from)
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.host.isLocal(to) && s.host.config.Relay == "" {
		return reply(550, smtp.EnhancedCode{5, 1, 2}, "no way to that domain")
	}
	if err := s.milter.rcpt(to); err != nil {
		return err
	}
	s.envelope.to = append(s.envelope.to, to)
	return nil
}

// Data takes the message: the milter first, then the relay, which may refuse,
// then our mailboxes, which never do.
func (s *session) Data(r io.Reader) error {
	msg, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	msg, discard, err := s.milter.message(msg)
	s.report(msg, discard, err)
	if err != nil || discard {
		return err
	}
	local, remote := s.split()
	if err := s.host.relay(s.envelope, remote, msg); err != nil {
		return err
	}
	for _, to := range local {
		s.host.store(to, s.trace(to, msg))
		s.host.event(Event{Kind: Delivered, From: s.envelope.from, To: to, Subject: subject(msg)})
	}
	return nil
}

// report tells what the milter made of a message.
func (s *session) report(msg []byte, discard bool, err error) {
	e := Event{Kind: Accepted, From: s.envelope.from, To: strings.Join(s.envelope.to, " "), Subject: subject(msg)}
	switch {
	case err != nil:
		e.Kind, e.Reason = Refused, err.Error()
	case discard:
		e.Kind = Discarded
	case s.milter.failed != nil:
		e.Kind, e.Reason = Unasked, s.milter.failed.Error()
	}
	s.host.event(e)
}

// split divides the recipients into ours and those of other domains.
func (s *session) split() (local, remote []string) {
	for _, to := range s.envelope.to {
		if s.host.isLocal(to) {
			local = append(local, to)
		} else {
			remote = append(remote, to)
		}
	}
	return local, remote
}

// trace puts on top what final delivery puts there (RFC 5321, Section 4.4).
func (s *session) trace(to string, msg []byte) []byte {
	return append(fmt.Appendf(nil, "Return-Path: <%s>\r\nDelivered-To: %s\r\nReceived: from %s by mail.%s with ESMTP; %s\r\n",
		s.envelope.from, to, s.helo, s.host.config.Domain, time.Now().Format(time.RFC1123Z)), msg...)
}

// Reset forgets the current message.
func (s *session) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.envelope = envelope{}
	s.milter.abort()
}

// Logout ends the connection.
func (s *session) Logout() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.milter.close()
	return nil
}

func reply(code int, enhanced smtp.EnhancedCode, text string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: enhanced, Message: text}
}
