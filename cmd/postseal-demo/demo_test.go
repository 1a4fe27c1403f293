package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postseal/internal/cli"
	"postseal/internal/failure"
)

// The story is told in its order, and what it leaves is real: openssl reads the
// container with the passphrase beside it. A second run in the same directory is
// as good, though the CA is another one.
func TestDemo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	for range 2 {
		var out bytes.Buffer
		if err := (&demoCmd{Dir: dir}).run(context.Background(), &out); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		rest := out.String()
		for _, want := range []string{
			"order     ordered for alice@example.test", "mail      From: acme-challenge+", "Subject: ACME: ",
			"verify    genuine: DKIM signature by", "answered  the SMTP server took the reply",
			"valid     the CA accepted the reply", "issued    got a certificate for alice@example.test", "openssl pkcs12",
		} {
			_, after, found := strings.Cut(rest, want)
			if !found {
				t.Fatalf("%q is missing, or not in its place, in:\n%s", want, out.String())
			}
			rest = after
		}
		p12 := filepath.Join(dir, "alice@example.test.p12")
		text, err := exec.Command("openssl", "pkcs12", "-in", p12, "-passin", "file:"+filepath.Join(dir, "alice@example.test.passphrase"), "-nodes").CombinedOutput()
		if err != nil || !strings.Contains(string(text), "BEGIN PRIVATE KEY") || strings.Count(string(text), "BEGIN CERTIFICATE") < 2 {
			t.Errorf("openssl: %v\n%s", err, text)
		}
	}
	for _, name := range []string{"alice@example.test.p12", "alice@example.test.passphrase"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, want mode 0600", name, info, err)
		}
	}
}

func TestDemoWithoutDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := (&demoCmd{Dir: filepath.Join(file, "demo")}).run(context.Background(), new(bytes.Buffer))
	if err == nil || failure.HintOf(err) == "" {
		t.Errorf("got %v, want an error with a hint", err)
	}
}

func TestHelp(t *testing.T) {
	var out bytes.Buffer
	_, err := new(flags).program().Parse([]string{"--help"}, &out)
	if cli.ExitCode(err) != cli.ExitOK || !strings.HasSuffix(out.String(), "  postseal-demo ca --dir /tmp/ca --relay 127.0.0.1:25\n") {
		t.Errorf("%v:\n%s", err, out.String())
	}
	for _, args := range [][]string{{"--nonsense"}, {"ca", "--mail-trigger", "later"}} {
		if _, err := new(flags).program().Parse(args, &out); cli.ExitCode(err) != cli.ExitUsage {
			t.Errorf("%v: exit %d, %v", args, cli.ExitCode(err), err)
		}
	}
}
