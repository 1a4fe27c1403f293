package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"postseal/internal/failure"
	"postseal/internal/hostport"
	"postseal/internal/submit"
	"postseal/state"
)

// smtpServer reads --smtp and its companions as the mail half does.
func (c *checker) smtpServer() (*submit.Server, error) {
	server, err := submit.ParseServer(c.SMTP)
	if err != nil {
		return nil, err
	}
	server.Password, server.CAFile, server.Name = c.SMTPPassword, c.SMTPCA, submit.HostName()
	if c.Helo != "" {
		server.Name = func() string { return c.Helo }
	}
	return server, nil
}

// checkSMTP goes as far with the SMTP server as a reply would, and sends nothing.
func (c *checker) checkSMTP(ctx context.Context, r *report) {
	server, err := c.smtpServer()
	if err != nil {
		r.fail("for example: --smtp smtp://localhost:25", "--smtp: %v", err)
		return
	}
	s, err := server.Open(ctx)
	if err != nil {
		r.fail(smtpHint(err), "%s: %s", c.SMTP, refused(server, err))
		return
	}
	defer s.Close()
	r.ok("%s: connected, %s, %s", c.SMTP, security(server, s), international(s))
	if len(c.Emails) == 0 {
		r.skip("no address is known (-e ADDR): whether it takes replies from there, and mail to there, was not asked")
		return
	}
	recipient, known := c.recipient()
	for _, addr := range c.Emails {
		tryReply(r, s, addr, recipient, known)
		tryMailbox(r, s, server, addr)
	}
}

func security(server *submit.Server, s *submit.Session) string {
	switch {
	case server.Scheme == hostport.LMTP:
		return "a local socket"
	case s.Secured() && server.Scheme == "smtp":
		return "TLS, whatever the certificate"
	case s.Secured():
		return "TLS"
	}
	return "no TLS"
}

func international(s *submit.Session) string {
	if s.Offers("SMTPUTF8") {
		return "SMTPUTF8"
	}
	return "no SMTPUTF8: only for ASCII addresses"
}

// recipient returns the recipient of a reply: the CA's address if a challenge is pending.
// Otherwise only the CA's host is known, and known is false.
func (c *checker) recipient() (addr string, known bool) {
	var records []*state.Pending
	store, err := c.store(nil)
	if err == nil {
		records, err = store.All(c.now())
	}
	for _, p := range records {
		if err == nil && p.Server == c.Server && p.From != "" {
			return p.From, true
		}
	}
	host := c.Server
	if u, err := url.Parse(c.Server); err == nil {
		host = u.Hostname()
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = hostport.Literal(ip)
	}
	return "postmaster@" + host, false
}

// tryReply asks whether the server would accept a reply.
func tryReply(r *report, s *submit.Session, from, to string, known bool) {
	err := s.Try(submit.Envelope{From: from, To: to})
	permanent, atRecipient := false, false
	if answer := (*submit.Answer)(nil); errors.As(err, &answer) {
		permanent, atRecipient = answer.Code >= 500, answer.Step == "RCPT"
	}
	const hint = "the server must take mail of this machine from this sender to everybody: mynetworks, or a login in --smtp"
	switch {
	case err == nil:
		r.ok("it takes mail from %s to %s", from, to)
	case atRecipient && permanent:
		r.fail(hint, "it does not take mail from %s to %s: %s", from, to, words(err))
	case atRecipient && !known:
		r.warn("", "the CA's own address is not known before an order; mail from %s to %s would have to wait: %s", from, to, words(err))
	default:
		r.fail(hint, "it does not take mail from %s: %s", from, words(err))
	}
}

// tryMailbox asks whether the server would accept a challenge to an address, with the sender
// of a notification, which nobody may refuse (RFC 5321, Section 6.1). It does not ask a
// submission server, which accepts mail to everywhere.
func tryMailbox(r *report, s *submit.Session, server *submit.Server, addr string) {
	if server.Scheme != "smtp" && server.Scheme != hostport.LMTP {
		r.skip("whether mail to %s is taken was not asked: %s is for what goes out", addr, server.Host)
		return
	}
	err := s.Try(submit.Envelope{To: addr})
	var answer *submit.Answer
	switch {
	case err == nil:
		r.ok("it takes mail to %s", addr)
	case errors.As(err, &answer) && answer.Step == "RCPT" && answer.Code >= 500:
		r.fail("make the mailbox or alias first; if another server has it, that is the one which needs postseal",
			"it rejects mail to %s, so no challenge can come: %s", addr, words(err))
	default:
		r.skip("whether it takes mail to %s is not known: %s", addr, words(err))
	}
}

// smtpHint returns the next step after a failed connection.
func smtpHint(err error) string {
	var op *net.OpError
	answer := new(submit.Answer)
	switch {
	case strings.Contains(err.Error(), "certificate"):
		return "give the root of the server's certificate with --smtp-ca FILE"
	case errors.As(err, &answer) && answer.Step == "AUTH",
		strings.Contains(err.Error(), "password"), strings.Contains(err.Error(), "login"):
		return "see --smtp-password-file"
	case errors.As(err, &op):
		return "start the mail server, or give another one with --smtp"
	}
	return "the mail server's log says more"
}

// refused names the step in which the server refused something, and quotes its words.
func refused(server *submit.Server, err error) string {
	answer := new(submit.Answer)
	switch {
	case !errors.As(err, &answer):
		return words(err)
	case answer.Step == "AUTH":
		return "login as " + server.User + ": " + words(err)
	}
	return answer.Step + ": " + words(err)
}

// words returns the server's own words in an error, or else the cause without the address.
func words(err error) string {
	answer := new(submit.Answer)
	var op *net.OpError
	switch {
	case errors.As(err, &answer):
		return answer.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, net.ErrClosed):
		return fmt.Sprintf("no answer within %s", oneCheck.Round(time.Second))
	case errors.As(err, &op):
		return failure.Root(err).Error()
	}
	return strings.Replace(silence(err).Error(), "the SMTP server", "it", 1)
}
