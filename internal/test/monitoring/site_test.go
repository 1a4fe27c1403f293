package monitoring

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
	"postseal/state"
)

const configuration = `[kind.sign]
usage = ["digitalSignature"]
[kind.encrypt]
usage = ["keyEncipherment"]
key-type = "rsa2048"
[[enroll]]
domain = "example.test"
source = "printf '%s\n' alice@example.test bob@example.test carol@example.test"
kinds = ["sign", "encrypt"]
new-per-run = 3
`

// site is a host with both halves on it, and a CA that asks for no mail and wants all
// certificates renewed at once.
type site struct {
	*testing.T
	ca     *testca.CA
	bin    string
	dir    string // of all files
	config string
}

func newSite(t *testing.T) *site {
	t.Helper()
	ca, err := testca.Start(t.Context(), testca.Config{Dir: t.TempDir(), AlwaysReady: true, ARIDue: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ca.Close() })
	s := &site{T: t, ca: ca, bin: mta.Build(t, "postseal", "postseal-milter"), dir: t.TempDir()}
	s.config = filepath.Join(s.dir, "postseal.toml")
	write(t, s.config, configuration)
	return s
}

func (s *site) state() string { return filepath.Join(s.dir, "state") }

// postseal runs it and returns what it wrote on stdout.
func (s *site) postseal(status int, args ...string) string {
	s.Helper()
	args = append(args, "--non-interactive", "--config", s.config, "--state", s.state(), "--ca-bundle", s.ca.RootFile)
	cmd := exec.Command(filepath.Join(s.bin, "postseal"), args...)
	cmd.Env = append(os.Environ(), "POSTSEAL_AGREE_TOS=true", "POSTSEAL_KEY_TYPE=p256", "POSTSEAL_SERVER="+s.ca.DirectoryURL)
	out, err := cmd.Output()
	if got := cmd.ProcessState.ExitCode(); got != status {
		s.Fatalf("postseal %v: exit status %d, want %d: %v\n%s", args, got, status, err, out)
	}
	return string(out)
}

// happenings are such that there is something of all that is told: certificates that are
// due, somebody without one, a renewal that fails, and runs of both timers.
func (s *site) happenings() {
	s.Helper()
	s.postseal(0, "cert", "-e", "dave@example.test")
	s.postseal(0, "enroll")
	s.postseal(1, "cert", "-e", "dave@example.test", "--force", "--profile", "nonsense")
	s.postseal(0, "renew")
	s.postseal(1, "cert", "-e", "dave@example.test", "--force", "--profile", "nonsense")
}

// node starts a node_exporter that reads what status writes, and returns its address.
func (s *site) node() string {
	s.Helper()
	dir, addr := s.TempDir(), "127.0.0.1:"+mta.FreePort(s)
	write(s.T, filepath.Join(dir, "postseal.prom"), s.postseal(0, "status", "--prometheus"))
	start(s.T, "prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile",
		"--collector.textfile.directory", dir, "--web.listen-address", addr)
	return addr
}

// milter starts one, gives it a challenge, and returns where its metrics are.
func (s *site) milter() string {
	s.Helper()
	dir := state.Open(s.state())
	_, err := dir.Create()
	check(s.T, err)
	check(s.T, dir.Put(&state.Pending{
		ID: "1", Email: "alice@example.test", Server: "https://ca.example.net/dir", From: "ca@example.net",
		Token: "x6I65YvEk6xC4KV0QMvdJw", Thumbprint: "hC4xyXNn8ZDH4yrcp93Zj3qgQs7LyT_GUL45YD7IVMQ",
		Created: time.Now(), Expires: time.Now().Add(time.Hour),
	}))
	socket, metrics := filepath.Join(s.TempDir(), "s"), "127.0.0.1:"+mta.FreePort(s)
	start(s.T, filepath.Join(s.bin, "postseal-milter"), "--config", s.config, "--state", s.state(), "--listen", "unix:"+socket, "--metrics", metrics)
	client := milter.NewClientWithOptions("unix", socket, milter.ClientOptions{})
	var c *milter.ClientSession
	mta.WaitFor(s, "the milter", func() bool {
		c, err = client.Session()
		return err == nil
	})
	defer c.Close()
	_, err = c.Mail("ca@example.net", nil)
	check(s.T, err)
	_, err = c.Rcpt("alice@example.test", nil)
	check(s.T, err)
	for _, field := range [][2]string{{"From", " ca@example.net"}, {"To", " alice@example.test"}, {"Subject", " ACME: V4nE8NhYh6edBpfQTg5qqQ"}} {
		_, err = c.HeaderField(field[0], field[1])
		check(s.T, err)
	}
	_, err = c.HeaderEnd()
	check(s.T, err)
	_, _, err = c.End()
	check(s.T, err)
	return metrics
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
