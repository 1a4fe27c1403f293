package e2e

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

const (
	domain   = "example.test"
	selector = "mail"
)

// site is a mail server's machine: the CA outside, the users and directories, and
// the configuration file that all programs share.
type site struct {
	t      *testing.T
	ca     *testca.CA
	user   *mta.User // the mail half runs as
	bin    string
	dir    string // readable for the mail half
	state  string
	config string
	log    *mta.Output // of postseal-milter

	shared, issuerState string // --state of the halves, where it is not that directory
}

// newSite starts a CA and makes a state directory that the user of the mail half
// shares by its group. Replies are signed by postseal itself, as the strict CA
// demands.
func newSite(t *testing.T, ca testca.Config) *site {
	t.Helper()
	s := &site{t: t, user: mta.NewUser(t), bin: mta.Build(t, "postseal", "postseal-check", "postseal-milter", "postseal-pipe")}
	s.dir = s.user.Home
	s.state = filepath.Join(s.dir, "state")
	s.config = filepath.Join(s.dir, "postseal.toml")
	ca.Dir = t.TempDir()
	var err error
	if s.ca, err = testca.Start(context.Background(), ca); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.ca.Close() })
	s.makeState()
	return s
}

// makeState makes the two shared directories as "postseal" does where the group of
// that name exists; it leaves what is there alone.
func (s *site) makeState() {
	s.must(os.Mkdir(s.state, 0o750))
	for dir, mode := range map[string]os.FileMode{
		"pending": os.ModeSetgid | 0o750,
		"answers": os.ModeSetgid | os.ModeSticky | 0o770,
	} {
		path := filepath.Join(s.state, dir)
		s.must(os.Mkdir(path, 0o700))
		s.must(os.Chown(path, -1, s.user.GID))
		s.must(os.Chmod(path, mode))
	}
	s.must(os.Chown(s.state, -1, s.user.GID))
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// configure writes the configuration file once it is known where replies go.
func (s *site) configure(smtpAddr string) {
	s.t.Helper()
	key := signingKey()
	path := s.user.WriteFile(s.t, "dkim.pem", key.pem)
	s.must(os.Chmod(path, 0o600))
	s.ca.SetTXT(selector+"._domainkey."+domain, key.record)
	roots := s.user.WriteFile(s.t, "challenge-roots.pem", string(s.ca.SMIMERootPEM))
	s.user.WriteFile(s.t, "postseal.toml", fmt.Sprintf(`state = %q
smtp = "smtp://%s"
resolver = %q
[smime]
roots = %q
[[dkim]]
domain = %q
selector = %q
key = %q
`, cmp.Or(s.shared, s.state), smtpAddr, s.ca.DNSAddr, roots, domain, selector, path))
}

// behindMilter starts a Postfix with postseal-milter in it.
func (s *site) behindMilter(users ...string) *mta.Instance {
	s.t.Helper()
	post := mta.StartPostfix(s.t, mta.Postfix{Users: users, Milters: milters, Relay: s.ca.SMTPAddr})
	s.ca.SetRelay(post.SMTPAddr)
	s.configure(post.SMTPAddr)
	s.startMilter(post.SocketDir(s.user.UID))
	return post
}

type dkimKey struct{ pem, record string }

var signingKey = sync.OnceValue(func() dkimKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	return dkimKey{string(pem.EncodeToMemory(block)), "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)}
})

// cert runs "postseal cert" as an admin would, and returns its exit status and
// what it said.
func (s *site) cert(args ...string) (status int, output string) {
	s.t.Helper()
	return s.postseal("cert", append([]string{
		"--server", s.ca.DirectoryURL, "--ca-bundle", s.ca.RootFile,
		"--non-interactive", "--agree-tos", "--key-type", "p256",
	}, args...)...)
}

// postseal runs a command of the issuing half.
func (s *site) postseal(command string, args ...string) (status int, output string) {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(s.bin, "postseal"), append([]string{command, "--config", s.config}, args...)...)
	if s.issuerState != "" {
		cmd.Env = append(os.Environ(), "POSTSEAL_STATE="+s.issuerState)
	}
	return outcome(s.t, cmd)
}

// outcome runs a program and returns its exit status and what it said.
func outcome(t *testing.T, cmd *exec.Cmd) (status int, output string) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// mustCert orders a certificate, and has openssl read the container and verify the
// chain.
func (s *site) mustCert(addr string) {
	s.t.Helper()
	if status, out := s.cert("-e", addr); status != 0 {
		s.t.Fatalf("postseal cert: exit %d\n%s", status, out)
	}
	dir := filepath.Join(s.state, "certs", addr)
	container := s.openssl("pkcs12", "-in", filepath.Join(dir, "cert.p12"), "-passin", "file:"+filepath.Join(dir, "passphrase"), "-nodes")
	for _, want := range []string{"BEGIN CERTIFICATE", "BEGIN PRIVATE KEY"} {
		if !strings.Contains(container, want) {
			s.t.Errorf("the container has no %q:\n%s", want, container)
		}
	}
	s.openssl("verify", "-purpose", "smimesign", "-CAfile", s.ca.RootFile,
		"-untrusted", filepath.Join(dir, "chain.pem"), filepath.Join(dir, "cert.pem"))
	if text := s.openssl("x509", "-in", filepath.Join(dir, "cert.pem"), "-noout", "-email"); strings.TrimSpace(text) != addr {
		s.t.Errorf("the certificate is for %q, want %q", text, addr)
	}
}

func (s *site) openssl(args ...string) string {
	s.t.Helper()
	out, err := exec.Command("openssl", args...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("openssl %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// replies returns the verdicts of the CA about what it received.
func (s *site) replies() []testca.Verdict {
	var all []testca.Verdict
	for _, r := range s.ca.Replies() {
		all = append(all, r.Verdict)
		if r.Verdict != testca.VerdictGood {
			s.t.Logf("reply %s: %s\n%s", r.Verdict, r.Reason, r.Data)
		}
	}
	return all
}

func (s *site) wantReplies(want ...testca.Verdict) {
	s.t.Helper()
	if got := s.replies(); fmt.Sprint(got) != fmt.Sprint(want) {
		s.t.Errorf("the CA received replies %v, want %v", got, want)
	}
}

// startMilter runs postseal-milter as the user of the mail half until the test ends.
func (s *site) startMilter(dir string) *exec.Cmd {
	s.t.Helper()
	return s.runMilter(s.milterCommand(dir), dir)
}

func (s *site) milterCommand(dir string) *exec.Cmd {
	return as(s.user, filepath.Join(s.bin, "postseal-milter"), "--config", s.config, "--listen", "unix:"+filepath.Join(dir, "milter.sock"))
}

// runMilter runs a milterCommand until the test ends.
func (s *site) runMilter(cmd *exec.Cmd, dir string) *exec.Cmd {
	s.t.Helper()
	return s.runMilterAt(cmd, "unix", filepath.Join(dir, "milter.sock"))
}

// runMilterAt does that for one that listens elsewhere.
func (s *site) runMilterAt(cmd *exec.Cmd, network, addr string) *exec.Cmd {
	s.t.Helper()
	log := new(mta.Output)
	s.log, cmd.Stderr = log, log
	s.must(cmd.Start())
	s.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			s.t.Errorf("postseal-milter: %v", err)
		}
		if s.t.Failed() {
			s.t.Logf("postseal-milter said:\n%s", log)
		}
	})
	mta.WaitFor(s.t, "the milter's socket", func() bool {
		conn, err := net.DialTimeout(network, addr, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return cmd
}
