package submit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"time"

	"postseal/internal/printable"
)

// sendTime bounds a whole submission: the mail server that hands us the challenge
// waits meanwhile.
const sendTime = 15 * time.Second

// Envelope is who a message is from and to.
type Envelope struct {
	From, To string
}

// Send submits a message. It calls beforeDot when all but the final dot is sent, and
// stops if that fails. Every error is an *Error.
func (s *Server) Send(ctx context.Context, env Envelope, raw []byte, beforeDot func() error) error {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	var name string
	c, err := s.connect(ctx, &name)
	if err != nil {
		return s.verdict(inTime(ctx, err), name)
	}
	defer c.conn.Close()
	if err := c.transact(env, raw, beforeDot); err != nil {
		return s.verdict(inTime(ctx, err), name)
	}
	c.quit()
	return nil
}

// inTime says in the place of "use of closed network connection" what closed it.
func inTime(ctx context.Context, err error) error {
	if !errors.Is(err, net.ErrClosed) || ctx.Err() == nil {
		return err
	}
	late := fmt.Errorf("the SMTP server did not answer in time: %w", ctx.Err())
	if own := (*Error)(nil); errors.As(err, &own) {
		return &Error{own.Class, late}
	}
	return late
}

func (s *session) transact(env Envelope, raw []byte, beforeDot func() error) error {
	if err := s.login(); err != nil {
		return err
	}
	mail := "MAIL FROM:<" + env.From + ">"
	if s.offers("8BITMIME") {
		mail += " BODY=8BITMIME"
	}
	if !printable.ASCII(env.From) || !printable.ASCII(env.To) {
		if !s.offers("SMTPUTF8") {
			return &Error{Failed, errors.New("the SMTP server does not take internationalised addresses (SMTPUTF8)")}
		}
		mail += " SMTPUTF8"
	}
	if _, err := s.command("MAIL", 2, mail); err != nil {
		return err
	}
	if _, err := s.command("RCPT", 2, "RCPT TO:<"+env.To+">"); err != nil {
		return err
	}
	if _, err := s.command("DATA", 3, "DATA"); err != nil {
		return err
	}
	return s.data(raw, beforeDot)
}

// data sends the message. With its final dot under way, only an answer of the server
// says what became of it. LMTP has an answer for each recipient, and we have one.
func (s *session) data(raw []byte, beforeDot func() error) error {
	out := textproto.NewWriter(bufio.NewWriter(s.conn))
	dot := out.DotWriter()
	if _, err := dot.Write(raw); err != nil {
		return err
	}
	if err := out.W.Flush(); err != nil {
		return err
	}
	if err := beforeDot(); err != nil {
		return err
	}
	err := dot.Close()
	if err == nil {
		_, err = s.reply(".", 2)
	}
	if a := (*answer)(nil); err == nil || errors.As(err, &a) && a.code >= 400 {
		return err
	}
	return &Error{Unknown, err}
}
