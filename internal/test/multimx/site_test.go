package multimx

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"postseal/internal/test/mta"
	"postseal/internal/test/redistest"
	"postseal/internal/testca"
)

const domain = "example.test"

// now is the clock.
func now() time.Time { return time.Now() }

// site is all of it.
type site struct {
	t      *testing.T
	bin    string
	ca     *testca.CA
	redis  *redistest.Server
	user   *mta.User // the mail half runs as
	dir    string    // of the issuing half
	config string
	hosts  []*machine

	twice, refused, unreachable atomic.Int64 // deliveries

	mu      sync.Mutex
	replies int
	reached func(replies int) // called for each reply
}

// newSite starts it with the given number of MX hosts and users.
func newSite(t *testing.T, hosts, users int) *site {
	t.Helper()
	makeNetwork(t, hosts)
	s := &site{t: t, bin: mta.Build(t, "postseal", "postseal-milter"), user: mta.NewUser(t), dir: t.TempDir()}
	s.redis = startRedis(t)
	var err error
	s.ca, err = testca.Start(t.Context(), testca.Config{
		Dir: t.TempDir(), Network: true, SMTPListen: hub + ":0", DNSListen: hub + ":0",
		Deliver: s.deliver, OnEvent: s.event, Strict: true,
	})
	s.must(err)
	t.Cleanup(func() { s.ca.Close() })
	s.configure()
	var names []string
	for n := range users {
		names = append(names, address(n))
	}
	for number := 1; number <= hosts; number++ {
		m := &machine{number: number, Instance: mta.StartPostfix(t, mta.Postfix{
			Namespace: nameOf(number), Users: names, Transport: "discard:", Relay: s.ca.SMTPAddr,
			Milters: "{ unix:postseal/milter.sock, default_action=accept, connect_timeout=2s, command_timeout=5s, content_timeout=30s }",
			MainCF:  []string{"inet_interfaces = all", "minimal_backoff_time = 1s", "queue_run_delay = 1s"},
		})}
		s.startService(m)
		s.hosts = append(s.hosts, m)
	}
	return s
}

func address(n int) string { return fmt.Sprintf("user%03d@%s", n, domain) }

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// configure writes the file that all hosts have.
func (s *site) configure() {
	public, private, err := ed25519.GenerateKey(nil)
	s.must(err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	s.must(err)
	key := s.user.WriteFile(s.t, "dkim.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	s.must(os.Chmod(key, 0o600))
	s.ca.SetTXT("mail._domainkey."+domain, "v=DKIM1; k=ed25519; p="+base64.StdEncoding.EncodeToString(public))
	s.config = s.user.WriteFile(s.t, "postseal.toml", fmt.Sprintf(`state = "redis://%s:%d/0?dir=%s"
smtp = "smtp://127.0.0.1:25"
resolver = %q
[[dkim]]
domain = %q
selector = "mail"
key = %q
`, hub, redisPort, s.dir, s.ca.DNSAddr, domain, key))
}

// deliver is the way of the CA's mail. It takes the hosts in any order, as equal MX
// records are, until one takes the mail. Every fifth mail comes to another host too,
// as a CA sends it that did not hear the first one's answer.
func (s *site) deliver(_ context.Context, from, to string, msg []byte) error {
	order := rand.Perm(len(s.hosts))
	if rand.IntN(5) == 0 {
		s.twice.Add(1)
		var second sync.WaitGroup
		defer second.Wait()
		second.Go(func() { _ = s.send(s.hosts[order[1]], from, to, msg) }) // the first one's answer counts
	}
	var failed error
	for _, n := range order {
		err := s.send(s.hosts[n], from, to, msg)
		if err == nil {
			return nil
		}
		failed = err
	}
	return failed
}

// send gives a mail to a host, and up on a host from which nothing comes.
func (s *site) send(m *machine, from, to string, msg []byte) error {
	err := transmit(m, from, to, msg)
	switch {
	case refused(err):
		s.refused.Add(1)
	case err != nil:
		s.unreachable.Add(1)
	}
	return err
}

// refused reports whether a host itself said no.
func refused(err error) bool {
	var told *smtp.SMTPError
	return errors.As(err, &told)
}

const patience = 3 * time.Second

func transmit(m *machine, from, to string, msg []byte) error {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(addressOf(m.number), "25"), patience)
	if err != nil {
		return err
	}
	c := smtp.NewClient(conn)
	defer c.Close()
	c.CommandTimeout, c.SubmissionTimeout = patience, 10*patience
	if err := c.SendMail(from, []string{to}, bytes.NewReader(msg)); err != nil {
		return err
	}
	return c.Quit()
}

// event counts the replies.
func (s *site) event(e testca.Event) {
	if e.Kind != testca.EventReply {
		return
	}
	s.mu.Lock()
	s.replies++
	n, reached := s.replies, s.reached
	s.mu.Unlock()
	if reached != nil {
		reached(n)
	}
}

// cert runs one "postseal cert" for everybody, and returns its status and output.
func (s *site) cert(list string, args ...string) (status int, out string) {
	cmd := exec.Command(filepath.Join(s.bin, "postseal"), append([]string{
		"cert", "--config", s.config, "--server", s.ca.DirectoryURL, "--ca-bundle", s.ca.RootFile,
		"--non-interactive", "--agree-tos", "--key-type", "p256", "--from-file", list,
	}, args...)...)
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

// doubles counts the challenges to which more than one reply came.
func (s *site) doubles() (replies, doubles int) {
	seen := map[string]int{}
	for _, r := range s.ca.Replies() {
		m, err := mail.ReadMessage(bytes.NewReader(r.Data))
		s.must(err)
		replies++
		if r.Verdict != testca.VerdictGood {
			s.t.Errorf("a reply that is %s: %s", r.Verdict, r.Reason)
		}
		if seen[m.Header.Get("Subject")]++; seen[m.Header.Get("Subject")] == 2 {
			doubles++
		}
	}
	return replies, doubles
}
