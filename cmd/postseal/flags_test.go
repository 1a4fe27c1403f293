package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"postseal/internal/cli"
	"postseal/issuer"
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
		"given":   {passFlags{Passphrase: "x"}, issuer.PassGiven, 0},
		"file":    {passFlags{PassphraseFile: file}, issuer.PassFile, 0},
		"none":    {passFlags{NoPassphrase: true}, issuer.PassNone, 0},
		"two":     {passFlags{Passphrase: "x", NoPassphrase: true}, "", cli.ExitUsage},
		"three":   {passFlags{Passphrase: "x", PassphraseFile: file, NoPassphrase: true}, "", cli.ExitUsage},
		"no file": {passFlags{PassphraseFile: file + "x"}, "", cli.ExitConfig},
	} {
		err := tc.p.check()
		var got issuer.Passphrase
		if err == nil {
			got, err = tc.p.choose()
		}
		if cli.ExitCode(asCLI(err)) != tc.code || tc.code == 0 && got.Kind != tc.kind {
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
	if err != nil || !slices.Equal(got, []string{"a@x.test", "b@x.test"}) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := readAddresses(file + "x"); cli.ExitCode(err) != cli.ExitConfig {
		t.Errorf("%v", err)
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

func TestDraftDir(t *testing.T) {
	for out, want := range map[string]string{"": ".", "a.p12": ".", "/tmp/x/a.p12": "/tmp/x"} {
		if got := draftDir(out); got != want {
			t.Errorf("%q: %q", out, got)
		}
	}
}
