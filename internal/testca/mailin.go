package testca

import (
	"io"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
)

// Reply is a mail that came in over SMTP, and what was made of it.
type Reply struct {
	From    string   // the envelope's sender
	To      []string // and its recipients
	Data    []byte   // byte for byte as received
	Verdict Verdict
	Reason  string // of a bad verdict
}

// Replies returns all mail received so far, in the order it was judged.
func (ca *CA) Replies() []Reply {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return append([]Reply(nil), ca.replies...)
}

const maxReply = 1 << 20

func (ca *CA) newSMTPServer() *smtp.Server {
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return &session{ca: ca}, nil
	}))
	s.Domain = asciiDomain(ca.cfg.Domain)
	s.EnableSMTPUTF8 = true
	s.MaxMessageBytes = maxReply
	s.MaxRecipients = 100
	s.ReadTimeout, s.WriteTimeout = time.Minute, time.Minute
	s.ErrorLog = nowhere{}
	return s
}

// nowhere is the log of servers that are meant to see broken clients.
type nowhere struct{}

func (nowhere) Printf(string, ...any)       {}
func (nowhere) Println(...any)              {}
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

// session is one SMTP connection.
type session struct {
	ca   *CA
	mail Reply
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.mail = Reply{From: from}
	return nil
}

// Rcpt accepts the CA's own addresses.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	_, domain, _ := splitAddress(to)
	if asciiDomain(domain) != asciiDomain(s.ca.cfg.Domain) && !strings.EqualFold(to, s.ca.cfg.ReplyTo) {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such mailbox at this test CA"}
	}
	s.mail.To = append(s.mail.To, to)
	return nil
}

// Data judges the reply before it says 250, so that a client that heard the
// 250 finds the outcome at the ACME server.
func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if s.ca.refuseMail() {
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "Try again later"}
	}
	s.mail.Data = raw
	if v := s.ca.receive(s.mail); v.kind == VerdictLater {
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 5}, Message: v.reason}
	}
	return nil
}

func (s *session) Reset()        { s.mail = Reply{} }
func (s *session) Logout() error { return nil }

func (ca *CA) refuseMail() bool {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if ca.refusals == 0 {
		return false
	}
	ca.refusals--
	return true
}

// receive judges a reply and tells its authorization.
func (ca *CA) receive(r Reply) verdict {
	v, a := ca.judge(r)
	ca.mu.Lock()
	var events []Event
	if a != nil && v.kind != VerdictLater {
		v, events = ca.enter(a, v)
	}
	r.Verdict, r.Reason = v.kind, v.reason
	ca.replies = append(ca.replies, r)
	ca.mu.Unlock()
	e := Event{Kind: EventReply, From: r.From, To: strings.Join(r.To, ", "), Verdict: v.kind, Reason: v.reason}
	if a != nil {
		e.URL, e.Subject = ca.url(kindAuthz, a.id), "ACME: "+a.part1
	}
	afterwards{events: append([]Event{e}, events...)}.run(ca)
	return v
}

// enter gives a verdict to its authorization, if that still waits for one.
// CA.mu is held.
func (ca *CA) enter(a *authz, v verdict) (verdict, []Event) {
	if a.state() != statusPending || a.reply != nil {
		return verdict{VerdictDuplicate, "the challenge was answered before"}, nil
	}
	if ca.cfg.Serial && ca.lostToAnother(a) {
		v.reason = "it was read while the reply to another challenge was looked for, and is lost"
		return v, nil
	}
	a.reply = &v
	ca.unread[a] = struct{}{}
	return v, ca.settle(a)
}

// lostToAnother reports whether the CA is looking for another challenge's
// reply at the moment. CA.mu is held.
func (ca *CA) lostToAnother(a *authz) bool {
	_, own := ca.waiting[a]
	return len(ca.waiting) > 1 || len(ca.waiting) == 1 && !own
}
