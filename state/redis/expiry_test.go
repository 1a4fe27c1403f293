package redis

import (
	"context"
	"fmt"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"postseal/internal/test/redistest"
	"postseal/internal/test/statetest"
	"postseal/state"
)

// wantLife checks for how long a key lives, to a minute; -1 means for ever.
func wantLife(t *testing.T, s *Store, key string, want time.Duration) {
	t.Helper()
	life, err := s.client.PTTL(context.Background(), key).Result()
	if err != nil || life > want || life < want-time.Minute {
		t.Errorf("%s lives for %v, %v; want %v", key, life, err, want)
	}
}

// Whatever nobody removes ends by itself, and nothing before its time.
func TestEndsByItself(t *testing.T) {
	t.Parallel()
	s := open(t, redistest.Start(t).URL())
	ctx := context.Background()
	record := func(id, server string, life time.Duration) *state.Pending {
		p := statetest.Record(id, alice, server)
		p.Expires = time.Time{}
		if life > 0 {
			p.Expires = time.Now().Add(life)
		}
		return p
	}
	p := put(t, s, record("1", ca, time.Hour))
	wantLife(t, s, s.pendingKey(alice), time.Hour)
	put(t, s, record("2", ca+"2", 10*time.Minute)) // the key has two records
	wantLife(t, s, s.pendingKey(alice), time.Hour)
	put(t, s, record("3", ca+"3", 2*time.Hour))
	wantLife(t, s, s.pendingKey(alice), 2*time.Hour)
	put(t, s, record("4", ca+"4", 0))
	wantLife(t, s, s.pendingKey(alice), -1)
	put(t, s, record("2", ca+"2", 10*time.Minute))
	wantLife(t, s, s.pendingKey(alice), -1)

	if err := s.Note(p, "later", "x", time.Now()); err != nil {
		t.Fatal(err)
	}
	wantLife(t, s, s.noteKey("1"), noteLife)
	// A note that seems to come from the future, after the clock was put back, is replaced.
	if err := s.client.HSet(ctx, s.noteKey("1"), "at", time.Now().Add(time.Hour).UnixMilli()).Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.Note(p, "refused", "y", time.Now()); err != nil {
		t.Fatal(err)
	}
	if notes, err := s.Notes([]string{"1"}); err != nil || len(notes) != 1 || notes[0].Verdict != "refused" || notes[0].Count != 2 {
		t.Errorf("notes %+v, %v", notes, err)
	}

	// A hundred mail halves are kept, and none that was silent for a month.
	now := time.Now()
	for _, c := range []struct {
		silent          time.Duration
		others, between int
	}{{noteLife + time.Minute, 10, 1}, {time.Minute, 2 * state.MostHalves, state.MostHalves}} {
		for n := range c.others {
			z := goredis.Z{Score: float64(now.Add(-c.silent).UnixMilli()), Member: fmt.Sprint("mx", n)}
			if err := s.client.ZAdd(ctx, s.key("alive"), z).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Alive("mx", now); err != nil {
			t.Fatal(err)
		}
		if n, err := s.client.ZCard(ctx, s.key("alive")).Result(); err != nil || int(n) != c.between {
			t.Errorf("%d mail halves, %v; want %d", n, err, c.between)
		}
	}
	wantLife(t, s, s.key("alive"), noteLife)

	// The lock starts anew when the dot is on its way.
	c := mustClaim(t, s, p)
	if err := s.client.PExpire(ctx, s.lockKey("1"), lockLife/4).Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.Sending(); err != nil {
		t.Fatal(err)
	}
	if life, err := s.client.PTTL(ctx, s.lockKey("1")).Result(); err != nil || life < lockLife/2 {
		t.Errorf("the lock lives for %v, %v", life, err)
	}
}

// Put waits for the rest of the lease whenever an index may still believe that nobody waits:
// after the others were removed or have expired. A clock that was put back makes it wait no
// longer than that.
func TestPutWaits(t *testing.T) {
	t.Parallel()
	s := open(t, redistest.Start(t).URL())
	ctx := context.Background()
	timed := func(what string) {
		t.Helper()
		start := time.Now()
		put(t, s, statetest.Record("1", alice, ca))
		if took := time.Since(start); took < lease/2 || took > 10*time.Second+lease {
			t.Errorf("%s: took %v", what, took)
		}
	}
	timed("the first")
	long := time.Now().Add(-time.Hour).UnixMilli()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Remove(alice, ca, ""))
	must(s.client.Set(ctx, s.key("since"), long, 0).Err())
	timed("after the last was removed")
	must(s.client.ZAdd(ctx, s.key("pending"), goredis.Z{Score: float64(long), Member: state.Key(alice)}).Err())
	must(s.client.Set(ctx, s.key("since"), long, 0).Err())
	timed("after the last has expired")
	must(s.client.Set(ctx, s.key("since"), time.Now().Add(20*time.Second).UnixMilli(), 0).Err())
	timed("after the clock was put back")
}

// Who waits is told at once, and need not ask: what was put, removed, answered or noted.
func TestPublishes(t *testing.T) {
	t.Parallel()
	s := open(t, redistest.Start(t).URL())
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	sub := s.client.Subscribe(ctx, s.key("pending"), s.key("answers"))
	defer sub.Close()
	for range 2 {
		if _, err := sub.Receive(ctx); err != nil { // the subscription itself
			t.Fatal(err)
		}
	}
	p := statetest.Record("1", alice, ca)
	for _, step := range []struct {
		what, said string
		do         func() error
	}{
		{"put", alice, func() error { return s.Put(p) }},
		{"noted", "1", func() error { return s.Note(p, "later", "x", time.Now()) }},
		{"answered", "1", func() error { return mustClaim(t, s, p).Sent(time.Now()) }},
		{"removed", alice, func() error { return s.Remove(alice, ca, "") }},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		m, err := sub.ReceiveMessage(ctx)
		if err != nil || m.Payload != step.said {
			t.Errorf("%s: %v, %v", step.what, m, err)
		}
	}
}

// A key of another type is somebody's mistake, and stops nobody.
func TestForeignKey(t *testing.T) {
	t.Parallel()
	s := open(t, redistest.Start(t).URL())
	damaged := 0
	s.Damaged = func(string, error) { damaged++ }
	if err := s.client.Set(context.Background(), s.pendingKey(alice), "hello", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if found, err := s.Pending(alice, time.Now()); err != nil || len(found) != 0 || damaged != 1 {
		t.Errorf("%v, %v, %d reported", found, err, damaged)
	}
	put(t, s, statetest.Record("1", alice, ca))
	if found, err := s.Pending(alice, time.Now()); err != nil || len(found) != 1 {
		t.Errorf("%v, %v", found, err)
	}
	if err := s.client.Set(context.Background(), s.answerKey("1"), "hello", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if a, err := s.Answer("1"); a != nil || err != nil || damaged != 2 {
		t.Errorf("%v, %v, %d reported", a, err, damaged)
	}
}
