package mailhost

import (
	"bytes"
	"errors"
	"net"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-smtp"

	"postseal/internal/challenge"
)

const (
	relayConnect = 5 * time.Second
	relayAnswer  = time.Minute
)

// relay passes a message on for recipients in other domains. The error is what
// our own client is to be told.
func (h *Host) relay(e envelope, to []string, msg []byte) error {
	if len(to) == 0 {
		return nil
	}
	event := Event{Kind: Relayed, From: e.from, To: strings.Join(to, " "), Subject: subject(msg)}
	msg, signed, err := h.sign(msg)
	if err == nil {
		err = h.submit(e, to, msg)
	}
	event.Signed = signed
	if err != nil {
		event.Kind, event.Reason = Returned, err.Error()
	}
	h.event(event)
	return asReply(err)
}

// asReply makes of an error the reply of our SMTP server: the relay's own words,
// else "later".
func asReply(err error) error {
	var refused *smtp.SMTPError
	if err == nil || errors.As(err, &refused) {
		return err
	}
	return reply(451, smtp.EnhancedCode{4, 4, 1}, "the relay cannot be reached: "+err.Error())
}

// sign puts a DKIM signature on what our own users send.
func (h *Host) sign(msg []byte) (_ []byte, signed bool, err error) {
	if h.config.DKIMKey == nil || !h.isLocal(author(msg)) {
		return msg, false, nil
	}
	var out bytes.Buffer
	err = dkim.Sign(&out, bytes.NewReader(msg), &dkim.SignOptions{
		Domain:                 h.config.Domain,
		Selector:               h.config.Selector,
		Signer:                 h.config.DKIMKey,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed,
		BodyCanonicalization:   dkim.CanonicalizationRelaxed,
		HeaderKeys:             slices.Clone(challenge.ReplyFields),
	})
	return out.Bytes(), err == nil, err
}

// author returns the address in From, or "".
func author(msg []byte) string {
	from, err := mail.ParseAddress(headerValue(msg, "From"))
	if err != nil {
		return ""
	}
	return from.Address
}

// submit hands a message to the relay.
func (h *Host) submit(e envelope, to []string, msg []byte) error {
	conn, err := net.DialTimeout("tcp", h.config.Relay, relayConnect)
	if err != nil {
		return err
	}
	client := smtp.NewClient(conn)
	defer client.Close()
	client.CommandTimeout, client.SubmissionTimeout = relayAnswer, relayAnswer
	if err := client.Hello("mail." + h.config.Domain); err != nil {
		return err
	}
	if err := client.Mail(e.from, &smtp.MailOptions{UTF8: e.utf8}); err != nil {
		return err
	}
	for _, rcpt := range to {
		if err := client.Rcpt(rcpt, nil); err != nil {
			return err
		}
	}
	w, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(msg); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	client.Quit() // the message is theirs already
	return nil
}
