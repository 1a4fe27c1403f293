package challenge

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
)

// security says how a connection to the SMTP server is protected.
type security int

const (
	opportunistic security = iota // STARTTLS where it is offered, whatever the certificate
	startTLS                      // STARTTLS required, certificate checked
	implicitTLS                   // TLS from the first byte, certificate checked
	localSocket                   // LMTP over a unix socket
)

// Server is the SMTP server that takes our replies.
type Server struct {
	security security
	host     string
	addr     string // HOST:PORT, or the path of a socket
	user     string
	Password string
	CAFile   string // PEM roots for checked certificates; "" means the system's
}

var schemes = map[string]struct {
	security security
	port     string
}{
	"smtp":          {opportunistic, "25"},
	"smtp+starttls": {startTLS, "587"},
	"smtps":         {implicitTLS, "465"},
}

// ParseServer reads a value of --smtp: smtp://HOST[:25],
// smtp+starttls://[USER@]HOST[:587], smtps://[USER@]HOST[:465] or lmtp+unix:PATH.
// A password does not belong in it.
func ParseServer(s string) (*Server, error) {
	if path, ok := strings.CutPrefix(s, "lmtp+unix:"); ok {
		if path == "" {
			return nil, fmt.Errorf("%q names no socket", s)
		}
		return &Server{security: localSocket, addr: path, host: "localhost"}, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("%q is no URL", s)
	}
	scheme, ok := schemes[u.Scheme]
	if !ok {
		return nil, fmt.Errorf("%q is none of lmtp+unix:PATH, smtp://HOST, smtp+starttls://HOST and smtps://HOST", s)
	}
	if u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || (u.Path != "" && u.Path != "/") {
		return nil, fmt.Errorf("%q is not %s://HOST:PORT", u.Redacted(), u.Scheme)
	}
	if _, has := u.User.Password(); has {
		return nil, fmt.Errorf("%q holds a password, and command lines are public", u.Redacted())
	}
	port := u.Port()
	if port == "" {
		port = scheme.port
	}
	return &Server{
		security: scheme.security, host: u.Hostname(), user: u.User.Username(),
		addr: net.JoinHostPort(u.Hostname(), port),
	}, nil
}

// Check refuses what would send a password in clear text over a network.
func (s *Server) Check() error {
	if s.user != "" && s.security == opportunistic && !isLoopback(s.host) {
		return fmt.Errorf("a password for %s would be sent in clear text; use smtp+starttls:// or smtps://", s.host)
	}
	if s.user != "" && s.Password == "" {
		return fmt.Errorf("there is no password for %s at %s", s.user, s.host)
	}
	if s.CAFile != "" {
		_, err := os.Stat(s.CAFile)
		return err
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
