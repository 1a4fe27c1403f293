package issuer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/mail"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postseal/internal/failure"
	"postseal/internal/test/certs"
	"postseal/internal/testca"
	"postseal/issuer/ca"
	"postseal/issuer/cert"
	"postseal/issuer/store"
	"postseal/state"
)

const alice = "alice@example.test"

const day = 24 * time.Hour

// world is a test CA, a state directory, and a mail half that answers.
type world struct {
	t      testing.TB
	ca     *testca.CA
	dir    *state.Dir
	bundle string

	mu      sync.Mutex
	steps   []Step
	onStep  func(Step)
	answer  func(w *world, p *state.Pending, part1, from, to string) error // nil: sendReply
	answers sync.WaitGroup
	now     func() time.Time // of the mail half
}

func newWorld(t testing.TB, cfg testca.Config) *world {
	t.Helper()
	w := &world{t: t, dir: state.Open(filepath.Join(t.TempDir(), "state")), now: time.Now}
	cfg.Dir = t.TempDir()
	ready := make(chan struct{})
	cfg.Deliver = func(_ context.Context, from, to string, msg []byte) error {
		<-ready
		return w.deliver(from, to, msg)
	}
	ca, err := testca.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ca.Close(); w.answers.Wait() })
	w.ca, w.bundle = ca, ca.RootFile
	close(ready)
	return w
}

// issuer returns a new issuer, as a new process would have it.
func (w *world) issuer(change ...func(*Options)) *Issuer {
	o := Options{
		Dir: state.Open(w.dir.Path()), Account: ca.AccountOptions{AgreeTerms: true},
		OnStep: w.step,
	}
	for _, c := range change {
		c(&o)
	}
	return New(o)
}

// leaveWaiting orders, and is interrupted once the order waits for its mail.
func (w *world) leaveWaiting(req Request) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	i := w.issuer(func(o *Options) {
		record := o.OnStep
		o.OnStep = func(s Step) {
			record(s)
			if s.Kind == StepWait {
				cancel()
			}
		}
	})
	if _, err := i.Obtain(ctx, req); failure.KindOf(err) != failure.KindLater {
		w.t.Fatalf("got %v, want to be interrupted", err)
	}
}

func (w *world) step(s Step) {
	w.mu.Lock()
	w.steps = append(w.steps, s)
	f := w.onStep
	w.mu.Unlock()
	if f != nil {
		f(s)
	}
}

// said reports whether a step of a kind contained a text.
func (w *world) said(kind StepKind, text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.steps {
		if s.Kind == kind && strings.Contains(s.Text, text) {
			return true
		}
	}
	return false
}

func (w *world) transcript() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	for _, s := range w.steps {
		fmt.Fprintf(&b, "%s %s\n", s.Kind, s.Text)
	}
	return b.String()
}

// request asks for a P-256 certificate, the quickest to make.
func (w *world) request(emails ...string) Request {
	return Request{
		Settings: store.Settings{
			Emails: emails, Server: w.ca.DirectoryURL, CABundle: w.bundle, KeyType: "p256",
			Settle: new(store.Duration), TokenJoin: "string",
		},
		Timeout: time.Minute, // a busy disk may need half of it
	}
}

func (w *world) obtain(req Request) *Result {
	w.t.Helper()
	res, err := w.issuer().Obtain(w.t.Context(), req)
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.transcript())
	}
	return res
}

// answerWith changes what the mail half does about a challenge.
func (w *world) answerWith(f func(w *world, p *state.Pending, part1, from, to string) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = f
}

// deliver is the mail half: it matches, claims, replies, records.
func (w *world) deliver(_, to string, msg []byte) error {
	m, err := mail.ReadMessage(bytes.NewReader(msg))
	if err != nil {
		return err
	}
	part1, ok := strings.CutPrefix(m.Header.Get("Subject"), "ACME: ")
	if !ok {
		return errors.New("no challenge")
	}
	records, err := w.dir.WaitToken(w.t.Context(), []string{to}, w.now)
	if err != nil {
		return err
	}
	sender, err := mail.ParseAddress(m.Header.Get("From"))
	if err != nil {
		return err
	}
	for _, p := range records {
		if p.From == sender.Address {
			w.mu.Lock()
			answer := w.answer
			w.mu.Unlock()
			if answer == nil {
				answer = sendReply
			}
			return answer(w, p, part1, p.Email, sender.Address)
		}
	}
	return nil // nobody waits
}

func sendReply(w *world, p *state.Pending, part1, from, to string) error {
	claim, err := w.dir.Claim(p, "<challenge@ca.example>", "<reply@example.test>", w.now())
	if err != nil {
		return nil // another one has it
	}
	if err := claim.Sending(); err != nil {
		return err
	}
	if err := w.mailReply(p, part1, from, to); err != nil {
		return claim.Failed(err.Error(), w.now())
	}
	return claim.Sent(w.now())
}

func (w *world) mailReply(p *state.Pending, part1, from, to string) error {
	msg := fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: Re: ACME: %s\r\nIn-Reply-To: <challenge@ca.example>\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"+
		"-----BEGIN ACME RESPONSE-----\r\n%s\r\n-----END ACME RESPONSE-----\r\n", from, to, part1, testDigest(p, part1))
	return smtp.SendMail(w.ca.SMTPAddr, nil, from, []string{to}, []byte(msg))
}

func testDigest(p *state.Pending, part1 string) string {
	token := part1 + p.Token
	if p.Join == "bytes" {
		a, _ := base64.RawURLEncoding.DecodeString(strings.TrimRight(part1, "="))
		b, _ := base64.RawURLEncoding.DecodeString(p.Token)
		token = base64.RawURLEncoding.EncodeToString(append(a, b...))
	}
	sum := sha256.Sum256([]byte(token + "." + p.Thumbprint))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// entries lists the names in a directory of the state, without locks and histories, which
// outlive their subject.
func (w *world) entries(elem ...string) []string {
	w.t.Helper()
	list, err := os.ReadDir(w.dir.Path(elem...))
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		if !strings.HasPrefix(e.Name(), ".lock-") && e.Name() != ".history" {
			names = append(names, e.Name())
		}
	}
	return names
}

func newStore(t *testing.T) *Issuer {
	t.Helper()
	i := New(Options{Dir: state.Open(filepath.Join(t.TempDir(), "state"))})
	if err := i.prepare(); err != nil {
		t.Fatal(err)
	}
	return i
}

func newGeneration(t *testing.T, serial string) *store.Generation {
	t.Helper()
	key := certs.Key(t)
	leaf := certs.SelfSigned(t, key, func(*x509.Certificate) {})
	return &store.Generation{Key: key, Chain: []*x509.Certificate{leaf}, Passphrase: serial, Renewal: &store.Renewal{
		Version: store.Version, Settings: store.Settings{Emails: []string{alice}, Server: "https://ca.example/dir", KeyType: "p256"},
		Serial: serial, Fingerprint: cert.Fingerprint(leaf), NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
	}}
}

// The files of an account.
const (
	accountName = "account.json"
	accountKey  = "key.pem"
	nextKey     = "key.next.pem"
)

// accountDir is the only directory in accounts/.
func (w *world) accountDir() string {
	w.t.Helper()
	return w.dir.Path("accounts", w.accountName())
}

// account is the CA, with the account there, as another process sees it.
func (w *world) account() *ca.CA {
	w.t.Helper()
	c, err := w.issuer().CA(w.ca.DirectoryURL, w.bundle)
	must(w.t, err)
	return c
}
