package main

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"postseal/internal/check"
)

// backend is an SMTP server that accepts everything from the user "me" with the password
// "secret".
type backend struct{ mechanism string }

func (b backend) NewSession(*smtp.Conn) (smtp.Session, error) { return &taker{backend: b}, nil }

type taker struct{ backend }

func (taker) Reset()                               {}
func (taker) Logout() error                        { return nil }
func (taker) Mail(string, *smtp.MailOptions) error { return nil }

func (taker) Rcpt(to string, _ *smtp.RcptOptions) error {
	if to == "later@example.test" {
		return &smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 2, 0}, Message: "Greylisted"}
	}
	return nil
}

func (taker) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

func (s taker) AuthMechanisms() []string { return []string{s.mechanism} }

func (s taker) Auth(mechanism string) (sasl.Server, error) {
	check := func(user, password string) error {
		if user != "me" || password != "secret" {
			return errors.New("wrong")
		}
		return nil
	}
	if mechanism == "LOGIN" {
		return &loginServer{check: check}, nil
	}
	return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
}

// loginServer is LOGIN, which the library has for clients only.
type loginServer struct {
	check func(user, password string) error
	user  string
	step  int
}

func (l *loginServer) Next(answer []byte) (challenge []byte, done bool, err error) {
	l.step++
	switch l.step {
	case 1:
		return []byte("Username:"), false, nil
	case 2:
		l.user = string(answer)
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(l.user, string(answer))
}

// serveSMTP listens on loopback, or on a socket for LMTP.
func serveSMTP(t *testing.T, change func(*smtp.Server), l net.Listener) string {
	t.Helper()
	s := smtp.NewServer(backend{"PLAIN"})
	s.Domain, s.ErrorLog = "mx.test", quiet{}
	change(s)
	served := make(chan struct{})
	go func() { defer close(served); s.Serve(l) }()
	t.Cleanup(func() { s.Close(); l.Close(); <-served })
	return l.Addr().String()
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestSMTP(t *testing.T) {
	conf, root := testCertificate(t)
	withTLS := serveSMTP(t, func(s *smtp.Server) { s.TLSConfig, s.EnableSMTPUTF8 = conf, true }, listen(t))
	withLogin := serveSMTP(t, func(s *smtp.Server) { s.TLSConfig, s.Backend = conf, backend{"LOGIN"} }, listen(t))
	plain := serveSMTP(t, func(s *smtp.Server) { s.AllowInsecureAuth = true }, listen(t))
	implicit := serveSMTP(t, func(*smtp.Server) {}, tls.NewListener(listen(t), conf))
	socket := filepath.Join(t.TempDir(), "lmtp")
	unix, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	serveSMTP(t, func(s *smtp.Server) { s.LMTP = true }, unix)
	for _, c := range []struct {
		name   string
		o      check.Options
		status check.Status
		want   string
	}{
		{"STARTTLS", check.Options{SMTP: "smtp://" + withTLS}, check.OK, "connected, TLS, whatever the certificate, SMTPUTF8"},
		{"STARTTLS required", check.Options{SMTP: "smtp+starttls://" + withTLS, SMTPCA: root}, check.OK, "connected, TLS, SMTPUTF8"},
		{"not trusted", check.Options{SMTP: "smtp+starttls://" + withTLS}, check.Failure, "--smtp-ca"},
		{"TLS", check.Options{SMTP: "smtps://" + implicit, SMTPCA: root}, check.OK, "connected, TLS, no SMTPUTF8"},
		{"no root", check.Options{SMTP: "smtps://" + implicit, SMTPCA: "/nowhere"}, check.Failure, "--smtp-ca: open /nowhere"},
		{"PLAIN", check.Options{SMTP: "smtp://me@" + plain, SMTPPassword: "secret"}, check.OK, "no TLS"},
		{"LOGIN", check.Options{SMTP: "smtp+starttls://me@" + withLogin, SMTPCA: root, SMTPPassword: "secret"}, check.OK, "TLS"},
		{"wrong password", check.Options{SMTP: "smtp+starttls://me@" + withTLS, SMTPCA: root, SMTPPassword: "x"}, check.Failure, "login as me: 454 4.7.0 wrong"},
		{"LMTP", check.Options{SMTP: "lmtp+unix:" + socket}, check.OK, "a local socket"},
		{"no socket", check.Options{SMTP: "lmtp+unix:/nowhere"}, check.Failure, "no such file"},
		{"clear text", check.Options{SMTP: "smtp://me@mx.example", SMTPPassword: "secret"}, check.Failure, "--smtp"},
		{"address that needs SMTPUTF8", check.Options{SMTP: "smtp://" + plain, Emails: []string{"jürgen@example.test"}}, check.Failure, "does not offer SMTPUTF8"},
		{"address with SMTPUTF8", check.Options{SMTP: "smtp://" + withTLS, Emails: []string{"jürgen@example.test"}}, check.OK, "it takes mail from jürgen@example.test"},
		{"not SMTP", check.Options{SMTP: "ftp://x"}, check.Failure, "smtp://HOST"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			wantFinding(t, found(t, newChecker(t, c.o).checkSMTP), c.status, c.want)
		})
	}
}

// No message is worth a password in clear text.
func TestReplyClearText(t *testing.T) {
	o := check.Options{SMTP: "smtp://me@mx.example", SMTPPassword: "secret", MailTo: "a@x.test", Emails: []string{"b@x.test"}}
	wantFinding(t, found(t, newChecker(t, o).checkReply), check.Failure, "would be sent in clear text")
}

func TestRecipient(t *testing.T) {
	for url, want := range map[string]string{
		"https://acme.example/directory":  "postmaster@acme.example",
		"https://127.0.0.1:443/directory": "postmaster@[127.0.0.1]",
		"https://[::1]:443/directory":     "postmaster@[IPv6:::1]",
	} {
		if got, known := newChecker(t, check.Options{Server: url}).recipient(); got != want || known {
			t.Errorf("%s: %q, %v", url, got, known)
		}
	}
}
