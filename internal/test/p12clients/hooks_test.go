package p12clients

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

// site is a machine with postseal on it, and a CA that asks for no mail.
type site struct {
	t     *testing.T
	ca    *testca.CA
	bin   string
	state string
	path  string   // of postseal, and so of the hook, which is found there
	env   []string // likewise
}

func newSite(t *testing.T) *site {
	t.Helper()
	need(t, "openssl")
	ca, err := testca.Start(t.Context(), testca.Config{Dir: t.TempDir(), AlwaysReady: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ca.Close() })
	return &site{
		t: t, ca: ca, bin: filepath.Join(mta.Build(t, "postseal"), "postseal"), state: filepath.Join(t.TempDir(), "state"),
		path: filepath.Join(mta.Root(t), "contrib", "hooks") + ":" + os.Getenv("PATH"), env: append(os.Environ(), "LC_ALL=C"),
	}
}

// cert orders one certificate, with a hook of contrib/hooks and its arguments, and
// returns the exit status and what was written on stderr.
func (s *site) cert(hook string, emails []string, flags ...string) (status int, stderr string) {
	s.t.Helper()
	args := []string{"cert", "--non-interactive", "--agree-tos", "--key-type", "p256", "--deploy-hook", hook}
	for _, email := range emails {
		args = append(args, "-e", email)
	}
	return s.run(append(args, flags...)...)
}

// run runs postseal.
func (s *site) run(args ...string) (status int, stderr string) {
	s.t.Helper()
	args = append(args, "--state", s.state, "--server", s.ca.DirectoryURL, "--ca-bundle", s.ca.RootFile)
	cmd := exec.Command(s.bin, args...)
	cmd.Env = append(s.env, "PATH="+s.path)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), errs.String()
}

// mustCert wants it to succeed and returns what the hook wrote.
func (s *site) mustCert(hook string, emails []string, flags ...string) string {
	s.t.Helper()
	status, stderr := s.cert(hook, emails, flags...)
	if status != 0 {
		s.t.Fatalf("exit status %d\n%s", status, stderr)
	}
	return stderr
}

// must runs postseal and wants it to succeed.
func (s *site) must(args ...string) {
	s.t.Helper()
	if status, stderr := s.run(append(args, "--non-interactive")...); status != 0 {
		s.t.Fatalf("postseal %v: exit status %d\n%s", args, status, stderr)
	}
}

// mustRevoke revokes what is in certs/NAME, with a hook.
func (s *site) mustRevoke(hook, name string) {
	s.t.Helper()
	s.must("revoke", "--cert-path", s.file(name, "cert.p12"), "--revoke-hook", hook)
}

// wantFailure wants the hook to fail with a text; the certificate is kept.
func (s *site) wantFailure(text, hook string, emails []string, flags ...string) {
	s.t.Helper()
	status, stderr := s.cert(hook, emails, flags...)
	if status != 1 || !strings.Contains(stderr, text) {
		s.t.Errorf("exit status %d, want 1 and %q\n%s", status, text, stderr)
	}
	parseCert(s.t, s.file(emails[0], "cert.pem"))
}

// file is a file of certs/NAME.
func (s *site) file(name, file string) string { return filepath.Join(s.state, "certs", name, file) }
