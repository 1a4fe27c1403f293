package milter

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"postseal/internal/challenge"
	"postseal/internal/test/mta"
)

// servePostfix connects a server to a Postfix of its own.
func servePostfix(t *testing.T, config Config) (*Server, *mta.Instance) {
	t.Helper()
	post := mta.StartPostfix(t, mta.Postfix{Users: []string{"alice", "bob"}, Milters: "unix:postseal/s"})
	path := filepath.Join(post.SocketDir(os.Getuid()), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		t.Fatal(err)
	}
	s := New(config)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, post
}

const (
	oddMail = "Received: from here\r\n\tby there;\r\n  some day\r\nFROM:   CA  <ca@example.net>\r\nto:alice@example.test\r\n" +
		"Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.net>\r\n" +
		"Subject: ACME:\r\n  V4nE8NhYh6edBpfQTg5qqQ \r\nX-Tab:\tx\r\n\r\nline one \r\n.\r\n\tline two\r\n"
	lunchMail = "From: ann@example.net\r\nTo: alice@example.test\r\nSubject: lunch\r\n\r\nAt noon?\r\n"
)

// Postfix honours the negotiated steps, and hands a message over byte for byte.
func TestPostfixMessage(t *testing.T) {
	log := new(logged)
	a := &answers{outcome: challenge.Outcome{Verdict: challenge.Refused, Email: "alice@example.test", Reason: "test"}}
	config := testConfig()
	config.Answer, config.Logger = a.answer, log.logger()
	s, post := servePostfix(t, config)
	for _, mail := range []string{lunchMail, oddMail} {
		if err := post.Send("ca@example.net", "alice@example.test", []byte(mail)); err != nil {
			t.Fatal(err)
		}
	}
	post.WaitMail("alice", 2)
	got := a.all()
	if len(got) != 1 || s.Stats().AcceptedAtHeader.Load() != 1 {
		t.Fatalf("%d messages decided on, %d accepted early", len(got), s.Stats().AcceptedAtHeader.Load())
	}
	if string(got[0].Raw) != oddMail {
		t.Errorf("got\n%q\nwant\n%q", got[0].Raw, oddMail)
	}
	if line := log.String(); !strings.Contains(line, "queue=") || log.lines() != 1 {
		t.Errorf("log %q", line)
	}
}

// Postfix changes header lines that are not plain fields: it removes the white space of
// obsolete syntax, so that the field counts, and ends the header at a line that is not a
// field. We read both as it does.
func TestPostfixOddLines(t *testing.T) {
	a := &answers{outcome: challenge.Outcome{Verdict: challenge.Refused}}
	config := testConfig()
	config.Answer = a.answer
	_, post := servePostfix(t, config)
	for line, want := range map[string]string{
		"From : eve@evil.example":     "\r\nFrom: eve@evil.example\r\n",
		"From\t: eve@evil.example":    "\r\nFrom: eve@evil.example\r\n",
		"From eve Mon Jun 1 12:00:00": "\r\n\r\nFrom eve Mon Jun 1 12:00:00\r\n",
		": eve@evil.example":          "\r\n\r\n: eve@evil.example\r\n",
		"Fr\xf6m: eve@evil.example":   "\r\n\r\nFr\xf6m: eve@evil.example\r\n",
		"From\r\n : eve@evil.example": "\r\n\r\nFrom\r\n : eve@evil.example\r\n",
	} {
		mail := strings.Replace(oddMail, "X-Tab:\tx", line, 1)
		if err := post.Send("ca@example.net", "alice@example.test", []byte(mail)); err != nil {
			t.Fatal(err)
		}
		if got := a.all(); !bytes.Contains(got[len(got)-1].Raw, []byte(want)) {
			t.Errorf("%q: got %q, want %q", line, got[len(got)-1].Raw, want)
		}
	}
}

func TestPostfixVerdicts(t *testing.T) {
	a := new(answers)
	config := testConfig()
	config.Answer, config.OnAnswered = a.answer, Discard
	_, post := servePostfix(t, config)
	for _, v := range []challenge.Verdict{challenge.Later, challenge.Answered, challenge.None} {
		a.mu.Lock()
		a.outcome = challenge.Outcome{Verdict: v}
		a.mu.Unlock()
		mail := bytes.Replace([]byte(oddMail), []byte("X-Tab:\tx"), []byte("X-Verdict: "+v.String()), 1)
		err := post.Send("ca@example.net", "alice@example.test", mail)
		var refusal *smtp.SMTPError
		if later := errors.As(err, &refusal) && refusal.Code == 451; later != (v == challenge.Later) {
			t.Errorf("%v: %v", v, err)
		}
	}
	mails := post.WaitMail("alice", 1)
	if len(mails) != 1 || !bytes.Contains(mails[0], []byte("X-Verdict: none")) {
		t.Errorf("delivered %q", mails)
	}
}

func TestPostfixIdle(t *testing.T) {
	config := testConfig()
	config.Pending = func() (bool, error) { return false, nil }
	s, post := servePostfix(t, config)
	for range 5 {
		if err := post.Send("ann@example.net", "bob@example.test", []byte(lunchMail)); err != nil {
			t.Fatal(err)
		}
	}
	post.WaitMail("bob", 5)
	if n := s.Stats().AcceptedAtMail.Load(); n != 5 {
		t.Errorf("%d messages accepted at MAIL, want 5", n)
	}
}
