package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"net/url"
	"strings"
	"time"

	"postseal/state"
)

// checkSMTP goes as far with the SMTP server as with a reply, and sends nothing.
func (c *checker) checkSMTP(ctx context.Context, r *report) {
	to, err := c.parseSMTP()
	if err != nil {
		r.fail("for example: --smtp smtp://localhost:25", "--smtp: %v", err)
		return
	}
	s, err := c.connect(ctx, to)
	if err != nil {
		r.fail(smtpHint(err), "%s: %v", c.SMTP, server(err))
		return
	}
	defer s.quit()
	r.ok("%s: connected, %s, %s", c.SMTP, s.security(to), s.international())
	if len(c.Emails) == 0 {
		r.skip("no address is known (-e ADDR): whether it takes replies from there, and mail to there, was not asked")
		return
	}
	recipient, known := c.recipient()
	for _, addr := range c.Emails {
		c.tryEnvelope(r, s, addr, recipient, known)
		tryMailbox(r, s, to, addr)
	}
}

// tryMailbox asks whether a challenge to an address would be taken, with the sender of a
// notification, which nobody may refuse (RFC 5321, Section 6.1). A server for submission
// takes mail to everywhere, and is not asked.
func tryMailbox(r *report, s *session, to submission, addr string) {
	if to.kind != "smtp" && to.kind != "lmtp+unix" {
		r.skip("whether mail to %s is taken was not asked: %s is for what goes out", addr, to.host)
		return
	}
	step, err := s.envelope("", addr)
	var answer *textproto.Error
	switch {
	case err == nil:
		r.ok("it takes mail to %s", addr)
	case step == "RCPT" && errors.As(err, &answer) && answer.Code >= 500:
		r.fail("make the mailbox or alias first; if another server has it, that is the one which needs postseal",
			"it rejects mail to %s, so no challenge can come: %v", addr, server(err))
	default:
		r.skip("whether it takes mail to %s is not known: %v", addr, server(err))
	}
	s.command(250, "RSET")
}

func (s *session) security(to submission) string {
	switch {
	case to.kind == "lmtp+unix":
		return "a local socket"
	case s.secured && to.kind == "smtp":
		return "TLS, whatever the certificate"
	case s.secured:
		return "TLS"
	}
	return "no TLS"
}

func (s *session) international() string {
	if s.offers("SMTPUTF8") {
		return "SMTPUTF8"
	}
	return "no SMTPUTF8: only for ASCII addresses"
}

// recipient returns who would get a reply: where a challenge is waited for, the CA's
// address. Otherwise only the CA's host is known, and known is false.
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
	if ip := net.ParseIP(host); ip != nil && ip.To4() != nil {
		host = "[" + host + "]" // RFC 5321, Section 4.1.3
	} else if ip != nil {
		host = "[IPv6:" + host + "]"
	}
	return "postmaster@" + host, false
}

// tryEnvelope asks whether the server would take a reply.
func (c *checker) tryEnvelope(r *report, s *session, from, to string, known bool) {
	step, err := s.envelope(from, to)
	var answer *textproto.Error
	permanent := errors.As(err, &answer) && answer.Code >= 500
	const hint = "the server must take mail of this machine from this sender to everybody: mynetworks, or a login in --smtp"
	switch {
	case err == nil:
		r.ok("it takes mail from %s to %s", from, to)
	case step == "RCPT" && !known && !permanent:
		r.warn("", "the CA's own address is not known before an order; mail from %s to %s would have to wait: %v", from, to, server(err))
	case step == "RCPT" && permanent:
		r.fail(hint, "it does not take mail from %s to %s: %v", from, to, server(err))
	default:
		r.fail(hint, "it does not take mail from %s: %v", from, server(err))
	}
	s.command(250, "RSET") // the next command shows whether the connection is gone
}

// smtpHint says what to do about a connection that failed.
func smtpHint(err error) string {
	var op *net.OpError
	switch {
	case strings.Contains(err.Error(), "certificate"):
		return "give the root of the server's certificate with --smtp-ca FILE"
	case strings.Contains(err.Error(), "password"), strings.Contains(err.Error(), "login"):
		return "see --smtp-password-file"
	case errors.As(err, &op):
		return "start the mail server, or give another one with --smtp"
	}
	return "the mail server's log says more"
}

// server writes an error in the server's own words, or the cause without the
// address, in one line.
func server(err error) error {
	var answer *textproto.Error
	var op *net.OpError
	switch {
	case errors.As(err, &answer):
		what, _, _ := strings.Cut(err.Error(), answer.Error())
		return fmt.Errorf("%s%d %s", what, answer.Code, strings.ReplaceAll(answer.Msg, "\n", " "))
	case errors.As(err, &op):
		return root(err)
	case errors.Is(err, net.ErrClosed):
		return fmt.Errorf("no answer within %s", oneCheck.Round(time.Second))
	}
	return silence(err)
}
