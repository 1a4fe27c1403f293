package submit

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"postseal/internal/hostport"
)

// Bounds of a server's replies, in bytes: on one connection, and of a refusal in an error,
// which people read in the log.
const (
	maxReplies = 64 << 10
	maxText    = 1 << 10
)

// Session is a connection to the server.
type Session struct {
	server     *Server
	conn       net.Conn
	in         *textproto.Reader
	buffered   *bufio.Reader // of in
	name       string        // the name in EHLO
	secured    bool
	extensions map[string][]string // by keyword in capitals
}

// Secured reports whether the connection has TLS.
func (s *Session) Secured() bool { return s.secured }

func (s *Session) use(conn net.Conn) {
	s.conn = conn
	s.buffered = bufio.NewReader(io.LimitReader(conn, maxReplies))
	s.in = textproto.NewReader(s.buffered)
}

// connect opens a connection that ends with the context, says EHLO and starts TLS.
func (s *Server) connect(ctx context.Context, name *string) (*Session, error) {
	conf, err := s.tlsConfig()
	if err != nil {
		return nil, err
	}
	c, err := s.dial(ctx, conf)
	if err != nil {
		return nil, err
	}
	*name = c.name
	if err = c.open(); err == nil {
		err = c.startTLS(ctx, conf)
	}
	if broken := (*tlsError)(nil); errors.As(err, &broken) && s.Scheme == opportunistic {
		// The admin chose clear text, and TLS has failed on this connection.
		c.conn.Close()
		if c, err = s.dial(ctx, conf); err == nil {
			err = c.open()
		}
	}
	if err != nil {
		if c != nil {
			c.conn.Close()
		}
		return nil, err
	}
	return c, nil
}

func (s *Server) dial(ctx context.Context, conf *tls.Config) (*Session, error) {
	network := "tcp"
	if s.Scheme == hostport.LMTP {
		network = "unix"
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, s.Addr)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	c := &Session{server: s, name: s.hello(conn.LocalAddr())}
	if s.Scheme == "smtps" {
		conn, c.secured = tls.Client(conn, conf), true
	}
	c.use(conn)
	return c, nil
}

// open reads the greeting and says EHLO.
func (s *Session) open() error {
	if _, err := s.reply("greeting", 2); err != nil {
		return err
	}
	return s.hello()
}

// hello says EHLO, or HELO if the server does not know EHLO (RFC 5321, Section 3.2).
func (s *Session) hello() error {
	s.extensions = map[string][]string{}
	word := "EHLO"
	if s.server.Scheme == hostport.LMTP {
		word = "LHLO"
	}
	lines, err := s.command(word, 2, word+" "+s.name)
	if a := (*Answer)(nil); word == "EHLO" && errors.As(err, &a) && (a.Code == 500 || a.Code == 502) {
		_, err = s.command("HELO", 2, "HELO "+s.name)
		return err
	}
	if err != nil {
		return err
	}
	// Keywords may have any case and order, and repeat (RFC 5321, Section 2.4); servers
	// wrote "AUTH=LOGIN" before RFC 2554.
	for _, line := range lines[1:] {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		keyword, first, old := strings.Cut(strings.ToUpper(fields[0]), "=")
		if old && first != "" {
			fields = append(fields, first)
		}
		s.extensions[keyword] = append(s.extensions[keyword], fields[1:]...)
	}
	return nil
}

// Offers reports whether the server has an extension, by its keyword in capitals.
func (s *Session) Offers(keyword string) bool {
	_, ok := s.extensions[keyword]
	return ok
}

// tlsError is a failed handshake: nothing can follow it.
type tlsError struct{ error }

// startTLS starts TLS if it is required or offered.
func (s *Session) startTLS(ctx context.Context, conf *tls.Config) error {
	required := s.server.Scheme == "smtp+starttls"
	switch {
	case s.secured || s.server.Scheme == hostport.LMTP:
		return nil
	case !s.Offers("STARTTLS") && required:
		return errors.New("the SMTP server does not offer STARTTLS, which smtp+starttls:// requires")
	case !s.Offers("STARTTLS"):
		return nil
	}
	if _, err := s.command("STARTTLS", 2, "STARTTLS"); err != nil {
		if a := (*Answer)(nil); errors.As(err, &a) && !required {
			return nil
		}
		return err
	}
	if s.buffered.Buffered() > 0 { // a stranger sent it before TLS began
		return &tlsError{errors.New("the SMTP server goes on in clear text after STARTTLS")}
	}
	conn := tls.Client(s.conn, conf)
	if err := conn.HandshakeContext(ctx); err != nil {
		return &tlsError{err}
	}
	s.use(conn)
	s.secured = true
	return s.hello() // replies before TLS do not count (RFC 3207, Section 4.2)
}

// command sends a line and expects a reply of a class, the first digit of its code.
func (s *Session) command(step string, class int, line string) ([]string, error) {
	if strings.ContainsAny(line, "\r\n") {
		return nil, &Error{Failed, errors.New("a line end within an SMTP command")}
	}
	if _, err := io.WriteString(s.conn, line+"\r\n"); err != nil {
		return nil, err
	}
	return s.reply(step, class)
}

// reply reads the lines of a reply, without their codes. A reply of another class is an
// *Answer error. Only the code of the last line counts, and its text may be missing with its
// space (RFC 5321, Section 4.2), which package textproto refuses.
func (s *Session) reply(step string, class int) (lines []string, err error) {
	for {
		line, err := s.in.ReadLine()
		if err != nil {
			return nil, err
		}
		if len(line) < 3 {
			return nil, fmt.Errorf("%q is not an SMTP reply", line)
		}
		code, err := strconv.ParseUint(line[:3], 10, 16)
		if err != nil || code < 200 || code > 599 || len(line) > 3 && line[3] != ' ' && line[3] != '-' {
			return nil, fmt.Errorf("%q is not an SMTP reply", line)
		}
		lines = append(lines, strings.TrimSpace(line[min(4, len(line)):]))
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if int(code)/100 != class {
			return nil, &Answer{step, int(code), joinTexts(lines)}
		}
		return lines, nil
	}
}

// joinTexts joins several lines into one; each may start with the same enhanced code (RFC
// 2034, Section 4).
func joinTexts(lines []string) string {
	code, _, _ := strings.Cut(lines[0], " ")
	for i := range lines[1:] {
		if strings.Count(code, ".") == 2 {
			lines[i+1] = strings.TrimPrefix(lines[i+1], code+" ")
		}
	}
	text := strings.TrimSpace(strings.Join(lines, " "))
	return strings.ToValidUTF8(text[:min(len(text), maxText)], "")
}

// quitTime bounds the server's reply to QUIT.
const quitTime = time.Second

// Close says QUIT and closes the connection.
func (s *Session) Close() {
	s.quit()
	s.conn.Close()
}

func (s *Session) quit() {
	s.conn.SetDeadline(time.Now().Add(quitTime))
	s.command("QUIT", 2, "QUIT") // the server has the message; later errors do not matter
}
