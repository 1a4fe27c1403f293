package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"strings"

	"postseal/internal/submit"
)

// submission is where replies go, as --smtp says.
type submission struct {
	kind string // scheme of the URL; "lmtp+unix" for a socket
	host string
	addr string // HOST:PORT, or the path of a socket
	user string

	hello func(net.Addr) string // what EHLO says on a connection
}

// parseSMTP reads --smtp as the mail half does.
func (c *checker) parseSMTP() (submission, error) {
	server, err := submit.ParseServer(c.SMTP)
	if err != nil {
		return submission{}, err
	}
	server.Name = submit.HostName()
	if c.Helo != "" {
		server.Name = func() string { return c.Helo }
	}
	to := submission{hello: server.Hello}
	to.kind, _, _ = strings.Cut(strings.ToLower(c.SMTP), ":")
	to.addr, to.host, to.user = server.Target()
	return to, nil
}

// session is a connection to the SMTP server.
type session struct {
	text       *textproto.Conn
	name       string // what EHLO says
	extensions map[string]string
	secured    bool
}

// connect opens a connection that ends with the context, as the mail half does: TLS
// as the URL asks, certificate checked where TLS is required, login if there is a
// user.
func (c *checker) connect(ctx context.Context, to submission) (*session, error) {
	conn, conf, err := c.dialSMTP(ctx, to)
	if err != nil {
		return nil, err
	}
	s := &session{text: textproto.NewConn(conn), name: to.hello(conn.LocalAddr()), secured: to.kind == "smtps"}
	if _, _, err := s.text.ReadResponse(220); err != nil {
		return nil, fmt.Errorf("greeting: %w", err)
	}
	if err := s.hello(to); err != nil {
		return nil, err
	}
	if err := s.startTLS(conn, to, conf); err != nil {
		return nil, err
	}
	return s, s.login(to, c.SMTPPassword)
}

func (c *checker) dialSMTP(ctx context.Context, to submission) (net.Conn, *tls.Config, error) {
	conf := &tls.Config{ServerName: to.host, InsecureSkipVerify: to.kind == "smtp"}
	if c.SMTPCA != "" {
		pem, err := os.ReadFile(c.SMTPCA)
		if err != nil {
			return nil, nil, fmt.Errorf("--smtp-ca: %w", err)
		}
		if conf.RootCAs = x509.NewCertPool(); !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, nil, fmt.Errorf("--smtp-ca: %q holds no certificate", c.SMTPCA)
		}
	}
	network := "tcp"
	if to.kind == "lmtp+unix" {
		network = "unix"
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, to.addr)
	if err != nil {
		return nil, nil, err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	if to.kind == "smtps" {
		conn = tls.Client(conn, conf)
	}
	return conn, conf, nil
}

// command sends a line and wants a code; 25 means any 25x.
func (s *session) command(want int, format string, args ...any) (string, error) {
	id, err := s.text.Cmd(format, args...)
	if err != nil {
		return "", err
	}
	s.text.StartResponse(id)
	defer s.text.EndResponse(id)
	_, text, err := s.text.ReadResponse(want)
	return text, err
}

func (s *session) hello(to submission) error {
	word := "EHLO"
	if to.kind == "lmtp+unix" {
		word = "LHLO"
	}
	text, err := s.command(250, "%s %s", word, s.name)
	if err != nil {
		return fmt.Errorf("%s: %w", word, err)
	}
	s.extensions = map[string]string{}
	for _, line := range strings.Split(text, "\n")[1:] {
		name, args, _ := strings.Cut(line, " ")
		s.extensions[strings.ToUpper(name)] = args
	}
	return nil
}

func (s *session) offers(extension string) bool {
	_, ok := s.extensions[extension]
	return ok
}

// startTLS secures the connection where that is required or offered.
func (s *session) startTLS(conn net.Conn, to submission, conf *tls.Config) error {
	if to.kind == "smtp+starttls" && !s.offers("STARTTLS") {
		return errors.New("it does not offer STARTTLS, which smtp+starttls:// requires")
	}
	if s.secured || to.kind == "lmtp+unix" || !s.offers("STARTTLS") {
		return nil
	}
	if _, err := s.command(220, "STARTTLS"); err != nil {
		return fmt.Errorf("STARTTLS: %w", err)
	}
	secured := tls.Client(conn, conf)
	if err := secured.Handshake(); err != nil {
		return fmt.Errorf("STARTTLS: %w", err)
	}
	s.text, s.secured = textproto.NewConn(secured), true
	return s.hello(to)
}

func (s *session) login(to submission, password string) error {
	switch {
	case to.user == "":
		return nil
	case password == "":
		return fmt.Errorf("there is no password for %s", to.user)
	case to.kind == "smtp" && !isLoopback(to.host):
		return errors.New("smtp:// would send the password in clear text; use smtp+starttls:// or smtps://")
	}
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	how := " " + strings.ToUpper(s.extensions["AUTH"]) + " "
	var err error
	switch {
	case strings.Contains(how, " PLAIN "):
		_, err = s.command(235, "AUTH PLAIN %s", encode("\x00"+to.user+"\x00"+password))
	case strings.Contains(how, " LOGIN "):
		if _, err = s.command(334, "AUTH LOGIN"); err == nil {
			if _, err = s.command(334, "%s", encode(to.user)); err == nil {
				_, err = s.command(235, "%s", encode(password))
			}
		}
	default:
		err = errors.New("it offers neither PLAIN nor LOGIN")
	}
	if err != nil {
		return fmt.Errorf("login as %s: %w", to.user, err)
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// envelope says who a message is from and to. SMTPUTF8 is asked for where an
// address needs it (RFC 6531).
func (s *session) envelope(from, to string) (step string, err error) {
	param := ""
	if !isASCII(from + to) {
		if !s.offers("SMTPUTF8") {
			return "MAIL", errors.New("it does not offer SMTPUTF8, which these addresses need")
		}
		param = " SMTPUTF8"
	}
	if _, err := s.command(250, "MAIL FROM:<%s>%s", from, param); err != nil {
		return "MAIL", err
	}
	_, err = s.command(25, "RCPT TO:<%s>", to)
	return "RCPT", err
}

// send submits a message.
func (s *session) send(from, to, message string) error {
	if step, err := s.envelope(from, to); err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	if _, err := s.command(354, "DATA"); err != nil {
		return fmt.Errorf("DATA: %w", err)
	}
	w := s.text.DotWriter()
	if _, err := w.Write([]byte(message)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_, _, err := s.text.ReadResponse(250)
	return err
}

func (s *session) quit() {
	s.command(221, "QUIT") // a server that does not say good-bye does no harm
	s.text.Close()
}

func isASCII(s string) bool {
	for _, b := range []byte(s) {
		if b >= 0x80 {
			return false
		}
	}
	return true
}
