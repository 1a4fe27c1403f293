package state

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// within counts the claims within the hour before a time.
func within(t testing.TB, d *Dir, at time.Time) (all, toCA int) {
	t.Helper()
	all, toCA, err := d.AnswersWithin(time.Hour, "ca", at)
	if err != nil {
		t.Fatal(err)
	}
	return all, toCA
}

func wantWithin(t testing.TB, d *Dir, at time.Time, all, toCA int) {
	t.Helper()
	if a, b := within(t, d, at); a != all || b != toCA {
		t.Errorf("%d, %d to the CA; want %d, %d", a, b, all, toCA)
	}
}

func claimAt(t testing.TB, d *Dir, id, server string, at time.Time) Claim {
	t.Helper()
	c, err := d.Claim(record(id, "alice@example.test", server), "<c>", "<r>", at)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func counters(t testing.TB, d *Dir) []string {
	t.Helper()
	found, err := filepath.Glob(d.Path("answers", counterPrefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestAnswersWithin(t *testing.T) {
	d := newDir(t)
	wantWithin(t, d, now, 0, 0)
	claimAt(t, d, "1", "ca", now.Add(-61*time.Minute))
	claimAt(t, d, "2", "ca", now.Add(-30*time.Minute))
	claimAt(t, d, "3", "other", now)
	wantWithin(t, d, now, 2, 1)
	if err := claimAt(t, d, "4", "ca", now).GiveBack(); err != nil {
		t.Fatal(err)
	}
	wantWithin(t, d, now, 2, 1)
	wantWithin(t, d, now.Add(2*time.Hour), 0, 0)
	if n := len(counters(t, d)); n > 3 {
		t.Errorf("%d counters", n)
	}
}

// The clock of another host may be ahead.
func TestAnswersWithinAhead(t *testing.T) {
	d := newDir(t)
	claimAt(t, d, "1", "ca", now.Add(aheadMost-time.Minute))
	wantWithin(t, d, now, 1, 1)
}

// A counter that follows another does not count the answers once more.
func TestAnswersWithinOnce(t *testing.T) {
	d := newDir(t)
	at := time.Now() // answers are as old as their files
	claimAt(t, d, "1", "ca", at.Add(-time.Hour))
	if err := os.Chtimes(d.Path("answers/1.json"), at, at.Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	claimAt(t, d, "2", "ca", at)
	if all, toCA, err := d.AnswersWithin(2*time.Hour, "ca", at); all != 2 || toCA != 2 || err != nil {
		t.Errorf("%d, %d to the CA, %v; want 2", all, toCA, err)
	}
}

// Lost counters are rebuilt from the answers; an unreadable or invalid one stops nobody.
func TestAnswersWithinWithoutCounters(t *testing.T) {
	d := newDir(t)
	at := time.Now() // answers are as old as their files
	for n := range 3 {
		claimAt(t, d, fmt.Sprint(n), "ca", at)
		if err := os.Chtimes(d.Path("answers", fmt.Sprint(n)+".json"), at, at.Add(-time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range counters(t, d) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	claimAt(t, d, "3", "ca", at)
	wantWithin(t, d, at, 4, 4)

	path := d.counterPath(at)
	lines, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := append([]byte("+12 torn\nsomething else\n\n"), lines...)
	if err := os.WriteFile(path, append(damaged, "+17803"...), 0o660); err != nil {
		t.Fatal(err)
	}
	wantWithin(t, d, at, 4, 4)

	reported := ""
	d.Damaged = func(path string, _ error) { reported = path }
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	claimAt(t, d, "4", "ca", at)
	wantWithin(t, d, at, 5, 5)
	if reported != path {
		t.Errorf("reported %q", reported)
	}
}

// Of many claims at once each is counted, and none of them sees too few.
func TestAnswersWithinAtOnce(t *testing.T) {
	d := newDir(t)
	var wg sync.WaitGroup
	for n := range 100 {
		wg.Go(func() {
			c := claimAt(t, d, fmt.Sprint(n), "ca", now)
			if n%2 == 0 {
				c.GiveBack()
			}
		})
	}
	wg.Wait()
	wantWithin(t, d, now, 50, 50)
}

// The cost that the answers of thirty days add to one reply.
func BenchmarkAnswersWithin(b *testing.B) {
	for _, n := range []int{100, 10_000, 200_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := newDir(b)
			for i := range n {
				if err := os.WriteFile(d.Path("answers", fmt.Sprintf("x%d.json", i)), nil, 0o600); err != nil {
					b.Fatal(err)
				}
			}
			lines := make([]byte, 0, n*counterLine)
			for range min(n, 50_000) { // --max-answers
				lines = append(lines, countLine('+', "ca", now)...)
			}
			if err := os.WriteFile(d.counterPath(now), lines, 0o660); err != nil {
				b.Fatal(err)
			}
			for i := 0; b.Loop(); i++ {
				c := claimAt(b, d, fmt.Sprintf("y%d", i), "ca", now)
				within(b, d, now)
				if err := c.GiveBack(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
