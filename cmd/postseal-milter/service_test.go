package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	"postseal/internal/test/mta"
	"postseal/internal/test/redistest"
	"postseal/state"
	"postseal/state/redis"
)

// service is the program as systemd starts it: with a socket, and with a place for
// notifications.
type service struct {
	testing.TB
	cmd     *exec.Cmd
	socket  string
	notices *net.UnixConn
	log     *bufio.Scanner
}

const patience = 20 * time.Second

func startService(t *testing.T, args ...string) *service {
	t.Helper()
	s := &service{TB: t, socket: filepath.Join(t.TempDir(), "s")}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.socket})
	check(t, err)
	defer l.Close()
	l.SetUnlinkOnClose(false)
	file, err := l.File()
	check(t, err)
	defer file.Close()
	notify := filepath.Join(t.TempDir(), "n")
	s.notices, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	check(t, err)
	t.Cleanup(func() { s.notices.Close() })

	// LISTEN_PID is the program's own pid, since the shell becomes the program.
	s.cmd = exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec postseal-milter "$@"`, "sh"}, args...)...)
	s.cmd.ExtraFiles = []*os.File{file}
	s.cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "NOTIFY_SOCKET="+notify, "WATCHDOG_USEC=20000")
	out, err := s.cmd.StderrPipe()
	check(t, err)
	s.log = bufio.NewScanner(out)
	check(t, s.cmd.Start())
	t.Cleanup(func() { _ = s.cmd.Process.Kill() }) // no matter: it is gone by then
	s.notice("READY=1")
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// notice waits for a notification.
func (s *service) notice(want string) {
	s.Helper()
	check(s, s.notices.SetReadDeadline(time.Now().Add(patience)))
	buf := make([]byte, 1000)
	for {
		n, err := s.notices.Read(buf)
		check(s, err)
		if string(buf[:n]) == want {
			return
		}
	}
}

// line waits for a line of the log that holds all texts.
func (s *service) line(texts ...string) {
	s.Helper()
	for s.log.Scan() {
		missing := 0
		for _, text := range texts {
			if !strings.Contains(s.log.Text(), text) {
				missing++
			}
		}
		if missing == 0 {
			return
		}
	}
	s.Fatalf("no line with %q", texts)
}

// send sends a message and returns the milter's action.
func (s *service) send(subject string) milter.ActionCode {
	s.Helper()
	c, err := milter.NewClientWithOptions("unix", s.socket, milter.ClientOptions{
		ReadTimeout: patience, WriteTimeout: patience, ProtocolMask: 0x1fffff,
	}).Session()
	check(s, err)
	defer c.Close()
	act, err := c.Mail("ca@example.net", nil)
	check(s, err)
	if act.Code != milter.ActContinue {
		return act.Code
	}
	_, err = c.Rcpt("alice@example.test", nil)
	check(s, err)
	for _, field := range [][2]string{{"From", " ca@example.net"}, {"To", " alice@example.test"}, {"Subject", subject}, {"Auto-Submitted", " auto-generated"}} {
		_, err = c.HeaderField(field[0], field[1])
		check(s, err)
	}
	act, err = c.HeaderEnd()
	check(s, err)
	if act.Code != milter.ActContinue {
		return act.Code
	}
	_, act, err = c.End()
	check(s, err)
	return act.Code
}

// stop ends the program and expects status 0.
func (s *service) stop() {
	s.Helper()
	check(s, s.cmd.Process.Signal(syscall.SIGTERM))
	s.notice("STOPPING=1")
	s.line("msg=stopped")
	check(s, s.cmd.Wait())
}

// A life under systemd: nothing pending, then a challenge that is refused.
func TestService(t *testing.T) {
	dir := state.Open(t.TempDir())
	_, err := dir.Create()
	check(t, err)
	port := freePort(t)
	s := startService(t, "--state", dir.Path(), "--metrics", port, "--listen", "unix:/not/used")
	s.line("msg=listening", "on=unix:"+s.socket, "state="+dir.Path())
	s.notice("WATCHDOG=1")

	const acme = " ACME: V4nE8NhYh6edBpfQTg5qqQ"
	wantAction(t, s.send(acme), milter.ActAccept)
	check(t, dir.Put(&state.Pending{
		ID: "1", Email: "alice@example.test", Server: "https://ca.example.net/dir", From: "ca@example.net",
		Token: "x6I65YvEk6xC4KV0QMvdJw", Thumbprint: "hC4xyXNn8ZDH4yrcp93Zj3qgQs7LyT_GUL45YD7IVMQ",
		Created: time.Now(), Expires: time.Now().Add(time.Hour),
	}))
	wantAction(t, s.send(" lunch"), milter.ActAccept)
	wantAction(t, s.send(" dinner"), milter.ActAccept)
	wantAction(t, s.send(acme), milter.ActAccept)
	s.line("level=WARN", `msg="challenge refused"`, "address=alice@example.test", "ca=https://ca.example.net/dir", "order=1", "reason=")

	wantMetrics(t, port,
		`postseal_milter_messages_total 4`,
		`postseal_milter_accepted_early_total{stage="mail"} 1`,
		`postseal_milter_accepted_early_total{stage="header"} 2`,
		`postseal_milter_challenges_total{verdict="refused"} 1`,
		`postseal_milter_replies_total{result="sent"} 0`,
		`postseal_milter_answer_seconds_count 1`,
		`postseal_milter_pending 1`,
		`postseal_milter_errors_total{kind="pending"} 0`,
	)
	s.stop()
	if _, err := os.Stat(s.socket); err != nil {
		t.Errorf("the socket is systemd's: %v", err)
	}
}

// An answered challenge is delivered unless the admin wants to see none.
func TestOnAnswered(t *testing.T) {
	for flag, want := range map[string]milter.ActionCode{"accept": milter.ActAccept, "discard": milter.ActDiscard} {
		dir := state.Open(t.TempDir())
		_, err := dir.Create()
		check(t, err)
		check(t, dir.Put(&state.Pending{
			ID: "1", Email: "alice@example.test", Server: "https://ca.example.net/dir", From: "ca@example.net", Policy: state.Policy{Unsigned: "allow"},
			Token: "x6I65YvEk6xC4KV0QMvdJw", Thumbprint: "x", Created: time.Now(), Expires: time.Now().Add(time.Hour),
		}))
		smtp, port := mta.StartSink(t), freePort(t)
		s := startService(t, "--state", dir.Path(), "--smtp", "smtp://"+smtp.Addr, "--helo", "mx1.example.test", "--metrics", port, "--on-answered", flag)
		wantAction(t, s.send(acme), want)
		s.line("level=INFO", `msg="challenge answered"`, "address=alice@example.test")
		wantMetrics(t, port, `postseal_milter_challenges_total{verdict="answered"} 1`, `postseal_milter_replies_total{result="sent"} 1`)
		if n := len(smtp.Received()); n != 1 {
			t.Errorf("%d replies, want 1", n)
		}
		s.stop()
	}
}

// A mail server over the limit is sent away at once, and the metrics count it.
func TestMaxConnections(t *testing.T) {
	port := freePort(t)
	s := startService(t, "--state", t.TempDir(), "--max-connections", "1", "--metrics", port)
	first, err := net.Dial("unix", s.socket)
	check(t, err)
	defer first.Close()
	second, err := net.Dial("unix", s.socket)
	check(t, err)
	defer second.Close()
	check(t, second.SetReadDeadline(time.Now().Add(patience)))
	if n, err := second.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%d bytes, %v", n, err)
	}
	wantMetrics(t, port, `postseal_milter_connections 1`, `postseal_milter_errors_total{kind="over_cap"} 1`, `postseal_milter_errors_total{kind="connection"} 0`)
	check(t, first.Close())
	s.stop()
}

func wantAction(t *testing.T, got, want milter.ActionCode) {
	t.Helper()
	if got != want {
		t.Errorf("action %q, want %q", byte(got), byte(want))
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().String()
}

func wantMetrics(t *testing.T, addr string, lines ...string) {
	t.Helper()
	r, err := http.Get(fmt.Sprintf("http://%s/metrics", addr))
	check(t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	check(t, err)
	for _, line := range lines {
		if !strings.Contains("\n"+string(body), "\n"+line+"\n") {
			t.Errorf("no %q in\n%s", line, body)
		}
	}
}

// The issuing half learns at once that a milter runs here: from a directory to which a
// confined program writes, and from Redis with the rights of the mail half.
func TestSignOfLife(t *testing.T) {
	host, err := os.Hostname()
	check(t, err)
	dir := state.Open(filepath.Join(t.TempDir(), "state"))
	_, err = dir.Create()
	check(t, err)
	acl, err := filepath.Abs("../../contrib/redis/users.acl")
	check(t, err)
	socket := redistest.Start(t, "aclfile "+acl).Socket
	shared, err := redis.Open("unix://postseal-issuer:issuer-password@" + socket)
	check(t, err)
	defer shared.Close()
	for where, store := range map[string]state.Store{
		dir.Path(): dir, "unix://postseal-mail:mail-password@" + socket: shared,
	} {
		start := time.Now()
		s := startService(t, "--state", where)
		s.line("msg=confined")
		var halves []state.MailHalf
		mta.WaitFor(t, "a sign of life in "+where, func() bool {
			halves, err = store.MailHalves()
			return err != nil || len(halves) > 0
		})
		if err != nil || len(halves) != 1 || halves[0].Host != host || halves[0].Seen.Before(start.Truncate(time.Second)) {
			t.Errorf("%s: %v, %v", where, halves, err)
		}
		s.stop()
	}
}
