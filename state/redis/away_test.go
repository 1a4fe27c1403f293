package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"postseal/internal/test/redistest"
	"postseal/internal/test/statetest"
	"postseal/state"
)

const (
	alice = "alice@example.test"
	ca    = "https://ca.example/directory"
)

func put(t testing.TB, s *Store, p *state.Pending) *state.Pending {
	t.Helper()
	if err := s.Put(p); err != nil {
		t.Fatal(err)
	}
	return p
}

func mustClaim(t testing.TB, s *Store, p *state.Pending) state.Claim {
	t.Helper()
	c, err := s.Claim(p, "<c>", "<r>", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A process that slept past its lock cannot send: another process has the right.
func TestFence(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s, second := open(t, server.URL()), open(t, server.URL())
	p := put(t, s, statetest.Record("1", alice, ca))
	slow := mustClaim(t, s, p)
	life, err := s.client.PTTL(context.Background(), s.lockKey("1")).Result()
	if err != nil || life <= lockLife/2 || life > lockLife {
		t.Errorf("the lock lives for %s, %v", life, err)
	}
	if err := s.client.PExpire(context.Background(), s.lockKey("1"), 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := slow.Sending(); !errors.Is(err, state.ErrLost) {
		t.Errorf("sending without a lock: %v", err)
	}
	quick := mustClaim(t, second, p)
	if err := slow.Sending(); !errors.Is(err, state.ErrLost) {
		t.Errorf("sending with somebody else's lock: %v", err)
	}
	if err := slow.Sent(time.Now()); !errors.Is(err, state.ErrLost) {
		t.Errorf("sent, says who lost the claim: %v", err)
	}
	if err := slow.GiveBack(); err != nil {
		t.Error(err)
	}
	if err := errors.Join(quick.Sending(), quick.Sent(time.Now())); err != nil {
		t.Error(err)
	}
}

// The reply to a command may be lost after its execution; go-redis sends it again.
func TestTwice(t *testing.T) {
	t.Parallel()
	s := open(t, redistest.Start(t).URL())
	p := put(t, s, statetest.Record("1", alice, ca))
	c := mustClaim(t, s, p).(*claim)
	keys := []string{s.answerKey("1"), s.lockKey("1"), s.key("answers"), s.key("rate"), s.rateKey(ca)}
	v, err := s.run(claimScript, keys, "1", c.owner, "{}", 60000, 60000, s.pendingKey(alice), ca, state.Version, state.MaxRecord)
	if err != nil || s.refused("1", v) != nil {
		t.Errorf("claimed again by the same: %v, %v", v, err)
	}
	for range 2 {
		if err := c.Sending(); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if err := c.Sent(time.Now()); err != nil {
			t.Error(err)
		}
	}
	if all, _, err := s.AnswersWithin(time.Hour, ca, time.Now()); err != nil || all != 1 {
		t.Errorf("counted %d times, %v", all, err)
	}
}

// Nobody answers for an order that has ended meanwhile, or was replaced.
func TestGone(t *testing.T) {
	t.Parallel()
	s := open(t, redistest.Start(t).URL())
	p := put(t, s, statetest.Record("1", alice, ca))
	put(t, s, statetest.Record("2", alice, ca))
	for range 2 {
		if _, err := s.Claim(p, "<c>", "<r>", time.Now()); !errors.Is(err, state.ErrGone) {
			t.Errorf("got %v", err)
		}
		if err := s.Remove(alice, ca, ""); err != nil {
			t.Fatal(err)
		}
	}
}

// A sent reply whose record was lost is recorded again.
func TestSentAfterLoss(t *testing.T) {
	t.Parallel()
	s := open(t, redistest.Start(t).URL())
	p := put(t, s, statetest.Record("1", alice, ca))
	c := mustClaim(t, s, p)
	if err := c.Sending(); err != nil {
		t.Fatal(err)
	}
	if err := s.client.FlushDB(context.Background()).Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.Sent(time.Now()); err != nil {
		t.Fatal(err)
	}
	if all, err := s.Answers(10); err != nil || len(all) != 1 || all[0].Phase != state.Sent {
		t.Errorf("%+v, %v", all, err)
	}
}

func wantAway(t *testing.T, what string, err error) {
	t.Helper()
	var away *state.UnreachableError
	if !errors.As(err, &away) || away.Store == "" {
		t.Errorf("%s: %v, want that Redis is away", what, err)
	}
}

// While Redis is away nothing hangs, and everything goes on when it is back.
func TestAway(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "appendonly yes", "appendfsync always")
	s, mail := open(t, server.URL()), open(t, server.URL())
	x := mail.Index()
	defer x.Close()
	p := put(t, s, statetest.Record("1", alice, ca))
	answered := make(chan *state.Answer, 1)
	go func() {
		a, err := s.WaitAnswer(context.Background(), "1", nil)
		if err != nil {
			t.Error(err)
		}
		answered <- a
	}()

	server.Kill()
	_, err := mail.Pending(alice, time.Now())
	wantAway(t, "pending", err)
	_, err = mail.Claim(p, "<c>", "<r>", time.Now())
	wantAway(t, "claim", err)
	for found, err := x.Any(); err == nil; found, err = x.Any() {
		if !found {
			t.Fatal("nobody waits, says the index while Redis is away")
		}
		time.Sleep(time.Millisecond)
	}
	written := make(chan error, 1)
	go func() { written <- s.Put(statetest.Record("2", "bob@example.test", ca)) }()

	server.Restart()
	if err := <-written; err != nil {
		t.Errorf("put during a restart: %v", err)
	}
	if err := mustClaim(t, mail, p).Sent(time.Now()); err != nil {
		t.Fatal(err)
	}
	if a := <-answered; a == nil || a.Phase != state.Sent {
		t.Errorf("the order learns %+v", a)
	}
	for _, err := x.Any(); err != nil; _, err = x.Any() {
		time.Sleep(time.Millisecond)
	}
}

// A server that hangs is as good as one that is away.
func TestHanging(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, server.URL())
	p := put(t, s, statetest.Record("1", alice, ca))
	x := s.Index()
	defer x.Close()
	server.Signal(syscall.SIGSTOP)
	defer server.Signal(syscall.SIGCONT)
	_, err := s.Claim(p, "<c>", "<r>", time.Now()) // returns while it hangs
	wantAway(t, "claim", err)
	for _, err := x.Any(); err == nil; _, err = x.Any() {
		time.Sleep(time.Millisecond)
	}
}

// Messages may be lost, or the user may lack the right to subscribe: then it takes longer.
func TestPolling(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "user default on nopass ~* &* +@all -subscribe")
	s, mail := open(t, server.URL()), open(t, server.URL())
	p := put(t, s, statetest.Record("1", alice, ca))
	answered := make(chan error, 1)
	go func() {
		_, err := s.WaitAnswer(context.Background(), "1", nil)
		answered <- err
	}()
	if err := mustClaim(t, mail, p).Sent(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// An index that nobody asks any longer, or that hears nothing, says so.
func TestLease(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name  string
		asked time.Time
		fresh bool
	}{
		{"just now", now, true},
		{"within the lease", now.Add(-lease / 2), true},
		{"a lease ago", now.Add(-lease), false},
		{"by the wall clock only", now.Round(0).Add(-lease), false},
		{"the clock was put back", now.Round(0).Add(2 * lease), false},
	} {
		if got := (&view{asked: c.asked}).fresh(now); got != c.fresh {
			t.Errorf("%s: %v", c.name, got)
		}
		x := new(index)
		x.seen.Store(&view{asked: c.asked})
		if found, err := x.Any(); found == c.fresh || err != nil {
			t.Errorf("%s: somebody waits: %v, %v", c.name, found, err)
		}
	}
}

// Retrying does not help against a refusal.
func TestRefused(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "requirepass secret")
	for url, words := range map[string]string{
		server.URL():                     "NOAUTH",
		"unix://:wrong@" + server.Socket: "WRONGPASS",
		"unix://default:secret@" + server.Socket + "?db=99": "out of range",
	} {
		err := open(t, url).Put(statetest.Record("1", alice, ca))
		if err == nil || errors.As(err, new(*state.UnreachableError)) || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "secret") {
			t.Errorf("got %v, want a refusal with %s", err, words)
		}
	}
}

// maxBytes bounds Redis' memory for one pending record, overhead included.
const maxBytes = 1024

func TestBytesPerRecord(t *testing.T) {
	t.Parallel()
	s := open(t, redistest.Start(t).URL())
	used := func() int {
		var n int
		info, err := s.client.Info(context.Background(), "memory").Result()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscanf(info[strings.Index(info, "used_memory:"):], "used_memory:%d", &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	const many = 100_000
	records := make([]*state.Pending, many)
	for n := range records {
		r := statetest.Record(fmt.Sprintf("%032x", n), fmt.Sprintf("firstname.lastname%d@example.test", n), "https://acme.castle.cloud/acme/directory")
		r.From = fmt.Sprintf("acme-challenge+%032x@acme.castle.cloud", n)
		r.Token = "x6I65YvEk6xC4KV0QMvdJwx6I65YvEk6xC4KV0QMvdJ"
		records[n] = r
	}
	before := used()
	fill(t, s, records)
	bytes := (used() - before) / many
	t.Logf("%d bytes for each pending record", bytes)
	if bytes > maxBytes {
		t.Errorf("%d bytes for each pending record, the limit is %d", bytes, maxBytes)
	}
}
