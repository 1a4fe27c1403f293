// Package statetest holds what every state.Store must do. The tests of each store run
// it; nobody else imports it.
package statetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postseal/internal/printable"
	"postseal/state"
)

// World is a new, empty store and what can happen to it.
type World struct {
	// Open returns the store as one more process has it. What is damaged is told to
	// the function.
	Open func(damaged func(name string, err error)) state.Store

	// Abandon simulates the death of the claim holder.
	Abandon func(c state.Claim, id string)

	// DamagePending and DamageAnswer write bytes where a record or an answer is.
	DamagePending func(addr, server string, data []byte)
	DamageAnswer  func(id string, data []byte)

	// Fill writes many records at once.
	Fill func(records []*state.Pending)

	// Many is how many records the store has to hold with ease.
	Many int
}

const (
	alice = "alice@example.test"
	ca    = "https://ca.example/directory"
	other = "https://other.example/directory"
)

// Run runs all tests, each in a new world.
func Run(t *testing.T, world func(t *testing.T) *World) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *World)
	}{
		{"Put", testPut},
		{"Take", testTake},
		{"TwoCAs", testTwoCAs},
		{"Expiry", testExpiry},
		{"Damaged", testDamaged},
		{"Newer", testNewer},
		{"Many", testMany},
		{"OneClaim", testOneClaim},
		{"OneClaimAfterDeath", testOneClaimAfterDeath},
		{"DeadBeforeTheDot", testDeadBeforeTheDot},
		{"DeadAfterTheDot", testDeadAfterTheDot},
		{"Phases", testPhases},
		{"GiveBack", testGiveBack},
		{"DamagedAnswer", testDamagedAnswer},
		{"HostileAnswer", testHostileAnswer},
		{"Within", testWithin},
		{"Forget", testForget},
		{"Notes", testNotes},
		{"MailHalves", testMailHalves},
		{"WaitAnswer", testWaitAnswer},
		{"WaitToken", testWaitToken},
		{"Index", testIndex},
		{"IndexAtOnce", testIndexAtOnce},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, world(t))
		})
	}
}

// open returns the store as one more process has it; nothing may be damaged.
func (w *World) open(t *testing.T) state.Store {
	t.Helper()
	return w.Open(func(name string, err error) { t.Errorf("damaged: %s: %v", name, err) })
}

// Record returns the record of an order that waits for an hour.
func Record(id, email, server string) *state.Pending {
	now := time.Now().UTC().Truncate(time.Second)
	return &state.Pending{
		ID: id, Email: email, Server: server, From: "acme@ca.example", Token: "x6I65YvEk6xC4KV0QMvdJw",
		Thumbprint: "hC4xyXNn8ZDH4yrcp93Zj3qgQs7LyT_GUL45YD7IVMQ", Join: "string",
		Created: now, Expires: now.Add(time.Hour),
	}
}

func put(t *testing.T, s state.Store, p *state.Pending) *state.Pending {
	t.Helper()
	must(t, s.Put(p))
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ids returns the ids of those who wait at an address, in order.
func ids(t *testing.T, s state.Store, addrs ...string) string {
	t.Helper()
	found, err := s.PendingAny(addrs, time.Now())
	must(t, err)
	return idsOf(found)
}

func idsOf(found []*state.Pending) string {
	var all []string
	for _, p := range found {
		all = append(all, p.ID)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// claim claims the challenge of record 1.
func claim(s state.Store) (state.Claim, error) {
	p := Record("1", alice, ca)
	p.Part1 = "digest"
	return s.Claim(p, "<c>", "<r>", time.Now())
}

func mustClaim(t *testing.T, s state.Store) state.Claim {
	t.Helper()
	c, err := claim(s)
	must(t, err)
	return c
}

func wantDone(t *testing.T, s state.Store, phase state.Phase) {
	t.Helper()
	var done *state.DoneError
	if _, err := claim(s); !errors.As(err, &done) || done.Answer.Phase != phase {
		t.Errorf("a new claim: %v, want that it is done: %s", err, phase)
	}
}

func wantPhase(t *testing.T, s state.Store, phase state.Phase) *state.Answer {
	t.Helper()
	a, err := s.Answer("1")
	must(t, err)
	got := state.Phase("")
	if a != nil {
		got = a.Phase
	}
	want(t, "phase", got, phase)
	return a
}

func testPut(t *testing.T, w *World) {
	s, mail := w.open(t), w.open(t)
	want(t, "nobody", ids(t, mail, alice), "")
	p := put(t, s, Record("1", "Alice@Example.Test", ca))
	found, err := mail.Pending("aLICE@example.TEST.", time.Now())
	must(t, err)
	if len(found) != 1 || *found[0] != *p {
		t.Errorf("read %+v, written %+v", found, p)
	}
	put(t, s, Record("2", alice, ca))
	want(t, "replaced", ids(t, mail, alice), "2")
	put(t, s, Record("3", "用户@bücher.example", ca))
	want(t, "another name for a domain", ids(t, mail, "用户@xn--bcher-kva.example"), "3")
	want(t, "several addresses", ids(t, mail, alice, "用户@bücher.example", alice, "bob@example.test"), "2 3")
	want(t, "strange addresses", ids(t, mail, "../../etc/passwd", "a*b@example.test", ""), "")
	must(t, s.Remove("ALICE@example.test", other, ""))
	want(t, "not removed for another CA", ids(t, mail, alice), "2")
	must(t, s.Remove("ALICE@example.test", ca, ""))
	must(t, s.Remove("ALICE@example.test", ca, ""))
	want(t, "removed", ids(t, mail, alice), "")
	n, err := mail.CountPending()
	must(t, err)
	want(t, "count", n, 1)
}

// The record of one order is not taken away by another that asks first.
func testTake(t *testing.T, w *World) {
	s := w.open(t)
	take := func(p *state.Pending) string {
		t.Helper()
		other, err := s.Take(p)
		must(t, err)
		if other == nil {
			return ""
		}
		return other.ID
	}
	want(t, "free", take(Record("1", alice, ca)), "")
	again := Record("1", alice, ca)
	again.Token = "another"
	want(t, "its own", take(again), "")
	want(t, "another CA", take(Record("2", alice, other)), "")
	want(t, "another order", take(Record("3", "ALICE@example.test", ca)), "1")
	found, err := w.open(t).Pending(alice, time.Now())
	must(t, err)
	if len(found) != 2 || found[0].Token == found[1].Token {
		t.Errorf("the record of the order has changed: %+v", found)
	}
	must(t, s.Remove(alice, ca, "3"))
	want(t, "not removed for another order", ids(t, s, alice), "1 2")
	must(t, s.Remove(alice, ca, "1"))
	want(t, "after its end", take(Record("3", alice, ca)), "")
	want(t, "taken", ids(t, s, alice), "2 3")

	var won atomic.Int32
	var wg sync.WaitGroup
	for n := range 8 {
		own := w.open(t)
		wg.Go(func() {
			other, err := own.Take(Record(fmt.Sprint("race", n), "bob@example.test", ca))
			if err != nil {
				t.Error(err)
			} else if other == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	want(t, "of eight at the same time", won.Load(), int32(1))
}

func testTwoCAs(t *testing.T, w *World) {
	s := w.open(t)
	for n := range 9 {
		put(t, s, Record(fmt.Sprint(n), alice, ca+fmt.Sprint(n)))
	}
	want(t, "all", ids(t, s, alice), "0 1 2 3 4 5 6 7 8")
	if err := s.Put(Record("9", alice, ca+"9")); err == nil || !strings.Contains(err.Error(), "9 CAs") {
		t.Errorf("a tenth CA: %v", err)
	}
	put(t, s, Record("new", alice, ca+"3"))
	must(t, s.Remove(alice, ca+"0", ""))
	want(t, "one replaced, one removed", ids(t, s, alice), "1 2 4 5 6 7 8 new")
	all, err := s.All(time.Now())
	must(t, err)
	want(t, "all of all", idsOf(all), "1 2 4 5 6 7 8 new")
}

func testExpiry(t *testing.T, w *World) {
	s := w.open(t)
	p := put(t, s, Record("1", alice, ca))
	forever := Record("2", "bob@example.test", ca)
	forever.Expires = time.Time{}
	put(t, s, forever)
	later := p.Expires
	found, err := s.Pending(alice, later)
	must(t, err)
	want(t, "expired", idsOf(found), "")
	all, err := s.All(later)
	must(t, err)
	want(t, "all", idsOf(all), "2")
	must(t, s.Purge(time.Now()))
	want(t, "not purged before", ids(t, s, alice), "1")
	must(t, s.Purge(later))
	all, err = s.All(time.Now())
	must(t, err)
	want(t, "purged", idsOf(all), "2")

	// Two CAs: one record expires, the other does not.
	short := Record("3", alice, other)
	short.Expires = time.Now().Add(30 * time.Minute)
	put(t, s, Record("4", alice, ca))
	put(t, s, short)
	found, err = s.Pending(alice, time.Now().Add(45*time.Minute))
	must(t, err)
	want(t, "the one that lives on", idsOf(found), "4")
}

func testDamaged(t *testing.T, w *World) {
	var mu sync.Mutex
	var reported []string
	s := w.Open(func(name string, err error) {
		mu.Lock()
		defer mu.Unlock()
		reported = append(reported, name)
	})
	for n, data := range []string{"", "{", `{"version":1}`, `{"version":1,"id":"x","email":"a@b"}`,
		`{"version":1,"id":"` + strings.Repeat("x", state.MaxID+1) + `","email":"a@b","thumbprint":"t"}`, `{"version":-1,"id":"x","email":"a@b","thumbprint":"t"}`, "\x00\xff", strings.Repeat("x", 70<<10)} {
		addr := fmt.Sprintf("user%d@example.test", n)
		w.DamagePending(addr, ca, []byte(data))
		want(t, "damaged", ids(t, s, addr), "")
		if len(reported) == 0 || !strings.Contains(reported[len(reported)-1], addr) {
			t.Errorf("%q: reported %q, want the name of the one for %s", data, reported, addr)
		}
	}
	put(t, s, Record("1", alice, ca))
	all, err := s.All(time.Now())
	must(t, err)
	want(t, "all but the damaged", idsOf(all), "1")
	put(t, s, Record("2", "user1@example.test", other))
	want(t, "a good one beside it", ids(t, s, "user1@example.test"), "2")
}

// What a newer version wrote is not damage: whoever needs it gives up, and it stays.
func testNewer(t *testing.T, w *World) {
	var reported atomic.Int32
	s := w.Open(func(string, error) { reported.Add(1) })
	put(t, s, Record("1", alice, ca))
	put(t, s, Record("2", "bob@example.test", ca))
	w.DamageAnswer("1", []byte(`{"version":2,"id":"1","phase":"delegated"}`))
	_, err := claim(s)
	wantNewer(t, "claim", err)
	_, err = s.Answer("1")
	wantNewer(t, "answer", err)
	if all, err := s.Answers(100); err != nil || len(all) != 0 || reported.Load() != 1 {
		t.Errorf("answers: %v, %v, %d reported", all, err, reported.Load())
	}
	w.DamagePending(alice, ca, []byte(`{"version":2,"id":"1","email":"alice@example.test","token":["t"]}`))
	_, err = s.Pending(alice, time.Now())
	wantNewer(t, "pending", err)
	_, err = s.PendingAny([]string{"bob@example.test", alice}, time.Now())
	wantNewer(t, "pending of several", err)
	wantNewer(t, "put", s.Put(Record("3", alice, ca)))
	must(t, s.Remove(alice, ca, ""))
	_, err = s.Pending(alice, time.Now())
	wantNewer(t, "after removing", err)
	want(t, "another address", ids(t, s, "bob@example.test"), "2")
	all, err := s.All(time.Now())
	must(t, err)
	want(t, "all but the newer", idsOf(all), "2")
}

func wantNewer(t *testing.T, what string, err error) {
	t.Helper()
	if newer := state.Newer(err); newer == nil || newer.Version != 2 || newer.Path == "" {
		t.Errorf("%s: %v, want that a newer version wrote it", what, err)
	}
}

func testMany(t *testing.T, w *World) {
	s := w.open(t)
	records := make([]*state.Pending, w.Many)
	for n := range records {
		records[n] = Record(fmt.Sprint(n), fmt.Sprintf("user%d@example.test", n), ca)
	}
	w.Fill(records)
	last := fmt.Sprint(w.Many - 1)
	want(t, "one of many", ids(t, s, "user"+last+"@example.test"), last)
	want(t, "nobody", ids(t, s, "nobody@example.test"), "")
	n, err := s.CountPending()
	must(t, err)
	want(t, "count", n, w.Many)
	all, err := s.All(time.Now())
	must(t, err)
	want(t, "all", len(all), w.Many)
	x := s.Index()
	defer x.Close()
	if found, _ := x.Any(); !found {
		t.Error("the index says that nobody waits")
	}
}

// race has fifty at once try to claim and answer, each as a process of its own, and
// returns how many could.
func race(t *testing.T, w *World) int {
	t.Helper()
	var won atomic.Int32
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range 50 {
		s := w.open(t)
		wg.Go(func() {
			<-start
			c, err := claim(s)
			var done *state.DoneError
			switch {
			case err == nil:
				won.Add(1)
				if err := errors.Join(c.Sending(), c.Sent(time.Now())); err != nil {
					t.Error(err)
				}
			case !errors.Is(err, state.ErrBusy) && !errors.As(err, &done):
				t.Error(err)
			}
		})
	}
	close(start)
	wg.Wait()
	return int(won.Load())
}

func testOneClaim(t *testing.T, w *World) {
	s := w.open(t)
	put(t, s, Record("1", alice, ca))
	want(t, "claims", race(t, w), 1)
	wantPhase(t, s, state.Sent)
	wantDone(t, s, state.Sent)
}

func testOneClaimAfterDeath(t *testing.T, w *World) {
	s := w.open(t)
	put(t, s, Record("1", alice, ca))
	w.Abandon(mustClaim(t, s), "1")
	want(t, "claims", race(t, w), 1)
	wantPhase(t, s, state.Sent)
}

func testDeadBeforeTheDot(t *testing.T, w *World) {
	s := w.open(t)
	put(t, s, Record("1", alice, ca))
	for range 3 {
		c := mustClaim(t, s)
		if _, err := claim(s); !errors.Is(err, state.ErrBusy) {
			t.Errorf("while it lives: %v, want %v", err, state.ErrBusy)
		}
		wantPhase(t, s, state.Claimed)
		w.Abandon(c, "1")
		wantPhase(t, s, "")
	}
	c := mustClaim(t, s)
	must(t, errors.Join(c.Sending(), c.Sent(time.Now())))
	wantPhase(t, s, state.Sent)
}

func testDeadAfterTheDot(t *testing.T, w *World) {
	s := w.open(t)
	put(t, s, Record("1", alice, ca))
	c := mustClaim(t, s)
	must(t, c.Sending())
	wantPhase(t, s, state.Sending)
	if _, err := claim(s); !errors.Is(err, state.ErrBusy) {
		t.Errorf("while it lives: %v, want %v", err, state.ErrBusy)
	}
	w.Abandon(c, "1")
	wantPhase(t, s, state.Unknown)
	wantDone(t, s, state.Unknown)
	all, err := s.Answers(100)
	must(t, err)
	if len(all) != 1 || all[0].Phase != state.Unknown {
		t.Errorf("answers: %+v", all)
	}
}

func testPhases(t *testing.T, w *World) {
	s, issuer := w.open(t), w.open(t)
	put(t, s, Record("1", alice, ca))
	now := time.Now().UTC().Truncate(time.Millisecond)
	c := mustClaim(t, s)
	must(t, c.Failed("550 no", now))
	a := wantPhase(t, issuer, state.Failed)
	if a.Reason != "550 no" || !a.Ended.Equal(now) || a.Email != alice || a.Server != ca || a.MessageIDs != (state.MessageIDs{Challenge: "<c>", Reply: "<r>"}) || a.Part1 != "digest" {
		t.Errorf("got %+v", a)
	}
	c = mustClaim(t, s) // a later delivery may try again
	must(t, c.Sending())
	must(t, c.Unknown("reset", now))
	wantPhase(t, issuer, state.Unknown)
	wantDone(t, s, state.Unknown)
	all, err := issuer.Answers(100)
	must(t, err)
	if len(all) != 1 || all[0].Phase != state.Unknown || all[0].Reason != "reset" {
		t.Errorf("answers: %+v", all)
	}
	if _, err := issuer.Answer("../1"); err == nil {
		t.Error("an invalid id was looked up")
	}
}

func testGiveBack(t *testing.T, w *World) {
	s := w.open(t)
	put(t, s, Record("1", alice, ca))
	must(t, mustClaim(t, s).GiveBack())
	wantPhase(t, s, "")
	must(t, mustClaim(t, s).Failed("550 no", time.Now()))
	for range 2 {
		c := mustClaim(t, s)
		must(t, c.Sending())
		must(t, c.GiveBack()) // the server said 4xx to the dot
		wantPhase(t, s, state.Failed)
	}
	must(t, mustClaim(t, s).Sent(time.Now()))
	wantPhase(t, s, state.Sent)
}

func testDamagedAnswer(t *testing.T, w *World) {
	reported := ""
	s := w.Open(func(name string, err error) { reported = name })
	put(t, s, Record("1", alice, ca))
	w.DamageAnswer("1", []byte("{"))
	wantPhase(t, s, "")
	if !strings.Contains(reported, "1") {
		t.Errorf("reported %q", reported)
	}
	must(t, mustClaim(t, s).Sent(time.Now()))
	wantPhase(t, s, state.Sent)
}

// A compromised mail half writes whatever it likes into an answer that is a record: it
// reaches no terminal, and damaged ones beside it do not hide the others.
func testHostileAnswer(t *testing.T, w *World) {
	s := w.Open(func(string, error) {})
	put(t, s, Record("1", alice, ca))
	earlier := put(t, s, Record("2", alice, other))
	c, err := s.Claim(earlier, "<c>", "<r>", time.Now())
	must(t, err)
	must(t, c.Sent(time.Now()))
	must(t, mustClaim(t, s).Sent(time.Now()))
	for n := range 5 {
		w.DamageAnswer(fmt.Sprint("bad", n), []byte("{"))
	}
	all, err := s.Answers(1)
	must(t, err)
	if len(all) != 1 {
		t.Errorf("one answer: %+v", all)
	}
	const nasty = `\u001b[2J\u202e\n`
	w.DamageAnswer("1", []byte(`{"version":1,"id":"1","phase":"failed","email":"`+nasty+`","server":"`+nasty+`","reason":"`+nasty+
		`","message-ids":{"challenge":"`+nasty+`","reply":"`+nasty+`"}}`))
	a := wantPhase(t, s, state.Failed)
	for _, text := range []string{a.Email, a.Server, a.Reason, a.MessageIDs.Challenge, a.MessageIDs.Reply} {
		if !printable.Text(text) || text == "" {
			t.Errorf("%q reaches a terminal", text)
		}
	}
}

func testWithin(t *testing.T, w *World) {
	s, second := w.open(t), w.open(t)
	within := func(age time.Duration, all, toCA int) {
		t.Helper()
		a, b, err := second.AnswersWithin(age, ca, time.Now())
		must(t, err)
		if a != all || b != toCA {
			t.Errorf("%d, %d to the CA; want %d, %d", a, b, all, toCA)
		}
	}
	within(time.Hour, 0, 0)
	var claims []state.Claim
	for n := range 6 {
		p := Record(fmt.Sprint(n), fmt.Sprintf("user%d@example.test", n), []string{ca, other}[n%2])
		put(t, s, p)
		c, err := s.Claim(p, "<c>", "<r>", time.Now())
		must(t, err)
		claims = append(claims, c)
	}
	within(time.Hour, 6, 3)
	must(t, claims[0].Sent(time.Now()))
	must(t, claims[1].Failed("550", time.Now()))
	must(t, claims[2].GiveBack())
	within(time.Hour, 5, 2)
}

func testForget(t *testing.T, w *World) {
	s := w.open(t)
	put(t, s, Record("1", alice, ca))
	must(t, mustClaim(t, s).Sent(time.Now()))
	must(t, s.Forget(time.Hour, time.Now()))
	wantPhase(t, s, state.Sent)
	must(t, s.Forget(time.Hour, time.Now().Add(2*time.Hour)))
	wantPhase(t, s, "")
	all, err := s.Answers(100)
	must(t, err)
	want(t, "answers", len(all), 0)
}

// However many mails come, there is one note for a record, written once a minute. It ends
// no wait, says nothing that is not printable, and goes with the record and the answers.
func testNotes(t *testing.T, w *World) {
	s, mail := w.open(t), w.open(t)
	p, bob := put(t, s, Record("1", alice, ca)), put(t, s, Record("2", "bob@example.test", ca))
	now := time.Now()
	notes := func() []*state.Note {
		t.Helper()
		found, err := s.Notes([]string{"1", "2", "3"})
		must(t, err)
		return found
	}
	want(t, "notes before", len(notes()), 0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	woken := make(chan *state.Note)
	go func() {
		n, err := s.WaitNote(ctx, "1", nil)
		if err != nil {
			t.Error(err)
		}
		woken <- n
	}()
	must(t, mail.Note(p, "refused", "no DKIM\x1b[2J signature\n"+strings.Repeat("x", 10_000), now))
	n := <-woken
	if n == nil || n.ID != "1" || n.Verdict != "refused" || n.Count != 1 || !strings.HasPrefix(n.Reason, `no DKIM\x1b[2J signature\n`) || len(n.Reason) > 600 {
		t.Errorf("got %+v", n)
	}
	for k := range 20 {
		must(t, mail.Note(p, "later", "another", now.Add(time.Duration(k)*time.Second)))
	}
	must(t, mail.Note(bob, "later", "the name server is silent", now))
	if all := notes(); len(all) != 2 || *all[0] != *n || all[1].ID != "2" {
		t.Errorf("got %+v, want one note for each record, of the first mail", all)
	}
	wantPhase(t, s, "")
	must(t, mustClaim(t, mail).Sent(time.Now()))
	cancel()
	if _, err := s.WaitNote(ctx, "1", n); !errors.Is(err, context.Canceled) {
		t.Errorf("the same note again: %v", err)
	}
	must(t, s.Remove("bob@example.test", ca, ""))
	want(t, "notes after one record was removed", len(notes()), 1)
	all, err := s.Answers(100)
	must(t, err)
	want(t, "answers beside notes", len(all), 1)
	must(t, s.Forget(time.Hour, time.Now().Add(2*time.Hour)))
	want(t, "notes after the answers were forgotten", len(notes()), 0)
}

// Who runs is told once for each host, the latest first.
func testMailHalves(t *testing.T, w *World) {
	s, mail := w.open(t), w.open(t)
	halves, err := s.MailHalves()
	must(t, err)
	want(t, "mail halves before", len(halves), 0)
	start := time.Now().Add(-time.Second)
	for _, host := range []string{"mx1.example.test", "mx2.example.test", "mx1.example.test"} {
		time.Sleep(2 * time.Millisecond) // the clock of a store may count milliseconds
		must(t, mail.Alive(host, time.Now()))
	}
	must(t, mail.Alive("../\n"+strings.Repeat("x", 300), time.Now().Add(-time.Hour)))
	halves, err = s.MailHalves()
	must(t, err)
	if len(halves) != 3 {
		t.Fatalf("got %+v, want three", halves)
	}
	var order []string
	for _, h := range halves {
		if !printable.Text(h.Host) {
			t.Errorf("%q is not printable", h.Host)
		}
		if strings.HasPrefix(h.Host, "mx") {
			order = append(order, h.Host)
			if h.Seen.Before(start) || h.Seen.After(time.Now().Add(time.Second)) {
				t.Errorf("%s was seen at %s", h.Host, h.Seen)
			}
		}
	}
	want(t, "mail halves", strings.Join(order, " "), "mx1.example.test mx2.example.test")
}

// result is what WaitAnswer returns.
type result struct {
	a   *state.Answer
	err error
}

func testWaitAnswer(t *testing.T, w *World) {
	s, mail := w.open(t), w.open(t)
	put(t, s, Record("1", alice, ca))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	got := make(chan result)
	wait := func(seen *state.Answer) {
		a, err := s.WaitAnswer(ctx, "1", seen)
		got <- result{a, err}
	}
	go wait(nil)
	must(t, mustClaim(t, mail).Failed("550 no", time.Now()))
	failed := <-got
	if failed.err != nil || failed.a.Phase != state.Failed {
		t.Fatalf("got %+v", failed)
	}
	go wait(failed.a) // that one is known: wait for the next
	must(t, mustClaim(t, mail).Failed("551 no", time.Now()))
	failed = <-got
	if failed.err != nil || failed.a.Reason != "551 no" {
		t.Fatalf("got %+v", failed)
	}
	go wait(failed.a)
	must(t, mustClaim(t, mail).Sent(time.Now()))
	if r := <-got; r.err != nil || r.a.Phase != state.Sent {
		t.Errorf("got %+v", r)
	}
	cancel()
	if _, err := s.WaitAnswer(ctx, "other", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func testWaitToken(t *testing.T, w *World) {
	s, mail := w.open(t), w.open(t)
	p := Record("1", alice, ca)
	full := *p
	p.Token, p.From = "", ""
	put(t, s, p)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	got := make(chan string)
	go func() {
		found, err := mail.WaitToken(ctx, []string{alice}, time.Now)
		if err != nil || len(found) != 1 {
			got <- fmt.Sprint(found, err)
			return
		}
		got <- found[0].Token
	}()
	put(t, s, &full)
	want(t, "token", <-got, full.Token)
	found, err := mail.WaitToken(ctx, []string{"nobody@example.test"}, time.Now)
	if err != nil || len(found) != 0 {
		t.Errorf("nobody: %v, %v", found, err)
	}
	cancel()
	put(t, s, p)
	if _, err := mail.WaitToken(ctx, []string{alice}, time.Now); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// untilNobody waits until an index says that nobody waits: it may say so late.
func untilNobody(t *testing.T, x state.Index) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if found, err := x.Any(); err == nil && !found {
			return
		}
	}
	t.Error("the index never says that nobody waits")
}

// A record that was put is never missed, however little before.
func testIndex(t *testing.T, w *World) {
	s, mail := w.open(t), w.open(t)
	x := mail.Index()
	defer x.Close()
	for range 2 {
		untilNobody(t, x)
		put(t, s, Record("1", alice, ca))
		if found, _ := x.Any(); !found { // an error, on a machine that is busy, says true
			t.Fatal("the record is missed")
		}
		must(t, s.Remove(alice, ca, ""))
	}
	untilNobody(t, x)
}

// Whoever comes right after the first finds no host either that says nobody waits.
func testIndexAtOnce(t *testing.T, w *World) {
	s := w.open(t)
	var hosts []state.Index
	for range 5 {
		x := w.open(t).Index()
		defer x.Close()
		untilNobody(t, x)
		hosts = append(hosts, x)
	}
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			if err := s.Put(Record(fmt.Sprint(n), fmt.Sprintf("user%d@example.test", n), ca)); err != nil {
				t.Error(err)
			}
			for _, x := range hosts {
				if found, _ := x.Any(); !found {
					t.Error("the record is missed")
				}
			}
		})
	}
	wg.Wait()
}
