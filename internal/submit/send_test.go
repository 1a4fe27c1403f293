package submit

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

const alice, caFrom = "alice@example.test", "acme-challenge+1@ca.example"

// mailServer is a real SMTP server that records what it receives and how.
type mailServer struct {
	addr string
	root string // PEM file

	mu   sync.Mutex
	mail []string
	tls  bool
	user string
	utf8 bool
}

type mailSession struct {
	s    *mailServer
	conn *smtp.Conn
}

func (m *mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (m *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if password != "open sesame" {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "wrong password"}
		}
		m.s.mu.Lock()
		defer m.s.mu.Unlock()
		m.s.user = user
		return nil
	}), nil
}

func (m *mailSession) Mail(_ string, o *smtp.MailOptions) error {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	m.s.utf8 = o.UTF8
	return nil
}
func (m *mailSession) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (m *mailSession) Reset()                               {}
func (m *mailSession) Logout() error                        { return nil }

func (m *mailSession) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	_, m.s.tls = m.conn.TLSConnectionState()
	if err == nil { // without the final dot there is no message
		m.s.mail = append(m.s.mail, string(data))
	}
	return err
}

// serve starts a server; edit changes it before.
func serve(t *testing.T, edit func(*smtp.Server), listen func(net.Listener, *tls.Config) net.Listener) *mailServer {
	t.Helper()
	conf, root := certificate(t)
	s := &mailServer{root: root}
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &mailSession{s, c}, nil }))
	server.Domain, server.TLSConfig, server.EnableSMTPUTF8 = "localhost", conf, true
	edit(server)
	network, address := "tcp", "127.0.0.1:0"
	if server.LMTP {
		network, address = "unix", filepath.Join(t.TempDir(), "lmtp")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	if listen != nil {
		l = listen(l, conf)
	}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return s
}

// certificate makes a self-signed certificate for localhost.
func certificate(t *testing.T) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, path
}

// url names a server by localhost, as its certificate does.
func (s *mailServer) url(scheme, user string) string {
	_, port, _ := net.SplitHostPort(s.addr)
	return scheme + "://" + user + "localhost:" + port
}

func submit(t *testing.T, url string, edit func(*Server)) error {
	t.Helper()
	server, err := ParseServer(url)
	if err != nil {
		t.Fatal(err)
	}
	edit(server)
	if err := server.Check(); err != nil {
		return err
	}
	dots := 0
	err = server.Send(context.Background(), Envelope{alice, caFrom}, []byte("Subject: x\r\n\r\n.hidden\r\n"), func() error { dots++; return nil })
	if err == nil && dots != 1 {
		t.Errorf("beforeDot was called %d times", dots)
	}
	return err
}

func asIs(*smtp.Server)                                       {}
func noChange(*Server)                                        {}
func noTLS(s *smtp.Server)                                    { s.TLSConfig = nil }
func tlsFromStart(l net.Listener, c *tls.Config) net.Listener { return tls.NewListener(l, c) }

func (s *mailServer) want(t *testing.T, err error, encrypted bool, user string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mail) != 1 || s.mail[0] != "Subject: x\r\n\r\n.hidden\r\n" || s.tls != encrypted || s.user != user {
		t.Errorf("got %q, TLS %v, user %q; want one message, TLS %v, user %q", s.mail, s.tls, s.user, encrypted, user)
	}
}

func TestSend(t *testing.T) {
	t.Run("clear text where no TLS is offered", func(t *testing.T) {
		s := serve(t, noTLS, nil)
		s.want(t, submit(t, s.url("smtp", ""), noChange), false, "")
	})
	t.Run("STARTTLS where it is offered, whatever the certificate", func(t *testing.T) {
		s := serve(t, asIs, nil)
		s.want(t, submit(t, s.url("smtp", ""), noChange), true, "")
	})
	t.Run("STARTTLS required and checked", func(t *testing.T) {
		s := serve(t, asIs, nil)
		s.want(t, submit(t, s.url("smtp+starttls", ""), func(c *Server) { c.CAFile = s.root }), true, "")
	})
	t.Run("TLS from the start, with a password", func(t *testing.T) {
		s := serve(t, asIs, tlsFromStart)
		s.want(t, submit(t, s.url("smtps", "alice@"), func(c *Server) { c.CAFile, c.Password = s.root, "open sesame" }), true, "alice")
	})
	t.Run("a password over clear text to loopback", func(t *testing.T) {
		s := serve(t, func(s *smtp.Server) { s.TLSConfig, s.AllowInsecureAuth = nil, true }, nil)
		s.want(t, submit(t, s.url("smtp", "alice@"), func(c *Server) { c.Password = "open sesame" }), false, "alice")
	})
	t.Run("LMTP", func(t *testing.T) {
		s := serve(t, func(s *smtp.Server) { s.LMTP, s.TLSConfig = true, nil }, nil)
		s.want(t, submit(t, "lmtp+unix:"+s.addr, noChange), false, "")
	})
}

func TestSendRefused(t *testing.T) {
	for _, c := range []struct {
		name      string
		edit      func(*smtp.Server)
		listen    func(net.Listener, *tls.Config) net.Listener
		scheme    string
		client    func(*Server, *mailServer)
		permanent bool
		says      string
	}{
		{"an unknown certificate", asIs, nil, "smtp+starttls", func(*Server, *mailServer) {}, false, "certificate"},
		{"an unknown certificate, TLS from the start", asIs, tlsFromStart, "smtps", func(*Server, *mailServer) {}, false, "certificate"},
		{"a certificate of another name", asIs, nil, "smtp+starttls", func(c *Server, s *mailServer) {
			c.CAFile, c.Host = s.root, "mx.example.test"
		}, false, "certificate is valid for localhost"},
		{"roots without a certificate", asIs, nil, "smtp+starttls", func(c *Server, s *mailServer) { c.CAFile = os.Args[0] }, false, "holds no certificate"},
		{"STARTTLS not offered", noTLS, nil, "smtp+starttls", func(*Server, *mailServer) {}, false, "STARTTLS"},
		{"a wrong password", asIs, tlsFromStart, "smtps", func(c *Server, s *mailServer) {
			c.CAFile, c.User, c.Password = s.root, "alice", "wrong"
		}, false, "wrong password"},
		{"no way to log in", noTLS, nil, "smtp", func(c *Server, s *mailServer) { c.User, c.Password = "alice", "x" }, false, "login"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, c.edit, c.listen)
			err := submit(t, s.url(c.scheme, ""), func(client *Server) { c.client(client, s) })
			var failed *Error
			if !errors.As(err, &failed) || (failed.Class == Failed) != c.permanent || failed.Class == Unknown || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v (%+v), want permanent %v, %q", err, failed, c.permanent, c.says)
			}
			if len(s.mail) > 0 {
				t.Error("the message was sent all the same")
			}
		})
	}
}

func TestSendInternational(t *testing.T) {
	s := serve(t, noTLS, nil)
	server, err := ParseServer(s.url("smtp", ""))
	if err != nil {
		t.Fatal(err)
	}
	env := Envelope{"jürgen@example.test", caFrom}
	if err := server.Send(context.Background(), env, []byte("Subject: x\r\n\r\n"), func() error { return nil }); err != nil || !s.utf8 {
		t.Errorf("%v; SMTPUTF8 was asked for: %v", err, s.utf8)
	}
	s.mu.Lock()
	s.utf8 = false
	s.mu.Unlock()
	if err := server.Send(context.Background(), Envelope{alice, "\u7528\u6237@ca.example"}, []byte("Subject: x\r\n\r\n"), func() error { return nil }); err != nil || !s.utf8 {
		t.Errorf("to an international address: %v; SMTPUTF8 was asked for: %v", err, s.utf8)
	}
	old := serve(t, func(s *smtp.Server) { s.TLSConfig, s.EnableSMTPUTF8 = nil, false }, nil)
	if server, err = ParseServer(old.url("smtp", "")); err != nil {
		t.Fatal(err)
	}
	err = server.Send(context.Background(), env, []byte("Subject: x\r\n\r\n"), func() error { return nil })
	if failed := new(Error); !errors.As(err, &failed) || failed.Class != Failed || !strings.Contains(err.Error(), "SMTPUTF8") {
		t.Errorf("got %v, want that the server cannot do it", err)
	}
}

// script is an SMTP server that says its lines and hangs up; "" hangs up at once,
// "-" stays silent until the client goes.
func script(t *testing.T, lines ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			recite(conn, lines)
		}
	}()
	return "smtp://" + l.Addr().String()
}

func recite(conn net.Conn, lines []string) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for i, line := range lines {
		if line == "-" {
			io.Copy(io.Discard, r)
			return
		}
		if fmt.Fprintf(conn, "%s\r\n", line); i == len(lines)-1 {
			return
		}
		for {
			got, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if !strings.HasPrefix(lines[i], "354") || got == ".\r\n" {
				break
			}
		}
	}
}

// The point where the connection breaks decides whether the reply may be sent again.
func TestSendBroken(t *testing.T) {
	ok := []string{"220 hi", "250 hi", "250 ok", "250 ok", "354 go on"}
	for _, c := range []struct {
		name      string
		lines     []string
		permanent bool
		doubt     bool
		says      string
	}{
		{"not even a greeting", nil, false, false, ""},
		{"busy", []string{"421 busy"}, false, false, "421 busy"},
		{"no entry", []string{"554 no"}, false, false, "554 no"},
		{"sender deferred", []string{"220 hi", "250 hi", "450 later"}, false, false, "450 later"},
		{"sender refused", []string{"220 hi", "250 hi", "550 no"}, true, false, "550 no"},
		{"recipient deferred", []string{"220 hi", "250 hi", "250 ok", "451 later"}, false, false, "451 later"},
		{"recipient refused", []string{"220 hi", "250 hi", "250 ok", "550 who?"}, true, false, "550 who?"},
		{"DATA refused", []string{"220 hi", "250 hi", "250 ok", "250 ok", "554 no"}, true, false, "554 no"},
		{"hangs up before the message", ok[:4], false, false, ""},
		{"says nothing", []string{"-"}, false, false, "did not answer in time"},
		{"says nothing after the final dot", append(ok[:5:5], "-"), false, true, "did not answer in time"},
		{"message deferred", append(ok[:5:5], "451 later"), false, false, "451 later"},
		{"message refused", append(ok[:5:5], "550 5.7.26 not authenticated"), true, false, "5.7.26 not authenticated"},
		{"nonsense after the final dot", append(ok[:5:5], "what?"), false, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, err := ParseServer(script(t, c.lines...))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			err = server.Send(ctx, Envelope{alice, caFrom}, []byte("Subject: x\r\n\r\nhi\r\n"), func() error { return nil })
			var failed *Error
			if !errors.As(err, &failed) || (failed.Class == Failed) != c.permanent || (failed.Class == Unknown) != c.doubt || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v (%+v), want permanent %v, in doubt %v, %q", err, failed, c.permanent, c.doubt, c.says)
			}
		})
	}
	t.Run("250 and then silence", func(t *testing.T) {
		server, err := ParseServer(script(t, append(ok[:5:5], "250 taken", "-")...))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := server.Send(context.Background(), Envelope{alice, caFrom}, []byte("Subject: x\r\n\r\nhi\r\n"), func() error { return nil }); err != nil {
			t.Errorf("got %v, want no error: the message was taken", err)
		}
		if took := time.Since(start); took > sendTime/2 {
			t.Errorf("it waits for %v, and the message was taken", took)
		}
	})
}

// If the claim cannot be marked, nothing is sent.
func TestSendStopsBeforeTheDot(t *testing.T) {
	s := serve(t, noTLS, nil)
	full := errors.New("no space left on device")
	server, err := ParseServer(s.url("smtp", ""))
	if err != nil {
		t.Fatal(err)
	}
	err = server.Send(context.Background(), Envelope{alice, caFrom}, []byte("Subject: x\r\n\r\n"), func() error { return full })
	if failed := new(Error); !errors.As(err, &failed) || failed.Class != Later || !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	if len(s.mail) > 0 {
		t.Error("the message was sent")
	}
}

func TestParseServer(t *testing.T) {
	for url, want := range map[string]string{
		"smtp://localhost":                  "localhost:25",
		"smtp://[::1]:2525":                 "[::1]:2525",
		"smtp+starttls://me@mail.example":   "mail.example:587",
		"smtps://me%40example@mail.example": "mail.example:465",
		"lmtp+unix:/run/lmtp":               "/run/lmtp",
	} {
		if s, err := ParseServer(url); err != nil || s.Addr != want {
			t.Errorf("%s: %+v, %v, want %s", url, s, err, want)
		}
	}
	for _, url := range []string{
		"", "localhost", "localhost:25", "http://localhost", "smtp://", "smtp://host/path", "smtp://host?x=1", "smtp://host#x",
		"smtps://me:secret@mail.example", "http://me:secret@mail.example", "smtps://me:secret%zz@mail.example", "smtps://me:secret@mail.example:x", "lmtp+unix:", "smtp://ho st", "smtp:\nlocalhost",
	} {
		if s, err := ParseServer(url); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %+v, %v", url, s, err)
		}
	}
	for _, c := range []struct{ url, password, wrong string }{
		{"smtp://me@mail.example", "secret", "clear text"},
		{"smtp://me@localhost.invalid", "secret", "clear text"},
		{"smtps://me@mail.example", "", "no password"},
		{"smtps://me@mail.example", "secret", ""},
		{"smtp://me@localhost", "secret", ""},
		{"smtp://me@127.0.0.1", "secret", ""},
		{"smtp://me@[::1]", "secret", ""},
	} {
		s, err := ParseServer(c.url)
		if err != nil {
			t.Fatal(err)
		}
		s.Password = c.password
		if err := s.Check(); (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %v, want %q", c.url, err, c.wrong)
		}
	}
	// Whoever did not ask Check sends no password either.
	s, err := ParseServer("smtp://me@localhost.invalid")
	if err != nil {
		t.Fatal(err)
	}
	s.Password = "secret"
	err = s.Send(context.Background(), Envelope{alice, caFrom}, nil, nil)
	if failed := new(Error); !errors.As(err, &failed) || failed.Class != Later || !strings.Contains(err.Error(), "clear text") {
		t.Errorf("got %v", err)
	}
}
