package testca

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/mholt/acmez/v3/acme"
)

// byRecipient hands each mail to whoever waits for its recipient.
type byRecipient struct{ sync.Map }

func (b *byRecipient) channel(addr string) chan received {
	ch, _ := b.LoadOrStore(addr, make(chan received, 1))
	return ch.(chan received)
}

// one goes all the way for one address, over an account shared with others.
func (b *byRecipient) one(t testing.TB, ca *CA, c *client, addr string) {
	o := c.order(addr)
	a := c.authz(o, 0)
	mustSend(t, ca, c.replyTo(<-b.channel(addr), a, JoinString))
	c.postChallenge(a)
	if cert := c.finish(o, newKey(t)); cert.EmailAddresses[0] != addr {
		t.Errorf("%s got a certificate for %q", addr, cert.EmailAddresses)
	}
}

func startWithHook(t testing.TB, cfg Config) (*CA, *byRecipient) {
	t.Helper()
	b := &byRecipient{}
	cfg.Deliver = func(_ context.Context, from, to string, msg []byte) error {
		b.channel(to) <- received{from: from, to: to, raw: msg}
		return nil
	}
	return start(t, cfg), b
}

func TestParallel(t *testing.T) {
	const n = 100
	ca, b := startWithHook(t, Config{DKIMEd25519: true})
	c := newClient(t, ca)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { b.one(t, ca, c, fmt.Sprintf("user%d@example.test", i)) })
	}
	wg.Wait()
	got := ca.Counters()
	if got.Events[EventIssued] != n || got.Verdicts[VerdictGood] != n || len(ca.Replies()) != n {
		t.Errorf("%+v", got)
	}
}

func TestClose(t *testing.T) {
	ca := start(t, Config{MailTrigger: MailOnOrder}) // no relay: a mail waits to be tried again
	c := newClient(t, ca)
	c.order(alice)
	waitEvents(t, ca, EventMailRetry, 1)
	ca.Close()
	ca.Close() // a second time does nothing
	if _, err := c.NewOrder(t.Context(), c.acct, acme.Order{}); err == nil {
		t.Error("a closed CA answers")
	}
}

func TestContextEndsIt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ca, err := Start(ctx, Config{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	ca.tasks.Wait() // hangs if the listeners stay
	ca.Close()
}

func TestWait(t *testing.T) {
	ca := start(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ca.Wait(ctx, func(Counters) bool { return false }); err != context.Canceled {
		t.Errorf("%v", err)
	}
	if err := ca.Wait(ctx, func(Counters) bool { return true }); err != nil {
		t.Errorf("%v", err)
	}
}

func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	ca := start(t, Config{Dir: dir, Sign: SignSMIME})
	for file, want := range map[string][]byte{ca.RootFile: ca.RootPEM, ca.SMIMERootFile: ca.SMIMERootPEM} {
		got, err := os.ReadFile(file)
		if err != nil || string(got) != string(want) || filepath.Dir(file) != dir {
			t.Errorf("%s: %v", file, err)
		}
	}
	if other := start(t, Config{}); string(other.RootPEM) == string(ca.RootPEM) || other.RootFile != "" {
		t.Error("a CA without a directory has the same root, or a file")
	}
}

func BenchmarkIssue(b *testing.B) {
	ca, hook := startWithHook(b, Config{})
	c := newClient(b, ca)
	n := 0
	for b.Loop() {
		n++
		hook.one(b, ca, c, fmt.Sprintf("user%d@example.test", n))
	}
}
