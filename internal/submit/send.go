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

// sendTime bounds a whole submission: the mail server that delivers the challenge waits
// meanwhile.
const sendTime = 15 * time.Second

// Envelope is the sender and recipient of a message.
type Envelope struct {
	From, To string
}

// Send submits a message. It calls beforeDot when only the final dot is left to send, and
// stops if that fails. Every error is an *Error.
func (s *Server) Send(ctx context.Context, env Envelope, raw []byte, beforeDot func() error) error {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	c, err := s.Open(ctx)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	if err := c.transact(env, raw, beforeDot); err != nil {
		return s.verdict(inTime(ctx, err), c.name)
	}
	c.quit()
	return nil
}

// Open connects as Send does, and logs in if the URL names a user; it sends the password in
// clear text only to loopback. The connection ends with the context. Every error is an
// *Error.
func (s *Server) Open(ctx context.Context) (*Session, error) {
	if err := s.checkLogin(); err != nil {
		return nil, &Error{Later, err}
	}
	var name string
	c, err := s.connect(ctx, &name)
	if err != nil {
		return nil, s.verdict(inTime(ctx, err), name)
	}
	if err := c.login(); err != nil {
		c.conn.Close()
		return nil, s.verdict(inTime(ctx, err), name)
	}
	return c, nil
}

// Try asks whether the server would accept a message, and sends none. The error is an *Answer
// if the server gave one.
func (s *Session) Try(env Envelope) error {
	err := s.envelope(env)
	s.command("RSET", 2, "RSET") // the next command shows whether the connection still exists
	return err
}

// inTime replaces "use of closed network connection" by the cause of the closing.
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

func (s *Session) transact(env Envelope, raw []byte, beforeDot func() error) error {
	if err := s.envelope(env); err != nil {
		return err
	}
	if _, err := s.command("DATA", 3, "DATA"); err != nil {
		return err
	}
	return s.data(raw, beforeDot)
}

// envelope sends the sender and recipient. It asks for SMTPUTF8 if an address needs that (RFC
// 6531).
func (s *Session) envelope(env Envelope) error {
	mail := "MAIL FROM:<" + env.From + ">"
	if s.Offers("8BITMIME") {
		mail += " BODY=8BITMIME"
	}
	if !printable.ASCII(env.From) || !printable.ASCII(env.To) {
		if !s.Offers("SMTPUTF8") {
			return &Error{Failed, errors.New("the SMTP server does not offer SMTPUTF8, which these addresses need")}
		}
		mail += " SMTPUTF8"
	}
	if _, err := s.command("MAIL", 2, mail); err != nil {
		return err
	}
	_, err := s.command("RCPT", 2, "RCPT TO:<"+env.To+">")
	return err
}

// data sends the message. Once the final dot is under way, only the server's reply shows what
// happened to it. LMTP sends a reply for each recipient, and we have one.
func (s *Session) data(raw []byte, beforeDot func() error) error {
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
	if a := (*Answer)(nil); err == nil || errors.As(err, &a) && a.Code >= 400 {
		return err
	}
	return &Error{Unknown, err}
}
