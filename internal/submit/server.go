// Package submit hands one message to a mail server, over SMTP (RFC 5321) or LMTP
// (RFC 2033), and says what became of it.
//
// It is a client of our own on net/textproto because go-smtp's decides what matters
// here out of reach: it compares the keywords of EHLO with case, also within TLS,
// where no connection of ours could correct them; it cannot start TLS on a
// connection that has said EHLO; it takes any number of lines from a server; and
// it does not say which command failed, on which the verdict depends.
package submit

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"postseal/internal/hostport"
)

// security says how a connection to the SMTP server is protected.
type security int

const (
	opportunistic security = iota // STARTTLS where it is offered, whatever the certificate
	startTLS                      // STARTTLS required, certificate checked
	implicitTLS                   // TLS from the first byte, certificate checked
	localSocket                   // LMTP over a unix socket
)

// Server is the SMTP server that takes our messages.
type Server struct {
	security security
	host     string
	addr     string // HOST:PORT, or the path of a socket
	user     string
	Password string
	CAFile   string        // PEM roots for checked certificates; "" means the system's
	Name     func() string // what EHLO says; nil or "" means our address (RFC 5321, 4.1.3)
}

var schemes = map[string]struct {
	security security
	port     string
}{
	"smtp":          {opportunistic, "25"},
	"smtp+starttls": {startTLS, "587"},
	"smtps":         {implicitTLS, "465"},
}

// ErrPassword is why a value of --smtp with a password is refused.
var ErrPassword = errors.New("holds a password, and command lines are public")

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
	if failed := (*url.Error)(nil); errors.As(err, &failed) && strings.Contains(s, "@") {
		return nil, fmt.Errorf("not a URL: %w", failed.Err) // there may be a password in it
	}
	if err != nil {
		return nil, fmt.Errorf("%q is not a URL", s)
	}
	scheme, ok := schemes[u.Scheme]
	if !ok {
		return nil, fmt.Errorf("%q is not lmtp+unix:PATH, smtp://HOST, smtp+starttls://HOST or smtps://HOST", u.Redacted())
	}
	if _, has := u.User.Password(); has {
		return nil, fmt.Errorf("%q %w", u.Redacted(), ErrPassword)
	}
	if u.Host == "" || u.RawQuery != "" || u.Fragment != "" || (u.Path != "" && u.Path != "/") {
		return nil, fmt.Errorf("%q is not %s://HOST:PORT", s, u.Scheme)
	}
	addr := u.Host
	if u.Port() == "" && !strings.HasSuffix(addr, ":") {
		addr += ":" + scheme.port
	}
	if addr, err = hostport.Dial(addr); err != nil {
		return nil, err
	}
	return &Server{security: scheme.security, host: u.Hostname(), user: u.User.Username(), addr: addr}, nil
}

// Target returns where the server is, HOST:PORT or the path of a socket, the host that
// its certificate must name, and the user, "" for none.
func (s *Server) Target() (addr, host, user string) { return s.addr, s.host, s.user }

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
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// tlsConfig returns the TLS settings. The certificate counts where the URL asks for
// TLS; where TLS is only offered nobody is authenticated, and it keeps passive
// listeners out.
func (s *Server) tlsConfig() (*tls.Config, error) {
	conf := &tls.Config{ServerName: s.host, InsecureSkipVerify: s.security == opportunistic}
	if s.CAFile == "" || conf.InsecureSkipVerify {
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
