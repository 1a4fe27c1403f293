package mta

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-milter"
	"github.com/emersion/go-smtp"
)

// letter returns a small message with the body text.
func letter(text string) []byte {
	return []byte("From: bob@far.test\r\nTo: alice@example.test\r\nSubject: hello\r\n\r\n" + text + "\r\n")
}

func send(t *testing.T, in *Instance, from, to, text string) {
	t.Helper()
	if err := in.Send(from, to, letter(text)); err != nil {
		t.Fatal(err)
	}
}

func wantBody(t *testing.T, msg []byte, text string) {
	t.Helper()
	if !bytes.Contains(msg, []byte("\n\n"+text+"\n")) {
		t.Errorf("no body %q in\n%s", text, msg)
	}
}

func TestMaildir(t *testing.T) {
	t.Parallel()
	post := StartPostfix(t, Postfix{Users: []string{"alice", "jürgen@example.test"}})
	send(t, post, "bob@far.test", "alice@example.test", "first")
	wantBody(t, post.WaitMail("alice", 1)[0], "first")
	send(t, post, "bob@far.test", "alice@example.test", "second")
	wantBody(t, post.WaitMail("alice", 2)[1], "second")
	send(t, post, "bob@far.test", "jürgen@example.test", "third")
	wantBody(t, post.WaitMail("jürgen", 1)[0], "third")
	post.WaitEmpty()
	post.WaitLog("to=<alice@example.test>", "status=sent")
	if err := post.Send("bob@far.test", "nobody-here@example.test", letter("lost")); code(err) != 550 {
		t.Errorf("unknown user: %v, want 550", err)
	}
}

// code returns the SMTP code of an error of Send.
func code(err error) int {
	if e, ok := err.(*smtp.SMTPError); ok {
		return e.Code
	}
	return 0
}

func TestRelay(t *testing.T) {
	t.Parallel()
	sink := StartSink(t)
	sink.Refuse(&smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "not now"})
	post := StartPostfix(t, Postfix{Relay: sink.Addr})
	send(t, post, "alice@example.test", "bob@far.test", "out")
	if q := post.WaitDeferred(); !strings.Contains(q.Recipients[0].Reason, "not now") {
		t.Errorf("deferred because of %q", q.Recipients[0].Reason)
	}
	sink.Refuse(nil)
	post.Flush()
	got := sink.Wait(1)[0]
	if got.From != "alice@example.test" || fmt.Sprint(got.To) != "[bob@far.test]" {
		t.Errorf("envelope %q %q", got.From, got.To)
	}
	wantBody(t, got.Data, "out")
	post.WaitEmpty()
}

// seen is a milter that accepts everything and notes what it is told.
type seen struct {
	milter.NoOpMilter
	mu       *sync.Mutex
	subjects *[]string
}

func (s seen) Header(name, value string, _ *milter.Modifier) (milter.Response, error) {
	if strings.EqualFold(name, "Subject") {
		s.mu.Lock()
		defer s.mu.Unlock()
		*s.subjects = append(*s.subjects, value)
	}
	return milter.RespContinue, nil
}

func TestMilter(t *testing.T) {
	t.Parallel()
	post := StartPostfix(t, Postfix{
		Users:   []string{"alice"},
		Milters: "{ unix:postseal/milter.sock, default_action=tempfail }",
	})
	if err := post.Send("bob@far.test", "alice@example.test", letter("early")); code(err) != 451 {
		t.Fatalf("with no milter there: %v, want 451", err)
	}

	socket := filepath.Join(post.SocketDir(os.Getuid()), "milter.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(socket, 0o660); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var subjects []string
	server := milter.Server{NewMilter: func() milter.Milter { return seen{mu: &mu, subjects: &subjects} }}
	go server.Serve(l)
	defer server.Close()

	send(t, post, "bob@far.test", "alice@example.test", "seen")
	wantBody(t, post.WaitMail("alice", 1)[0], "seen")
	mu.Lock()
	defer mu.Unlock()
	if fmt.Sprint(subjects) != "[hello]" {
		t.Errorf("the milter saw subjects %q", subjects)
	}
}

// script makes a program that Postfix runs as nobody: it keeps its input in
// DIR/in and exits with the number in DIR/exit.
func script(t *testing.T) (dir string) {
	t.Helper()
	dir, err := tempDir("postseal-script-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	text := "#!/bin/sh\ncat >\"$0.in\"\nexit $(cat \"$0.exit\")\n"
	if err := os.WriteFile(filepath.Join(dir, "run"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

func setExit(t *testing.T, dir string, status int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "run.exit"), fmt.Append(nil, status), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPipe(t *testing.T) {
	t.Parallel()
	dir := script(t)
	sink := StartSink(t) // for the bounce
	post := StartPostfix(t, Postfix{
		Users:     []string{"alice"},
		Transport: "script:",
		Relay:     sink.Addr,
		MasterCF:  []string{"script unix - n n - 10 pipe", "  user=nobody argv=" + dir + "/run"},
	})
	deliver := func(status int) {
		t.Helper()
		setExit(t, dir, status)
		send(t, post, "bob@far.test", "alice@example.test", fmt.Sprint("exit ", status))
	}

	deliver(0)
	post.WaitLog("relay=script", "status=sent")
	input, err := os.ReadFile(dir + "/run.in")
	if err != nil {
		t.Fatal(err)
	}
	wantBody(t, input, "exit 0")

	deliver(75)
	post.WaitDeferred()
	setExit(t, dir, 0)
	post.Flush()
	post.WaitEmpty()

	deliver(64)
	post.WaitLog("relay=script", "status=bounced")
	if bounce := sink.Wait(1)[0]; bounce.From != "" || fmt.Sprint(bounce.To) != "[bob@far.test]" {
		t.Errorf("bounce from %q to %q", bounce.From, bounce.To)
	}
}

func TestProcmail(t *testing.T) {
	t.Parallel()
	Need(t, "procmail")
	user := NewUser(t)
	user.WriteFile(t, ".procmailrc", `DEFAULT=$HOME/Maildir/
:0 w
* ^Subject: hello
* B ?? special
| cat >$HOME/special
`)
	post := StartPostfix(t, Postfix{MailboxCommand: `/usr/bin/procmail -a "$EXTENSION"`})
	send(t, post, "bob@far.test", user.Name+"@example.test", "ordinary")
	wantBody(t, WaitMaildir(t, filepath.Join(user.Home, "Maildir"), 1)[0], "ordinary")
	send(t, post, "bob@far.test", user.Name+"@example.test", "special")
	post.WaitEmpty()
	special, err := os.ReadFile(filepath.Join(user.Home, "special"))
	if err != nil {
		t.Fatal(err)
	}
	wantBody(t, special, "special")
	info, err := os.Stat(filepath.Join(user.Home, "special"))
	if err != nil {
		t.Fatal(err)
	}
	if !ownedBy(info, user.UID) {
		t.Error("procmail did not run as the user")
	}
}
