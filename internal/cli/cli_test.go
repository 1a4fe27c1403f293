package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postseal/internal/failure"
)

type testFlags struct {
	Common
	State   string   `placeholder:"DIR" help:"Where."`
	SMTP    string   `name:"smtp" default:"smtp://localhost:25"`
	Email   []string `short:"e"`
	Kind    []string
	Timeout time.Duration `default:"30m"`
	Verbose bool          `short:"v"`
}

// parse parses args with a configuration file of the given content and mode.
func parse(t *testing.T, file string, mode os.FileMode, args ...string) (*testFlags, *Parsed, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "postseal.toml")
	if err := os.WriteFile(path, []byte(file), mode); err != nil {
		t.Fatal(err)
	}
	f := new(testFlags)
	parsed, err := Program{Name: "test", Example: "test -v", Flags: f}.Parse(append(args, "--config", path), io.Discard)
	return f, parsed, err
}

func TestPrecedence(t *testing.T) {
	const file = "state = \"/file\"\nsmtp = \"smtp://file\"\ntimeout = \"5s\"\nverbose = true\nemail = [\"a@x\", \"b@x\"]\n"
	t.Setenv("POSTSEAL_STATE", "/env")
	t.Setenv("POSTSEAL_SMTP", "smtp://env")
	f, _, err := parse(t, file, 0o600, "--state", "/flag")
	if err != nil {
		t.Fatal(err)
	}
	if f.State != "/flag" {
		t.Errorf("state %q, want that of the flag", f.State)
	}
	if f.SMTP != "smtp://env" {
		t.Errorf("smtp %q, want that of the environment", f.SMTP)
	}
	if f.Timeout != 5*time.Second || !f.Verbose || strings.Join(f.Email, " ") != "a@x b@x" {
		t.Errorf("got %v %v %q, want the values of the file", f.Timeout, f.Verbose, f.Email)
	}
	os.Unsetenv("POSTSEAL_STATE")
	os.Unsetenv("POSTSEAL_SMTP")
	if f, _, err = parse(t, "", 0o600); err != nil || f.SMTP != "smtp://localhost:25" || f.Timeout != 30*time.Minute {
		t.Errorf("got %q %v %v, want the defaults", f.SMTP, f.Timeout, err)
	}
}

// A misspelt option that is silently ignored is found months later.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name, file string
		mode       os.FileMode
		args       []string
		code       int
		want       string
	}{
		{"unknown flag", "", 0o600, []string{"--nonsense"}, ExitUsage, "--nonsense"},
		{"bad value of a flag", "", 0o600, []string{"--timeout", "soon"}, ExitUsage, "--timeout"},
		{"unexpected argument", "", 0o600, []string{"argument"}, ExitUsage, "argument"},
		{"unknown key", "statr = \"/x\"\n", 0o600, nil, ExitConfig, `unknown key "statr"`},
		{"unknown table", "[smtp-server]\nhost = \"x\"\n", 0o600, nil, ExitConfig, "smtp-server"},
		{"unknown key in a table", "[smime]\nroot = \"x\"\n", 0o600, nil, ExitConfig, "smime.root"},
		{"unknown key below a flag", "[smtp]\nhost = \"x\"\n", 0o600, nil, ExitConfig, "smtp.host"},
		{"unknown key of a CA", "[ca.\"*\"]\nsettel = \"2s\"\n", 0o600, nil, ExitConfig, "settel"},
		{"bad value of a CA", "[ca.\"*\"]\ndkim = \"lax\"\n", 0o600, nil, ExitConfig, `dkim = "lax"`},
		{"bad duration of a CA", "[ca.\"*\"]\nsettle = \"soon\"\n", 0o600, nil, ExitConfig, "settle"},
		{"bad compat", "[ca.\"*\"]\ncompat = [\"lego\"]\n", 0o600, nil, ExitConfig, "lego"},
		{"no TOML", "state = \n", 0o600, nil, ExitConfig, "postseal.toml"},
		{"bad value in the file", "timeout = \"soon\"\n", 0o600, nil, ExitConfig, "--timeout"},
		{"negative duration of a CA", "[ca.\"*\"]\nsettle = \"-1s\"\n", 0o600, nil, ExitConfig, "settle"},
		{"no key", "[[dkim]]\ndomain = \"x\"\nselector = \"x\"\n", 0o600, nil, ExitConfig, "[[dkim]] table 1"},
		{"no selector", "[[dkim]]\ndomain = \"x\"\nkey = \"x\"\n", 0o600, nil, ExitConfig, "[[dkim]] table 1"},
		{"password for all", "smtp-password = \"x\"\n", 0o644, nil, ExitConfig, "everyone can read"},
		{"password for others", "smtp-password = \"x\"\n", 0o604, nil, ExitConfig, "(smtp-password) and everyone can read"},
		{"passphrase for all", "passphrase = \"x\"\n", 0o644, nil, ExitConfig, "(passphrase)"},
		{"password of a server for all", "smtp = \"smtps://u:p@mx\"\n", 0o644, nil, ExitConfig, "(smtp)"},
		{"password after the name for all", "state = \"redis://mx?password=x\"\n", 0o644, nil, ExitConfig, "(state)"},
		{"password in a URL for all", "state = \"redis://u:p@localhost\"\n", 0o644, nil, ExitConfig, "everyone can read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := parse(t, c.file, c.mode, c.args...)
			if err == nil {
				t.Fatal("no error")
			}
			if ExitCode(err) != c.code || !strings.Contains(err.Error(), c.want) {
				t.Errorf("exit %d, %q; want exit %d, %q", ExitCode(err), err, c.code, c.want)
			}
			if failure.HintOf(err) == "" {
				t.Error("no hint")
			}
		})
	}
}

// Everybody may read a file without a secret, and a group that the admin chose even a password.
func TestReadable(t *testing.T) {
	for file, mode := range map[string]os.FileMode{
		"smtp-password = \"\"\n": 0o644, "smtp = \"smtps://u@mx\"\n": 0o644, "state = \"redis://mail@mx?password-file=/x\"\n": 0o644,
		"smtp-password = \"x\"\n": 0o640,
	} {
		if _, _, err := parse(t, file, mode); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// An error in a value is that of the place where it was written.
func TestBlame(t *testing.T) {
	bad := failure.In("state", failure.Usage("give another", "bad"))
	if _, p, err := parse(t, "state = \"/file\"\n", 0o600, "--state", "/flag"); err != nil || !p.Given("state") || ExitCode(p.blame(bad)) != ExitUsage {
		t.Errorf("the flag: %v", err)
	}
	_, p, err := parse(t, "state = \"/file\"\n", 0o600)
	if got := p.blame(bad); err != nil || p.Given("state") || p.Configured("state") != "/file" || ExitCode(got) != ExitConfig || !strings.HasPrefix(got.Error(), p.File.Path) {
		t.Errorf("the file: %v, %v", got, err)
	}
	t.Setenv("POSTSEAL_STATE", "/env")
	_, p, err = parse(t, "state = \"/file\"\n", 0o600)
	if got := p.blame(bad); err != nil || p.Given("state") || p.Configured("state") != "/env" || ExitCode(got) != ExitConfig || !strings.HasPrefix(got.Error(), "environment: ") {
		t.Errorf("the environment: %v, %v", got, err)
	}
	t.Setenv("POSTSEAL_STATE", "")
	if p.Configured("state") != "" {
		t.Error("an empty variable does not outdo the file")
	}
}

func TestMissingFile(t *testing.T) {
	_, err := Program{Name: "test", Flags: new(testFlags)}.Parse([]string{"--config", "/nonexistent/x.toml"}, io.Discard)
	if ExitCode(err) != ExitConfig || !strings.Contains(err.Error(), "/nonexistent/x.toml") {
		t.Errorf("exit %d, %v", ExitCode(err), err)
	}
	t.Setenv("POSTSEAL_CONFIG", "/nonexistent/env.toml")
	_, err = Program{Name: "test", Flags: new(testFlags)}.Parse(nil, io.Discard)
	if ExitCode(err) != ExitConfig || !strings.Contains(err.Error(), "/nonexistent/env.toml") {
		t.Errorf("exit %d, %v", ExitCode(err), err)
	}
}

func TestBadEnvironment(t *testing.T) {
	t.Setenv("POSTSEAL_TIMEOUT", "soon")
	_, _, err := parse(t, "", 0o600)
	if ExitCode(err) != ExitConfig || !strings.Contains(err.Error(), "POSTSEAL_TIMEOUT") {
		t.Errorf("exit %d, %v", ExitCode(err), err)
	}
}

func TestTables(t *testing.T) {
	flags, parsed, err := parse(t, `
smtp-password = "secret"
[smime]
roots = "/roots.pem"
[[dkim]]
domain = "example.org"
selector = "s1"
key = "/key.pem"
[kind.sign]
key-type = "p256"
[ca."https://one.example/directory"]
token-join = "bytes"
[ca."*"]
settle = "5s"
`, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	f := parsed.File
	if f.SMTPPassword != "secret" || f.SMIME.Roots != "/roots.pem" || len(f.DKIM) != 1 || f.DKIM[0].Selector != "s1" || f.Kinds["sign"].KeyType != "p256" || flags.Kind != nil {
		t.Errorf("got %+v", f)
	}
	if f.CAFor("https://one.example/directory").TokenJoin != "bytes" || f.CAFor("https://other.example").Settle != "5s" {
		t.Error("the table of a CA is not found, or that of all others")
	}
}

func TestHelpEndsWithExample(t *testing.T) {
	var stdout bytes.Buffer
	_, err := Program{Name: "test", Example: "test -v", Flags: new(testFlags)}.Parse([]string{"--help"}, &stdout)
	if ExitCode(err) != ExitOK || !strings.HasSuffix(stdout.String(), "Example:\n  test -v\n") {
		t.Errorf("exit %d, %v: %s", ExitCode(err), err, stdout.String())
	}
	if !strings.Contains(stdout.String(), "POSTSEAL_STATE") {
		t.Error("the help does not name the environment variables")
	}
}

// A server's text must not break the one-line rule or drive the terminal.
func TestReport(t *testing.T) {
	var stderr bytes.Buffer
	code := Report(&stderr, "test", failure.WithHint(errors.New("the server says: 550\r\n\x1b[31mno"), "ask\nit"))
	if want := "test: error: the server says: 550 \\x1b[31mno\ntest: hint: ask it\n"; stderr.String() != want || code != ExitFailed {
		t.Errorf("exit %d, %q, want %q", code, stderr.String(), want)
	}
	if code := Report(&stderr, "test", failure.WithHint(failure.Later("", "x"), "again")); code != ExitTempFail {
		t.Errorf("a hint changed the exit status to %d", code)
	}
}

func TestCheckState(t *testing.T) {
	if err := CheckState("/var/lib/postseal"); err != nil {
		t.Error(err)
	}
	if err := CheckState("redis://user:secret@host/0"); err != nil {
		t.Error(err)
	}
	for _, scheme := range []string{"mysql", "http", "https"} {
		if err := CheckState(scheme + "://user:secret@host/0"); ExitCode(err) != ExitConfig || failure.HintOf(err) == "" || strings.Contains(err.Error(), "secret") {
			t.Errorf("exit %d, %v", ExitCode(err), err)
		}
	}
}

func TestCheckResolver(t *testing.T) {
	for s, want := range map[string]int{"": ExitOK, "127.0.0.1:53": ExitOK, "[::1]:53": ExitOK, "127.0.0.1": ExitUsage, "127.0.0.1:dns:53": ExitUsage, "127.0.0.1:0": ExitUsage} {
		if got := ExitCode(CheckResolver(s)); got != want {
			t.Errorf("%q: exit %d, want %d", s, got, want)
		}
	}
}

// The journal knows the level of a line by its mark, and whoever writes it sees no more
// bytes than the line has.
func TestMarked(t *testing.T) {
	var b bytes.Buffer
	if n, err := (marked{&b}).Write([]byte("line\n")); n != 5 || err != nil || b.String() != "<3>line\n" {
		t.Errorf("%d, %v, %q", n, err, b.String())
	}
}

func TestExitCode(t *testing.T) {
	for err, want := range map[error]int{
		nil: 0, errors.New("x"): 1, failure.Failed("", "x"): 1, failure.NotDue("", errors.New("x")): 2, failure.Usage("", "x"): 64,
		fmt.Errorf("y: %w", failure.Later("", "x")): 75, failure.WithHint(failure.Config("", "x"), "h"): 78,
	} {
		if got := ExitCode(err); got != want {
			t.Errorf("%v: exit %d, want %d", err, got, want)
		}
	}
}
