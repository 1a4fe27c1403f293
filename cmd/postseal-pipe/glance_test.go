package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postseal/internal/test/mta"
)

// process runs the program itself, which a test binary is not, and tells whether it
// set up what a challenge needs.
func process(t *testing.T, stdin string, args ...string) (r result, setUp bool) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(filepath.Join(mta.Build(t, "postseal-pipe"), "postseal-pipe"), args...)
	cmd.Env = []string{"GODEBUG=inittrace=1", "HOME=" + t.TempDir()}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for line := range strings.Lines(stderr.String()) {
		if rest, trace := strings.CutPrefix(line, "init "); trace {
			setUp = setUp || strings.HasPrefix(rest, "crypto/tls ") || strings.HasPrefix(rest, "postseal/internal/challenge ")
		} else {
			said.WriteString(line)
		}
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), said.String()}, setUp
}

// Ordinary mail ends the program before anything is set up, its last byte read.
func TestNothingIsSetUp(t *testing.T) {
	for name, mail := range map[string]string{
		"short":      ordinary,
		"CRLF":       strings.ReplaceAll(ordinary, "\n", "\r\n"),
		"large body": ordinary + strings.Repeat("x", 3<<20),
		"encoded":    strings.Replace(ordinary, "lunch", "=?utf-8?q?lunch?=", 1),
	} {
		r, setUp := process(t, mail, "--state", t.TempDir())
		if r != (result{}) || setUp {
			t.Errorf("%s: %+v, set up %v", name, r, setUp)
		}
	}
}

// What is not ordinary beyond doubt gets the whole program, and the whole message.
func TestInDoubt(t *testing.T) {
	acme := "From: " + caFrom + "\nTo: " + alice + "\nSubject: ACME: V4nE8NhYh6edBpfQTg5qqQ\n\nHello.\n"
	long := strings.Replace(ordinary, "\n\n", "\nX: "+strings.Repeat("x", 70<<10)+"\n\n", 1)
	for name, c := range map[string]struct {
		mail   string
		args   []string
		status int
		stdout string
	}{
		"a challenge":     {acme, []string{"--state", t.TempDir() + "/none"}, 75, ""},
		"no header":       {"", nil, 0, ""},
		"endless header":  {long, nil, 0, ""},
		"passthrough":     {ordinary, []string{"--passthrough"}, 0, "Postseal-Status: none; the Subject is not that of a challenge\n" + ordinary},
		"passed through":  {acme + "more", []string{"--passthrough", "--state", t.TempDir() + "/none"}, 75, acme + "more"},
		"unknown flag":    {ordinary, []string{"--nonsense"}, 64, ""},
		"bad server":      {ordinary, []string{"--smtp", "gopher://x"}, 64, ""},
		"no port":         {ordinary, []string{"--smtp", "smtp://1.2.3.4:0"}, 64, ""},
		"no host":         {ordinary, []string{"--smtp", "smtp://a..b"}, 64, ""},
		"no resolver":     {ordinary, []string{"--resolver", ".:1"}, 64, ""},
		"no full name":    {ordinary, []string{"--helo", "mx1"}, 64, ""},
		"missing file":    {ordinary, []string{"--config", "/nonexistent"}, 78, ""},
		"a word too much": {ordinary, []string{"x"}, 64, ""},
	} {
		r, setUp := process(t, c.mail, c.args...)
		if r.status != c.status || !strings.HasSuffix(r.stdout, c.stdout) || !setUp {
			t.Errorf("%s: %+v, set up %v", name, r, setUp)
		}
	}
}

// The command lines that package glance takes for harmless are.
func TestHarmlessFlags(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"--state", "/x"},
		{"--state=/x", "--state", "/y"},
		{"--smtp", "smtp://localhost", "--resolver", "127.0.0.1:53"},
		{"--smtp=smtp://mx-1.example.org:2525", "--smtp", "smtp://1.2.3.4:25"},
		{"--state", "redis://mail@mx:6379/0?password-file=/nonexistent"},
		{"--smtp", "smtp://a.b", "--resolver", "a-b:9999", "--helo", "a.b"},
		{"--helo=mx-1.example.org", "--resolver=a:1", "--state=/="},
	} {
		if r := run(t, ordinary, nil, args...); r != (result{}) {
			t.Errorf("%q: %+v", args, r)
		}
		if _, setUp := process(t, ordinary, args...); setUp {
			t.Errorf("%q is not harmless to package glance", args)
		}
	}
}
