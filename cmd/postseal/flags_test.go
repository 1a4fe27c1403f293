package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postseal/internal/cli"
	"postseal/issuer"
	"postseal/issuer/cert"
)

// parse reads a command line as Main does, without running it.
func parse(t *testing.T, args ...string) (*flags, *cli.Parsed) {
	t.Helper()
	f := new(flags)
	parsed, err := f.program().Parse(args, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return f, parsed
}

// Which directory is asked, for each way to say so.
func TestServer(t *testing.T) {
	for want, args := range map[string][]string{
		issuer.DefaultServer: {"cert", "-e", "a@x.test"},
		issuer.StagingServer: {"cert", "-t", "-e", "a@x.test"},
		"https://ca.example": {"--server", "https://ca.example", "cert", "-e", "a@x.test"},
	} {
		f, parsed := parse(t, append(args, "--state", t.TempDir())...)
		s, err := f.session(parsed)
		if err != nil || s.server() != want {
			t.Errorf("%v: %s, %v", args, s.server(), err)
		}
	}
}

// A dry run goes to the staging directory unless --server says otherwise.
func TestDryRunServer(t *testing.T) {
	for want, args := range map[string][]string{
		issuer.StagingServer:     {"cert", "--dry-run", "-e", "a@x.test"},
		"https://ca.example/dir": {"cert", "--dry-run", "--server", "https://ca.example/dir", "-e", "a@x.test"},
	} {
		f, parsed := parse(t, args...)
		s, err := f.session(parsed)
		if err != nil {
			t.Fatal(err)
		}
		req, err := f.Cert.request(s)
		if err != nil || req.Server != want || !req.DryRun {
			t.Errorf("%v: %+v, %v", args, req, err)
		}
		s.opts.Kinds = map[string]*issuer.Kind{"sign": {Server: "https://table.example/dir"}}
		if req, err = s.ofKind(req, "sign"); err != nil || req.Server != want {
			t.Errorf("%v, of a kind: %+v, %v", args, req, err)
		}
	}
}

// A kind's key-path is for one certificate.
func TestKeyOfKind(t *testing.T) {
	f, parsed := parse(t, "cert", "--each", "--kind", "sign", "-e", "a@x.test", "-e", "b@x.test")
	s, err := f.session(parsed)
	if err != nil {
		t.Fatal(err)
	}
	s.opts.Kinds = map[string]*issuer.Kind{"sign": {KeyPath: "key.pem"}}
	for n, want := range map[int]int{1: cli.ExitOK, 2: cli.ExitConfig} {
		if _, err := f.Cert.requests(s, issuer.Request{}, [][]string{{"a@x.test"}, {"b@x.test"}}[:n]); cli.ExitCode(err) != want {
			t.Errorf("%d certificates: %v", n, err)
		}
	}
}

// A key that is given has its own type, which no configuration changes later.
func TestProvenance(t *testing.T) {
	for _, tc := range []struct {
		args              []string
		configured, asked string
	}{
		{[]string{"cert", "-e", "a@x.test"}, "deploy-hook key-type p12", ""},
		{[]string{"cert", "-e", "a@x.test", "--key-path", "key.pem"}, "deploy-hook p12", ""},
		{[]string{"cert", "-e", "a@x.test", "--key-type", "p256", "--deploy-hook", "true"}, "p12", "key-type"},
		{[]string{"cert", "-e", "a@x.test", "--p12", "legacy", "--test"}, "deploy-hook key-type", "server"},
	} {
		f, parsed := parse(t, tc.args...)
		s, err := f.session(parsed)
		if err != nil {
			t.Fatal(err)
		}
		req := issuer.Request{KeyPath: f.Cert.KeyPath}
		s.provenance(&req)
		if got, asked := strings.Join(req.Configured, " "), strings.Join(req.Asked, " "); got != tc.configured || asked != tc.asked {
			t.Errorf("%v: configured %q, asked %q", tc.args, got, asked)
		}
	}
}

func TestPassFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pass")
	if err := os.WriteFile(file, []byte("word\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		p    passFlags
		kind string
		code int
	}{
		"nothing": {passFlags{}, "", 0},
		"given":   {passFlags{Passphrase: "x"}, cert.PassGiven, 0},
		"file":    {passFlags{PassphraseFile: file}, cert.PassFile, 0},
		"none":    {passFlags{NoPassphrase: true}, cert.PassNone, 0},
		"two":     {passFlags{Passphrase: "x", NoPassphrase: true}, "", cli.ExitUsage},
		"three":   {passFlags{Passphrase: "x", PassphraseFile: file, NoPassphrase: true}, "", cli.ExitUsage},
		"no file": {passFlags{PassphraseFile: file + "x"}, "", cli.ExitConfig},
	} {
		err := tc.p.check()
		var got cert.Passphrase
		if err == nil {
			got, err = tc.p.choose()
		}
		if cli.ExitCode(err) != tc.code || tc.code == 0 && got.Kind != tc.kind {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestReadAddresses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(file, []byte("# users\r\n a@x.test \r\n\r\nb@x.test"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readAddresses(file)
	if want := []cert.Typed{{Text: "a@x.test", Where: "line 2"}, {Text: "b@x.test", Where: "line 4"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := readAddresses(file + "x"); cli.ExitCode(err) != cli.ExitConfig {
		t.Errorf("%v", err)
	}
}

// A list as Windows, a spreadsheet or a web page leaves it.
func TestPastedList(t *testing.T) {
	file := filepath.Join(t.TempDir(), "list")
	for content, want := range map[string]string{
		"\ufeffa@x.test\r\n\ufeff b@x.test\u00a0\r\n":                  "",
		"a@x.test\nA@X.test\n a@x.test\n":                              "",
		"# all\nnobody\n\na@x.test\nb\u200b@x.test\n":                  `line 2: "nobody" is not a mail address: it must be LOCAL@DOMAIN; line 5: "b\u200b@x.test" is not a mail address: it holds a character that nobody sees, U+200B`,
		"\xff\xfea\x00@\x00x\x00.\x00t\x00e\x00s\x00t\x00\r\x00\n\x00": "UTF-16",
		"\xfe\xff\x00a\x00@\x00x\x00.\x00t\x00e\x00s\x00t\x00\n":       "UTF-16",
		strings.Repeat("no\n", 25):                                     "line 20: \"no\" is not a mail address: it must be LOCAL@DOMAIN; and 5 more",
		"a@x.test\n" + strings.Repeat("x", 100000) + "\n":              "line 2: ",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		emails, _, err := (&certCmd{FromFile: file}).addresses()
		if want == "" {
			if err != nil || emails[0] != "a@x.test" || len(emails) != 1+strings.Count(content, "b@") {
				t.Errorf("%q: %q, %v", content, emails, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) || cli.ExitCode(err) != cli.ExitUsage || len(err.Error()) > 2000 {
			t.Errorf("%.60q: %v", content, err)
		}
	}
}

// Whether the addresses get one certificate or one each.
func TestAddresses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(file, []byte("c@x.test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		c    certCmd
		n    int
		each bool
		code int
	}{
		"one":      {certCmd{Email: []string{"a@x.test"}}, 1, false, 0},
		"two":      {certCmd{Email: []string{"a@x.test", "b@x.test"}}, 2, false, 0},
		"each":     {certCmd{Email: []string{"a@x.test", "b@x.test"}, Each: true}, 2, true, 0},
		"file":     {certCmd{FromFile: file}, 1, true, 0},
		"both":     {certCmd{Email: []string{"a@x.test"}, FromFile: file}, 2, true, 0},
		"nothing":  {certCmd{}, 0, false, cli.ExitUsage},
		"no file":  {certCmd{FromFile: file + "x"}, 0, false, cli.ExitConfig},
		"only me ": {certCmd{Email: []string{"a@x.test"}, Each: true}, 1, true, 0},
	} {
		emails, each, err := tc.c.addresses()
		if cli.ExitCode(err) != tc.code || len(emails) != tc.n || each != tc.each {
			t.Errorf("%s: %q, %v, %v", name, emails, each, err)
		}
	}
}
