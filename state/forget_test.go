package state

import (
	"fmt"
	"os"
	"testing"
	"time"

	"postseal/internal/test/mta"
)

// Forget keeps an early failed attempt as long as a later one that was sent: a gap would hide
// the later one, and the challenge could be answered again.
func TestForgetLeavesNoGap(t *testing.T) {
	d := newDir(t)
	if err := mustClaim(t, d).Failed("550 no", now); err != nil {
		t.Fatal(err)
	}
	if err := mustClaim(t, d).Sent(now); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(d.Path("answers/1.json"), old, old); err != nil {
		t.Fatal(err)
	}
	if err := d.Forget(time.Hour, time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := phase(t, d); got != Sent {
		t.Errorf("phase %q, want sent", got)
	}
	if _, err := claim(d); err == nil {
		t.Error("the challenge can be answered again")
	}
	if err := d.Forget(time.Hour, time.Now().Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(d.Path("answers")); len(entries) != 0 {
		t.Errorf("%v are left", entries)
	}
}

// However many files there are, a command looks at a part, and later ones at the rest.
func TestForgetIsBounded(t *testing.T) {
	mta.NotShort(t)
	d := newDir(t)
	for n := range mostForgotten + 2 {
		if err := os.WriteFile(d.Path("answers", fmt.Sprintf("%d.json", n)), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{2, 0} {
		if err := d.Forget(time.Hour, time.Now().Add(2*time.Hour)); err != nil {
			t.Fatal(err)
		}
		if entries, _ := os.ReadDir(d.Path("answers")); len(entries) != want {
			t.Errorf("%d files are left, want %d", len(entries), want)
		}
	}
}
