package testca

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"net"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
)

// challengeMail is one challenge on its way to the mailbox.
type challengeMail struct {
	authz     *authz
	from, to  string
	replyTo   string
	messageID string
	subject   string // as it appears in the header
	part1     string
	date      time.Time
}

const (
	smtpTimeout = 30 * time.Second
	maxBackOff  = 5 * time.Second
	// maxDeliveries bounds the connections to the relay; mail servers
	// limit them for each client.
	maxDeliveries = 16
)

// mailOnce returns the challenge mail of a, the first time it is asked for.
// CA.mu is held.
func (ca *CA) mailOnce(a *authz) []*challengeMail {
	if a.mailed || a.state() != statusPending {
		return nil
	}
	a.mailed = true
	if !ca.cfg.MinimalHeaders {
		a.messageID = "<" + randomAlnum(20) + "@" + ca.cfg.Domain + ">"
	}
	return []*challengeMail{{
		authz: a, from: a.from, to: a.ident.Value, replyTo: ca.cfg.ReplyTo, messageID: a.messageID,
		subject: subjectOf(ca.cfg.SubjectForm, a.part1), part1: a.part1, date: time.Now(),
	}}
}

// subjectOf spells the Subject of RFC 8823, Section 3.1, item 1.
func subjectOf(form SubjectForm, part1 string) string {
	switch form {
	case SubjectFolded:
		half := len(part1) / 2
		return "ACME:\r\n " + part1[:half] + "\r\n " + part1[half:]
	case SubjectEncoded:
		return encodedWords("ACME: " + part1)
	}
	return "ACME: " + part1
}

// encodedWords writes ASCII text in the B encoding of RFC 2047, which package
// mime would not do as there is no need.
func encodedWords(text string) string {
	const chunk = 30 // far from the 75 characters a word may have
	var words []string
	for len(text) > 0 {
		n := min(chunk, len(text))
		words = append(words, "=?us-ascii?B?"+base64.StdEncoding.EncodeToString([]byte(text[:n]))+"?=")
		text = text[n:]
	}
	return strings.Join(words, "\r\n ")
}

// post sends a challenge mail in the background, when its time has come.
func (ca *CA) post(m *challengeMail) {
	ca.background(func() {
		if !ca.pause(ca.cfg.MailDelay) {
			return
		}
		msg, err := ca.composeSigned(m)
		if err != nil {
			ca.mailEvent(EventMailFailed, m, err.Error())
			return
		}
		for range ca.cfg.MailCopies {
			ca.background(func() { ca.deliver(m, msg) })
		}
	})
}

// pause waits for d; false means the CA is being closed.
func (ca *CA) pause(d time.Duration) bool {
	if d <= 0 {
		return ca.ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ca.ctx.Done():
		return false
	}
}

func (ca *CA) mailEvent(kind Kind, m *challengeMail, reason string) {
	ca.journal.emit(Event{
		Kind: kind, URL: ca.url(kindAuthz, m.authz.id), From: m.from, To: m.to,
		Subject: "ACME: " + m.part1, Reason: reason,
	})
}

// deliver hands a mail to the relay, again and again while that is of use.
func (ca *CA) deliver(m *challengeMail, msg []byte) {
	for wait := ca.cfg.MailRetry; ; wait = min(2*wait, maxBackOff) {
		err := ca.attempt(m, msg)
		switch {
		case err == nil:
			ca.mailEvent(EventMailSent, m, "")
			return
		case ca.ctx.Err() != nil:
			return
		case !isTemporary(err) || !ca.stillPending(m.authz):
			ca.mailEvent(EventMailFailed, m, err.Error())
			return
		}
		ca.mailEvent(EventMailRetry, m, err.Error())
		if !ca.pause(wait) {
			return
		}
	}
}

func (ca *CA) stillPending(a *authz) bool {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return a.state() == statusPending
}

func (ca *CA) attempt(m *challengeMail, msg []byte) error {
	select {
	case ca.deliveries <- struct{}{}:
		defer func() { <-ca.deliveries }()
	case <-ca.ctx.Done():
		return ca.ctx.Err()
	}
	if ca.cfg.Deliver != nil {
		return ca.cfg.Deliver(ca.ctx, m.from, m.to, msg)
	}
	return ca.sendSMTP(m, msg)
}

// permanent is a failure that trying again does not cure.
type permanent struct{ error }

func (permanent) Temporary() bool { return false }

// isTemporary asks an error; one that says nothing is trouble with the
// connection, which passes.
func isTemporary(err error) bool {
	var smtpErr *smtp.SMTPError
	if errors.As(err, &smtpErr) {
		return smtpErr.Code/100 == 4
	}
	var asked interface{ Temporary() bool }
	if _, isNet := err.(net.Error); !isNet && errors.As(err, &asked) {
		if _, isNet := asked.(net.Error); !isNet {
			return asked.Temporary()
		}
	}
	return true
}

// sendSMTP speaks to the relay, without TLS: it is on this machine.
func (ca *CA) sendSMTP(m *challengeMail, msg []byte) error {
	relay := ca.relayAddr()
	if relay == "" {
		return errors.New("no relay is set")
	}
	ctx, cancel := context.WithTimeout(ca.ctx, smtpTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", relay)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	c := smtp.NewClient(conn)
	c.CommandTimeout, c.SubmissionTimeout = smtpTimeout, smtpTimeout
	if err := c.Hello(asciiDomain(ca.cfg.Domain)); err != nil {
		return err
	}
	opts := &smtp.MailOptions{UTF8: needsSMTPUTF8(m.from, m.to, m.replyTo)}
	if has, _ := c.Extension("SMTPUTF8"); opts.UTF8 && !has {
		return permanent{fmt.Errorf("%s does not support SMTPUTF8, which %s needs", relay, m.to)}
	}
	if err := transmit(c, m, opts, msg); err != nil {
		return err
	}
	c.Quit() // the mail is gone; what is said now does not matter
	return nil
}

func transmit(c *smtp.Client, m *challengeMail, opts *smtp.MailOptions, msg []byte) error {
	if err := c.Mail(m.from, opts); err != nil {
		return err
	}
	if err := c.Rcpt(m.to, nil); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(msg); err != nil {
		return err
	}
	return w.Close()
}

// composeSigned makes the message as it goes out.
func (ca *CA) composeSigned(m *challengeMail) ([]byte, error) {
	msg, err := ca.compose(m)
	if err != nil {
		return nil, err
	}
	if ca.cfg.EditMail != nil {
		msg = ca.cfg.EditMail(msg)
	}
	if ca.cfg.Sign == SignDKIM || ca.cfg.Sign == SignBad {
		if msg, err = ca.signDKIM(msg); err != nil {
			return nil, err
		}
	}
	if ca.cfg.Sign == SignBad {
		msg = append(msg, "This line came after the signature.\r\n"...)
	}
	if ca.cfg.EditSigned != nil {
		msg = ca.cfg.EditSigned(msg)
	}
	return msg, nil
}

// compose makes the message up to its DKIM signature. Signed with S/MIME, it
// is a multipart whose first part repeats the header.
func (ca *CA) compose(m *challengeMail) ([]byte, error) {
	head := ca.header(m)
	if ca.cfg.Sign == SignSMIME {
		return ca.smime.wrap(ca.cfg.SMIMEForm, m.from, head, challengeText)
	}
	if !ca.cfg.MinimalHeaders {
		head = append(head, field{"MIME-Version", "1.0"}, field{"Content-Type", textPlain},
			field{"Content-Transfer-Encoding", "7bit"})
	}
	return message(head, challengeText), nil
}

const textPlain = `text/plain; charset=us-ascii`

// challengeText is for people (RFC 8823, Section 3.1, item 7).
const challengeText = "This is an automatic message of the postseal demo CA.\r\n" +
	"\r\n" +
	"Somebody asked for an S/MIME certificate for your mail address. If your mail\r\n" +
	"server answers ACME challenges, there is nothing for you to do. If you did not\r\n" +
	"ask for a certificate, ignore this message; none will be issued.\r\n"

// field is a header field; its value has no line break at the end.
type field struct{ name, value string }

// header is Section 3.1 of RFC 8823, items 1 to 5, without the MIME fields.
func (ca *CA) header(m *challengeMail) []field {
	from := m.from
	if ca.cfg.FromName != "" {
		from = mime.QEncoding.Encode("utf-8", ca.cfg.FromName) + " <" + m.from + ">"
	}
	head := []field{{"From", from}, {"To", m.to}, {"Subject", m.subject}}
	if m.replyTo != "" {
		head = append(head, field{"Reply-To", m.replyTo})
	}
	if ca.cfg.MinimalHeaders {
		return head
	}
	return append([]field{
		{"Auto-Submitted", "auto-generated; type=acme"},
		{"Date", m.date.Format(time.RFC1123Z)},
		{"Message-ID", m.messageID},
	}, head...)
}

func message(head []field, body string) []byte {
	var b bytes.Buffer
	for _, f := range head {
		b.WriteString(f.name + ": " + f.value + "\r\n")
	}
	b.WriteString("\r\n" + body)
	return b.Bytes()
}
