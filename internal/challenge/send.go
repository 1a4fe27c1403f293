package challenge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// smtpTimeout bounds a whole submission: the mail server that hands us the
// challenge waits meanwhile.
const smtpTimeout = 15 * time.Second

// quitTimeout is how long a server may take to say good-bye.
const quitTimeout = time.Second

// Envelope is who a reply is from and to.
type Envelope struct {
	From, To string
}

// SendError tells how a submission failed.
type SendError struct {
	Permanent bool // the server refused it for good
	InDoubt   bool // the final dot was sent and no answer came: perhaps it was taken
	Err       error
}

func (e *SendError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *SendError) Unwrap() error { return e.Err }

// Send submits a message. It calls beforeDot when all but the final dot is ready
// to go, and stops if that fails. Every error is a *SendError.
func (s *Server) Send(ctx context.Context, env Envelope, raw []byte, beforeDot func() error) error {
	ctx, cancel := context.WithTimeout(ctx, smtpTimeout)
	defer cancel()
	c, err := s.connect(ctx)
	if err != nil {
		return classify(err)
	}
	defer c.Close()
	if err := s.transact(c, env, raw, beforeDot); err != nil {
		return classify(err)
	}
	// The message is taken; what comes after does not matter.
	c.CommandTimeout = quitTimeout
	_ = c.Quit()
	return nil
}

func (s *Server) transact(c *smtp.Client, env Envelope, raw []byte, beforeDot func() error) error {
	if err := s.authenticate(c); err != nil {
		return err
	}
	utf8 := !isASCII(env.From) || !isASCII(env.To)
	if ok, _ := c.Extension("SMTPUTF8"); utf8 && !ok {
		return &SendError{Permanent: true, Err: errors.New("the SMTP server does not take internationalised addresses (SMTPUTF8)")}
	}
	if err := c.Mail(env.From, &smtp.MailOptions{UTF8: utf8}); err != nil {
		return err
	}
	if err := c.Rcpt(env.To, nil); err != nil {
		return err
	}
	data, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := data.Write(raw); err != nil {
		return err
	}
	if err := beforeDot(); err != nil {
		return err
	}
	return afterDot(data.Close())
}

// afterDot marks an error as one after which nobody knows, unless the server said
// what it did.
func afterDot(err error) error {
	if err == nil || serverSaid(err) != nil {
		return err
	}
	return &SendError{InDoubt: true, Err: err}
}

// serverSaid returns the answer of the server in an error, nil if there is none.
// In LMTP each recipient has an answer of its own, and we have one recipient.
func serverSaid(err error) *smtp.SMTPError {
	var lmtp smtp.LMTPDataError
	if errors.As(err, &lmtp) {
		for _, answer := range lmtp {
			return answer
		}
	}
	var answer *smtp.SMTPError
	if errors.As(err, &answer) {
		return answer
	}
	return nil
}

// classify makes a SendError of what went wrong. Only an answer of the server
// with a 5xx code is permanent.
func classify(err error) error {
	if own := (*SendError)(nil); errors.As(err, &own) {
		return own
	}
	if answer := serverSaid(err); answer != nil {
		return &SendError{Permanent: answer.Code >= 500, Err: errors.New(said(answer))}
	}
	return &SendError{Err: err}
}

// said writes an answer as the server did; the library takes the enhanced code
// (RFC 2034) out of the text.
func said(answer *smtp.SMTPError) string {
	code := fmt.Sprint(answer.Code)
	if e := answer.EnhancedCode; e[0] > 0 {
		code += fmt.Sprintf(" %d.%d.%d", e[0], e[1], e[2])
	}
	return code + " " + printable(answer.Message)
}

// connect opens a connection that ends with the context, says EHLO and secures it.
func (s *Server) connect(ctx context.Context) (*smtp.Client, error) {
	switch s.security {
	case localSocket:
		conn, err := dial(ctx, "unix", s.addr)
		if err != nil {
			return nil, err
		}
		return hello(ctx, smtp.NewClientLMTP(conn))
	case implicitTLS:
		conf, err := s.checked()
		if err != nil {
			return nil, err
		}
		conn, err := dial(ctx, "tcp", s.addr)
		if err != nil {
			return nil, err
		}
		return hello(ctx, smtp.NewClient(tls.Client(conn, conf)))
	case startTLS:
		conf, err := s.checked()
		if err != nil {
			return nil, err
		}
		return s.startTLS(ctx, conf)
	}
	return s.opportunistic(ctx)
}

// opportunistic uses STARTTLS where it is offered. The library offers no way to
// start TLS on a connection that has said EHLO, so that takes a second one. If TLS
// fails there, clear text is what the admin asked for.
func (s *Server) opportunistic(ctx context.Context) (*smtp.Client, error) {
	plain, err := s.plain(ctx)
	if err != nil {
		return nil, err
	}
	if ok, _ := plain.Extension("STARTTLS"); !ok {
		return plain, nil
	}
	// Nobody is authenticated here: TLS only keeps passive listeners out.
	secured, err := s.startTLS(ctx, &tls.Config{ServerName: s.host, InsecureSkipVerify: true})
	if err != nil {
		return plain, nil
	}
	plain.Quit()
	return secured, nil
}

func (s *Server) plain(ctx context.Context) (*smtp.Client, error) {
	conn, err := dial(ctx, "tcp", s.addr)
	if err != nil {
		return nil, err
	}
	return hello(ctx, smtp.NewClient(conn))
}

func (s *Server) startTLS(ctx context.Context, conf *tls.Config) (*smtp.Client, error) {
	conn, err := dial(ctx, "tcp", s.addr)
	if err != nil {
		return nil, err
	}
	c, err := smtp.NewClientStartTLS(conn, conf)
	if err != nil {
		return nil, err
	}
	return hello(ctx, c)
}

// checked returns the TLS settings of servers whose certificate counts.
func (s *Server) checked() (*tls.Config, error) {
	conf := &tls.Config{ServerName: s.host}
	if s.CAFile == "" {
		return conf, nil
	}
	pem, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, err
	}
	conf.RootCAs = x509.NewCertPool()
	if !conf.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", s.CAFile)
	}
	return conf, nil
}

// dial connects, and ends the connection with the context: the library knows none.
func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	return conn, nil
}

func hello(ctx context.Context, c *smtp.Client) (*smtp.Client, error) {
	if deadline, ok := ctx.Deadline(); ok {
		c.CommandTimeout = time.Until(deadline)
		c.SubmissionTimeout = c.CommandTimeout
	}
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "localhost"
	}
	if err := c.Hello(name); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// authenticate logs in if the URL names a user. Check has made sure that the
// password is not sent in clear text over a network.
func (s *Server) authenticate(c *smtp.Client) error {
	switch {
	case s.user == "":
		return nil
	case c.SupportsAuth(sasl.Plain):
		return c.Auth(sasl.NewPlainClient("", s.user, s.Password))
	case c.SupportsAuth(sasl.Login):
		return c.Auth(sasl.NewLoginClient(s.user, s.Password))
	}
	return &SendError{Permanent: true, Err: fmt.Errorf("%s offers no login with PLAIN or LOGIN", s.host)}
}
