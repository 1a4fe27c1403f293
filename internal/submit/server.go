// Package submit hands one message to a mail server, over SMTP (RFC 5321) or LMTP (RFC 2033),
// and returns the result.
//
// It has a client of its own on net/textproto because go-smtp's fails here: it compares the
// keywords of EHLO with case, also within TLS, where no connection of ours could correct
// them; it cannot start TLS on a connection that has said EHLO; it accepts any number of
// lines from a server; and it does not say which command failed, on which the verdict
// depends.
package submit

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"

	"postseal/internal/hostport"
)

// Server is the SMTP server that accepts our messages. Its scheme determines the protection
// of a connection:
//
//	smtp            STARTTLS where it is offered, whatever the certificate
//	smtp+starttls   STARTTLS required, certificate checked
//	smtps           TLS from the first byte, certificate checked
//	lmtp+unix       LMTP over a unix socket
type Server struct {
	hostport.SMTP
	Password string
	CAFile   string        // PEM roots for checked certificates; "" means the system's
	Name     func() string // the name in EHLO; nil or "" means our address (RFC 5321, 4.1.3)
}

// opportunistic is the scheme of a server whose certificate does not count.
const opportunistic = "smtp"

// ParseServer reads a value of --smtp.
func ParseServer(s string) (*Server, error) {
	to, err := hostport.ParseSMTP(s)
	if err != nil {
		return nil, err
	}
	return &Server{SMTP: to}, nil
}

// Check refuses a configuration that would send a password in clear text over a network, and
// a missing file of roots.
func (s *Server) Check() error {
	if err := s.checkLogin(); err != nil || s.CAFile == "" {
		return err
	}
	_, err := os.Stat(s.CAFile)
	return err
}

func (s *Server) checkLogin() error {
	if s.User != "" && s.Scheme == opportunistic && !isLoopback(s.Host) {
		return fmt.Errorf("a password for %s would be sent in clear text; use smtp+starttls:// or smtps://", s.Host)
	}
	if s.User != "" && s.Password == "" {
		return fmt.Errorf("there is no password for %s at %s", s.User, s.Host)
	}
	return nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// tlsConfig returns the TLS settings. It checks the certificate if the URL requires TLS; if
// TLS is only offered, it authenticates nobody, and only keeps passive listeners out.
func (s *Server) tlsConfig() (*tls.Config, error) {
	conf := &tls.Config{ServerName: s.Host, InsecureSkipVerify: s.Scheme == opportunistic}
	if s.CAFile == "" || conf.InsecureSkipVerify {
		return conf, nil
	}
	pem, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, fmt.Errorf("--smtp-ca: %w", err)
	}
	conf.RootCAs = x509.NewCertPool()
	if !conf.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--smtp-ca: %q holds no certificate", s.CAFile)
	}
	return conf, nil
}
