package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postseal/internal/test/mta"
	"postseal/internal/test/redistest"
	"postseal/internal/testca"
)

// onRedis moves what the halves share into a Redis with the users of contrib/redis:
// the mail half's in the configuration file, the issuing half's in its environment.
func (s *site) onRedis() *redistest.Server {
	s.t.Helper()
	users, err := filepath.Abs("../../../contrib/redis/users.acl")
	s.must(err)
	server := redistest.WithPort(s.t, "aclfile "+users, "appendonly yes", "appendfsync always")
	s.shared = "redis://postseal-mail@" + server.Addr() + "/0?password-file=" + s.user.WriteFile(s.t, "redis.mail", "mail-password\n")
	password := filepath.Join(s.t.TempDir(), "redis.issuer")
	s.must(os.WriteFile(password, []byte("issuer-password\n"), 0o600))
	s.issuerState = "redis://postseal-issuer@" + server.Addr() + "/0?password-file=" + password + "&dir=" + s.state
	return server
}

// Two MX hosts that share nothing but a Redis: the challenge comes to both, one of
// them answers, and both deliver it. The directory that both used to share stays empty.
func TestTwoMXOnRedis(t *testing.T) {
	t.Parallel()
	s := newSite(t, testca.Config{Strict: true})
	s.onRedis()
	first, second := s.behindMilter("alice"), s.behindMilter("alice") // the CA mails to the second
	s.mustCert(alice)
	challenge := second.WaitMail("alice", 1)[0]
	if err := first.Send("ca@far.test", alice, challenge); err != nil {
		t.Fatal(err)
	}
	wantChallenge(t, first.WaitMail("alice", 1)[0])
	s.wantReplies(testca.VerdictGood)
	for _, dir := range []string{"pending", "answers"} {
		if left, err := os.ReadDir(filepath.Join(s.state, dir)); err != nil || len(left) != 0 {
			t.Errorf("%s: %v, %v", dir, left, err)
		}
	}
	status, out := s.postseal("status")
	for _, want := range []string{"CERTIFICATE", "ANSWER FOR", "sent"} {
		if status != 0 || !strings.Contains(out, want) {
			t.Errorf("status has no %q: exit %d\n%s", want, status, out)
		}
	}
	if out += s.log.String(); strings.Contains(out, "password") && !strings.Contains(out, "password-file") || strings.Contains(out, "mail-password") {
		t.Errorf("a password shows:\n%s", out)
	}
	if !strings.Contains(s.log.String(), "confined writes=nothing") && !strings.Contains(s.log.String(), "not confined") {
		t.Errorf("the log:\n%s", s.log)
	}
}

// Redis is away: ordinary mail flows, a challenge is put off, an order says what is
// wrong; and everything goes on by itself when it is back, confined as it is.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	y := newYard(t, testca.Config{})
	server := y.onRedis()
	y.configure(y.ca.SMTPAddr)
	keep := make(kept, 2)
	y.through(keep.take)
	y.startMilter(y.dir)
	order := make(chan string, 1)
	go func() {
		if status, out := y.cert("-e", alice, "--timeout", "60s"); status != 0 {
			order <- out
		}
		close(order)
	}()
	challenge := <-keep

	server.Kill()
	y.wantOrdinaryMail()
	if err := y.milter("ca@far.test", alice, challenge); err == nil {
		t.Error("the milter takes a challenge while Redis is away")
	}
	if err := y.pipe("", alice, challenge); err == nil || !strings.Contains(err.Error(), "exit status 75") {
		t.Errorf("postseal-pipe takes a challenge while Redis is away: %v", err)
	}
	status, out := y.cert("-e", "bob@example.test")
	if status != 75 || !strings.Contains(out, "connection refused") || !strings.Contains(out, "hint:") {
		t.Errorf("an order while Redis is away: exit %d\n%s", status, out)
	}

	server.Restart()
	y.wantOrdinaryMail()
	mta.WaitFor(t, "the challenge to be answered", func() bool { return y.milter("ca@far.test", alice, challenge) == nil && len(y.replies()) > 0 })
	if out := <-order; out != "" {
		t.Errorf("postseal cert:\n%s", out)
	}
	y.through(y.pipe)
	y.order("carol@example.test")
	y.wantReplies(testca.VerdictGood, testca.VerdictGood)
}

// What is wrong with a --state is said at the start, with a hint and without what may
// be a password.
func TestWrongStates(t *testing.T) {
	mta.NotShort(t)
	t.Parallel()
	bin := mta.Build(t, "postseal", "postseal-milter", "postseal-pipe")
	for _, url := range []string{"redis://mail:hunter2@mx/x", "redis://mail:hun/ter2@mx", "mysql://mail:hunter2@mx", "redis://mail:hunter2@mx?prefix=*"} {
		for _, args := range [][]string{{"postseal", "status"}, {"postseal-milter", "--listen", "unix:/nonexistent/s"}, {"postseal-pipe"}} {
			status, out := outcome(t, exec.Command(filepath.Join(bin, args[0]), append(args[1:], "--state", url)...))
			if status != 78 || !strings.Contains(out, "hint: ") || strings.Contains(out, "ter2") {
				t.Errorf("%s --state %s: exit %d\n%s", args[0], url, status, out)
			}
		}
	}
}
