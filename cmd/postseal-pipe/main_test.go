package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-smtp"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
	"postseal/state"
)

const (
	alice    = "alice@example.test"
	caFrom   = "acme-challenge@ca.test"
	ordinary = "From: bob@example.test\nTo: alice@example.test\nSubject: lunch\n\nAt noon?\n"
)

// TestMain lets the test binary be the program.
func TestMain(m *testing.M) {
	if os.Getenv("POSTSEAL_PIPE_TEST") != "" {
		main()
	}
	os.Exit(m.Run())
}

// result is what the mail server sees of the program.
type result struct {
	status         int
	stdout, stderr string
}

func (r result) lines() int { return strings.Count(r.stderr, "\n") }

func command(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = []string{"POSTSEAL_PIPE_TEST=1", "GORACE=atexit_sleep_ms=0", "PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	return cmd
}

func run(t *testing.T, stdin string, env []string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := command(t, args...)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// site is a state directory in which alice waits, a DNS with the CA's key, and an
// SMTP server.
type site struct {
	t    *testing.T
	dir  *state.Dir
	dns  *testca.CA
	smtp *mta.Sink
	key  ed25519.PrivateKey
}

func newSite(t *testing.T) *site {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dns, err := testca.Start(context.Background(), testca.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dns.Close() })
	dns.SetTXT("s1._domainkey.ca.test", "v=DKIM1; k=ed25519; p="+base64.StdEncoding.EncodeToString(public))
	s := &site{t: t, dir: state.Open(filepath.Join(t.TempDir(), "state")), dns: dns, smtp: mta.StartSink(t), key: private}
	if _, err := s.dir.Create(); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if err := s.dir.Put(&state.Pending{
		ID: "order-1", Email: alice, Server: "https://ca.test/directory", From: caFrom, Token: "x6I65YvEk6xC4KV0QMvdJw",
		Thumbprint: "hC4xyXNn8ZDH4yrcp93Zj3qgQs7LyT_GUL45YD7IVMQ", Join: "string", Created: now, Expires: now.Add(time.Hour),
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) challenge() string { return s.signed(alice, "V4nE8NhYh6edBpfQTg5qqQ") }

// signed is a genuine challenge as a mail server stores it: with LF.
func (s *site) signed(to, part1 string) string {
	s.t.Helper()
	mail := "From: " + caFrom + "\r\nTo: " + to + "\r\nSubject: ACME: " + part1 + "\r\n" +
		"Message-ID: <1@ca.test>\r\nAuto-Submitted: auto-generated; type=acme\r\n\r\nA challenge.\r\n"
	var signed bytes.Buffer
	err := dkim.Sign(&signed, strings.NewReader(mail), &dkim.SignOptions{
		Domain: "ca.test", Selector: "s1", Signer: s.key,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.ReplaceAll(signed.String(), "\r\n", "\n")
}

func (s *site) run(stdin string, args ...string) result {
	s.t.Helper()
	return run(s.t, stdin, nil, append([]string{
		"--state", s.dir.Path(), "--smtp", "smtp://" + s.smtp.Addr, "--resolver", s.dns.DNSAddr,
	}, args...)...)
}

// want checks what every mail server relies on: the status, silence on stdout, and one line
// in the log for a message that an order waits for.
func (s *site) want(r result, status, lines int, says string) {
	s.t.Helper()
	if r.status != status || r.stdout != "" || r.lines() != lines || !strings.Contains(r.stderr, says) {
		s.t.Errorf("exit %d, stdout %q, stderr %q; want exit %d, %d lines, %q", r.status, r.stdout, r.stderr, status, lines, says)
	}
}

func (s *site) wantReplies(n int) {
	s.t.Helper()
	if got := len(s.smtp.Received()); got != n {
		s.t.Errorf("%d replies were sent, want %d", got, n)
	}
}

func TestAnsweredOnce(t *testing.T) {
	s := newSite(t)
	s.want(s.run(s.challenge()), 0, 1,
		`msg="challenge answered" address=alice@example.test ca=https://ca.test/directory order=order-1 reply=<`)
	s.want(s.run(s.challenge(), "--answered-exit", "99"), 99, 1, "already answered")
	s.wantReplies(1)
	reply := s.smtp.Received()[0]
	if reply.From != alice || len(reply.To) != 1 || reply.To[0] != caFrom {
		t.Errorf("envelope %q %q", reply.From, reply.To)
	}
	if !strings.Contains(string(reply.Data), "\ngtzugYfQ1gO_Pi-ripWZTUtKP_xzPoQe-brDkSOvX5c\n") {
		t.Errorf("the digest is not in\n%s", reply.Data)
	}
}

func TestOrdinaryMail(t *testing.T) {
	s := newSite(t)
	s.want(s.run(ordinary), 0, 0, "")
	s.want(s.run(""), 0, 0, "")
	nobody := strings.ReplaceAll(s.challenge(), alice, "bob@example.test")
	s.want(s.run(nobody), 0, 0, "")
}

// Ordinary mail causes no output, whatever its form and whatever settings for challenges are
// on the command line.
func TestFormsOfOrdinaryMail(t *testing.T) {
	dir := t.TempDir()
	for name, mail := range map[string]string{
		"CRLF":           strings.ReplaceAll(ordinary, "\n", "\r\n"),
		"large body":     ordinary + strings.Repeat("x", 3<<20),
		"encoded":        strings.Replace(ordinary, "lunch", "=?utf-8?q?lunch?=", 1),
		"endless header": strings.Replace(ordinary, "\n\n", "\nX: "+strings.Repeat("x", 70<<10)+"\n\n", 1),
	} {
		if r := run(t, mail, nil, "--state", dir); r != (result{}) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	for _, args := range [][]string{
		{"--state=/x", "--state", "/y"},
		{"--smtp=smtp://mx-1.example.org:2525", "--smtp", "smtp://1.2.3.4:25", "--resolver", "127.0.0.1:53"},
		{"--state", "redis://mail@mx:6379/0?password-file=/nonexistent"},
		{"--helo=mx-1.example.org", "--resolver=a:1", "--state=/="},
	} {
		if r := run(t, ordinary, nil, args...); r != (result{}) {
			t.Errorf("%q: %+v", args, r)
		}
	}
}

// After a newer postseal has written here, the challenge waits in the mail server's queue,
// with the reason in the log; ordinary mail flows.
func TestNewerState(t *testing.T) {
	s := newSite(t)
	record := s.dir.Path("pending", alice+".json")
	data, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	newer := bytes.Replace(data, []byte(`"version": 1`), []byte(`"version": 2`), 1)
	if err := os.WriteFile(record, newer, 0o640); err != nil {
		t.Fatal(err)
	}
	s.want(s.run(s.challenge()), 75, 1, record+": written by a newer postseal: version 2")
	s.want(s.run(ordinary), 0, 0, "")
	nobody := strings.ReplaceAll(s.challenge(), alice, "bob@example.test")
	s.want(s.run(nobody), 0, 0, "")
	if err := os.WriteFile(record, data, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.dir.Path("answers", "order-1.json"), []byte(`{"version": 2, "id": "order-1"}`), 0o660); err != nil {
		t.Fatal(err)
	}
	s.want(s.run(s.challenge()), 75, 1, "order-1.json: written by a newer postseal: version 2")
	s.wantReplies(0)
}

func TestForged(t *testing.T) {
	s := newSite(t)
	s.want(s.run(strings.Replace(s.challenge(), "A challenge.", "Another one.", 1)), 0, 1, "body hash did not verify")
	s.wantReplies(0)
}

// Trouble outside keeps the message in the mail server's queue; a final refusal by the SMTP
// server does not.
func TestTroubleOutside(t *testing.T) {
	s := newSite(t)
	s.want(s.run(s.challenge(), "--smtp", "smtp://127.0.0.1:1"), 75, 1, "connection refused")
	s.want(s.run(s.challenge(), "--resolver", "127.0.0.1:1"), 75, 1, "cannot be looked up now")
	s.dns.SetDNSFault("s1._domainkey.ca.test", testca.DNSFault("SERVFAIL"))
	s.want(s.run(s.challenge()), 75, 1, "cannot be looked up now")
	s.dns.SetDNSFault("s1._domainkey.ca.test", testca.DNSFault("REFUSED"))
	s.want(s.run(s.challenge()), 75, 1, "cannot be looked up now")
	s.dns.SetDNSFault("s1._domainkey.ca.test", testca.DNSWorks)
	s.smtp.Refuse(&smtp.SMTPError{Code: 451, Message: "greylisted"})
	s.want(s.run(s.challenge()), 75, 1, "greylisted")
	s.smtp.Refuse(&smtp.SMTPError{Code: 550, Message: "not authenticated"})
	s.want(s.run(s.challenge()), 0, 1, "not authenticated")
	if a, err := s.dir.Answer("order-1"); err != nil || a.Phase != state.Failed || !strings.Contains(a.Reason, "not authenticated") {
		t.Errorf("answer %+v, %v; want failed, in the server's words", a, err)
	}
	s.smtp.Refuse(nil)
	s.want(s.run(s.challenge()), 0, 1, "challenge answered")
	s.wantReplies(1)
}

// A mail server that has waited for too long ends the program, which keeps the message in the
// queue and does not leave the challenge claimed.
func TestTerminated(t *testing.T) {
	s := newSite(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	cmd := command(t, "--state", s.dir.Path(), "--smtp", "smtp://"+silent.Addr().String(), "--resolver", s.dns.DNSAddr)
	cmd.Stdin = strings.NewReader(s.challenge())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := silent.Accept(); err != nil { // it has begun to send the reply
		t.Fatal(err)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != 75 {
		t.Errorf("%v, want exit status 75", cmd.ProcessState)
	}
	s.want(s.run(s.challenge()), 0, 1, "challenge answered")
	s.wantReplies(1)
}

func TestStateMissing(t *testing.T) {
	s := newSite(t)
	none := filepath.Join(t.TempDir(), "none")
	s.want(s.run(ordinary, "--state", none), 0, 0, "")
	s.want(s.run(s.challenge(), "--state", none), 75, 1, none)
}

func TestDamagedFileIsNamed(t *testing.T) {
	s := newSite(t)
	if err := os.WriteFile(s.dir.Path("pending", "torn.json"), []byte("{"), 0o640); err != nil {
		t.Fatal(err)
	}
	s.want(s.run(s.challenge()), 0, 2, "torn.json")
	s.wantReplies(1)
}

// Only To says whose challenge it is: a stranger's genuine challenge is nobody's here,
// whatever envelope the mail server gives, and no flag makes it alice's.
func TestRecipientIsNotAskedFor(t *testing.T) {
	s := newSite(t)
	stranger := s.signed("eve@evil.test", "V4nE8NhYh6edBpfQTg5qqQ")
	args := []string{"--state", s.dir.Path(), "--smtp", "smtp://" + s.smtp.Addr, "--resolver", s.dns.DNSAddr}
	for _, name := range []string{"ORIGINAL_RECIPIENT", "ORIG_RECIPIENT", "RECIPIENT", "LOCAL_RECIPIENT", "POSTSEAL_RECIPIENT"} {
		s.want(run(t, stranger, []string{name + "=" + alice}, args...), 0, 0, "")
	}
	s.want(s.run(stranger, "--recipient", alice), 64, 2, "--recipient")
	s.wantReplies(0)
	s.want(s.run(s.challenge()), 0, 1, "challenge answered")
}

func TestPrint(t *testing.T) {
	s := newSite(t)
	r := s.run(s.challenge(), "--print")
	if r.status != 0 || !strings.HasPrefix(r.stdout, "From: "+alice+"\r\n") || r.lines() != 1 || !strings.Contains(r.stderr, "challenge genuine") {
		t.Errorf("exit %d, %q, %q", r.status, r.stdout, r.stderr)
	}
	if a, err := s.dir.Answer("order-1"); a != nil || err != nil {
		t.Errorf("something was recorded: %+v, %v", a, err)
	}
	s.wantReplies(0)
	if r := s.run(ordinary, "--print"); r.status != 0 || r.stdout != "" || r.lines() != 1 {
		t.Errorf("ordinary mail: exit %d, %q, %q; want to be told why nothing is printed", r.status, r.stdout, r.stderr)
	}
}

// An explanation sends, records and says nothing else, whatever the status for an answer.
func TestExplain(t *testing.T) {
	s := newSite(t)
	for mail, want := range map[string]string{
		s.challenge(): "verdict: answered; genuine, and would be answered\n",
		strings.Replace(s.challenge(), "A challenge.", "Another one.", 1): "verdict: refused; ",
	} {
		r := s.run(mail, "--explain", "--answered-exit", "99")
		if r.status != 0 || !strings.Contains(r.stdout, want) || r.lines() != 1 || strings.Contains(r.stderr, "challenge answered") {
			t.Errorf("exit %d, %q, %q; want 0 and %q", r.status, r.stdout, r.stderr, want)
		}
	}
	if a, err := s.dir.Answer("order-1"); a != nil || err != nil {
		t.Errorf("something was recorded: %+v, %v", a, err)
	}
	s.wantReplies(0)
}

func TestPassthroughOfOrdinaryMail(t *testing.T) {
	want := result{0, "Postseal-Status: none; the Subject is not that of a challenge\n" + ordinary, ""}
	if r := run(t, ordinary, nil, "--passthrough"); r != want {
		t.Errorf("%+v", r)
	}
}

func TestPassthroughOnTrouble(t *testing.T) {
	s := newSite(t)
	mail := s.challenge()
	r := s.run(mail, "--passthrough", "--smtp", "smtp://127.0.0.1:1")
	if r.status != 75 || !strings.HasPrefix(r.stdout, "Postseal-Status: none; ") || !strings.HasSuffix(r.stdout, mail) {
		t.Errorf("exit %d, %q; want 75 and the whole message", r.status, r.stdout)
	}
}

// The first message shows a mistake, not the first challenge: one line for the error and one
// for what to do.
func TestUsageAndConfiguration(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		name   string
		args   []string
		status int
		says   string
	}{
		{"unknown flag", []string{"--nonsense"}, 64, "--nonsense"},
		{"argument", []string{"message.eml"}, 64, "message.eml"},
		{"print and passthrough", []string{"--print", "--passthrough"}, 64, "--passthrough"},
		{"print and explain", []string{"--print", "--explain"}, 64, "--explain"},
		{"no exit status", []string{"--answered-exit", "256"}, 64, "256"},
		{"negative exit status", []string{"--answered-exit=-1"}, 64, "-1"},
		{"not a number", []string{"--answered-exit", "x"}, 64, "--answered-exit"},
		{"no SMTP URL", []string{"--smtp", "localhost:25"}, 64, "--smtp"},
		{"unknown scheme", []string{"--smtp", "gopher://x"}, 64, "--smtp"},
		{"port 0", []string{"--smtp", "smtp://1.2.3.4:0"}, 64, "--smtp"},
		{"no host", []string{"--smtp", "smtp://a..b"}, 64, "--smtp"},
		{"resolver without host", []string{"--resolver", ".:1"}, 64, "--resolver"},
		{"password in the URL", []string{"--smtp", "smtps://me:secret@mail.example.org"}, 64, "password"},
		{"no resolver", []string{"--resolver", "localhost"}, 64, "--resolver"},
		{"missing file", []string{"--config", dir + "/none.toml"}, 78, "none.toml"},
		{"unknown key", []string{"--config", file("key.toml", "statr = \"/x\"\n", 0o600)}, 78, "statr"},
		{"password for all to read", []string{"--config", file("open.toml", "smtp-password = \"x\"\n", 0o644)}, 78, "everyone can read it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := run(t, ordinary, nil, c.args...)
			if r.status != c.status || r.stdout != "" || !strings.Contains(r.stderr, c.says) {
				t.Errorf("exit %d, %q, %q; want exit %d, %q", r.status, r.stdout, r.stderr, c.status, c.says)
			}
			if !strings.HasPrefix(r.stderr, "postseal-pipe: error: ") || !strings.Contains(r.stderr, "\npostseal-pipe: hint: ") || r.lines() != 2 {
				t.Errorf("not one error and one hint: %q", r.stderr)
			}
			if strings.Contains(r.stderr, "secret") {
				t.Errorf("a password is shown: %q", r.stderr)
			}
		})
	}
}

// What only a challenge needs is read for a challenge; ordinary mail passes.
func TestBrokenKeyFile(t *testing.T) {
	s := newSite(t)
	config := filepath.Join(t.TempDir(), "postseal.toml")
	if err := os.WriteFile(config, []byte("[[dkim]]\ndomain = \"example.test\"\nselector = \"s\"\nkey = \"/none.pem\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.want(s.run(ordinary, "--config", config), 0, 0, "")
	s.want(s.run(s.challenge(), "--config", config), 78, 2, "/none.pem")
	s.wantReplies(0)
}

func TestFlagsAreKeys(t *testing.T) {
	unknown, err := new(flags).program().UnknownFlags()
	if err != nil || len(unknown) > 0 {
		t.Errorf("no configuration file can set %q; %v", unknown, err)
	}
}

// The answer file is what "postseal status" shows, so its form is fixed.
func TestAnswerFile(t *testing.T) {
	s := newSite(t)
	s.want(s.run(s.challenge()), 0, 1, "challenge answered")
	data, err := os.ReadFile(s.dir.Path("answers", "order-1.json"))
	if err != nil {
		t.Fatal(err)
	}
	var a struct {
		Version    int               `json:"version"`
		ID         string            `json:"id"`
		Phase      string            `json:"phase"`
		MessageIDs map[string]string `json:"message-ids"`
	}
	if err := json.Unmarshal(data, &a); err != nil {
		t.Fatal(err)
	}
	if a.Version != 1 || a.ID != "order-1" || a.Phase != "sent" || a.MessageIDs["challenge"] != "<1@ca.test>" || a.MessageIDs["reply"] == "" {
		t.Errorf("got %s", data)
	}
}

// The first message shows a value that can never work. The exit status is 64 for the command
// line, otherwise 78.
func TestValuesThatCannotWork(t *testing.T) {
	for key, c := range map[string]struct{ value, says string }{
		"resolver": {"::1", "is not HOST:PORT: write [::1]:PORT"},
		"smtp":     {"smtp://::1", "is not HOST:PORT"},
		"helo":     {"mx1", "is not a fully qualified name"},
	} {
		file := filepath.Join(t.TempDir(), "postseal.toml")
		if err := os.WriteFile(file, fmt.Appendf(nil, "%s = %q\n", key, c.value), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, r := range []struct {
			got    result
			status int
			where  string
		}{
			{run(t, ordinary, nil, "--"+key, c.value), 64, "error: --"},
			{run(t, ordinary, []string{"POSTSEAL_" + strings.ToUpper(key) + "=" + c.value}), 78, "error: environment: --"},
			{run(t, ordinary, nil, "--config", file), 78, "error: " + file + ": --"},
		} {
			if r.got.status != r.status || r.got.lines() != 2 || !strings.Contains(r.got.stderr, r.where+key+": ") || !strings.Contains(r.got.stderr, c.says) {
				t.Errorf("%+v, want exit %d, %q", r.got, r.status, c.says)
			}
		}
	}
}

// A message that cannot be read stays in the mail server's queue.
func TestUnreadable(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := command(t)
	cmd.Stdin = dir
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 75 || !bytes.Contains(out, []byte("cannot read the message")) {
		t.Errorf("%v: %s", err, out)
	}
}

// For a challenge the program gives up its rights, before it speaks to strangers.
func TestChallengeGivesUpRights(t *testing.T) {
	s := newSite(t)
	mta.Need(t, "strace")
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command("strace", "-f", "-e", "trace=prctl,landlock_restrict_self,socket", "-o", trace, os.Args[0],
		"--state", s.dir.Path(), "--smtp", "smtp://"+s.smtp.Addr, "--resolver", s.dns.DNSAddr)
	cmd.Env = []string{"POSTSEAL_PIPE_TEST=1", "PATH=" + os.Getenv("PATH")}
	cmd.Stdin = strings.NewReader(s.challenge())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	calls, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := bytes.Cut(calls, []byte("AF_INET"))
	for _, call := range []string{"PR_SET_DUMPABLE, SUID_DUMP_DISABLE", "PR_SET_NO_NEW_PRIVS, 1", "landlock_restrict_self("} {
		if !bytes.Contains(before, []byte(call)) {
			t.Errorf("no %s before the first connection:\n%s", call, calls)
		}
	}
	s.wantReplies(1)
}

// Ordinary mail causes no network traffic: no DNS question for the name of this host, and no
// connection to a server.
func TestOrdinaryMailOpensNoSocket(t *testing.T) {
	s := newSite(t)
	mta.Need(t, "strace")
	for _, args := range [][]string{nil, {"--max-answers", "10"}, {"--passthrough"}} {
		trace := filepath.Join(t.TempDir(), "trace")
		args = append([]string{"-f", "-e", "trace=socket,exit_group", "-o", trace, os.Args[0], "--state", s.dir.Path()}, args...)
		cmd := exec.Command("strace", args...)
		cmd.Env = []string{"POSTSEAL_PIPE_TEST=1", "PATH=" + os.Getenv("PATH")}
		cmd.Stdin = strings.NewReader(ordinary)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		calls, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(calls, []byte("exit_group(0")) || bytes.Contains(calls, []byte("socket(")) {
			t.Errorf("%v:\n%s", args, calls)
		}
	}
}
