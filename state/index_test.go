package state

import (
	"fmt"
	"os"
	"testing"
	"time"
)

func anyPending(t *testing.T, x *dirIndex) bool {
	t.Helper()
	found, err := x.Any()
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// The index never misses a record that was written before the question, however little
// before.
func TestIndexMissesNothing(t *testing.T) {
	d := newDir(t)
	x := newIndex(d)
	defer x.Close()
	for i := range 2000 {
		p := record(fmt.Sprint(i), "alice@example.test", "ca")
		put(t, d, p)
		if !anyPending(t, x) {
			t.Fatalf("round %d: the record is missed", i)
		}
		if err := d.Remove(p.Email, p.Server, ""); err != nil {
			t.Fatal(err)
		}
		if anyPending(t, x) {
			t.Fatalf("round %d: the record is gone and still seen", i)
		}
	}
}

// The index does not read the directory while nothing changes in it.
func TestIndexReadsOnlyChanges(t *testing.T) {
	d := newDir(t)
	x := newIndex(d)
	defer x.Close()
	anyPending(t, x)
	first := x.checked
	for range 100 {
		anyPending(t, x)
	}
	if x.checked != first {
		t.Error("the directory was read though nothing changed")
	}
	x.now = func() time.Time { return first.Add(recheckEvery) }
	anyPending(t, x)
	if x.checked == first {
		t.Error("the directory is never read without an event")
	}
}

// Any is asked for each message.
func BenchmarkIndexAny(b *testing.B) {
	x := newIndex(newDir(b))
	defer x.Close()
	for b.Loop() {
		if _, err := x.Any(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestIndexWithoutDirectory(t *testing.T) {
	d := newDir(t)
	x := newIndex(d)
	defer x.Close()
	anyPending(t, x)
	if err := os.Rename(d.Path("pending"), d.Path("moved")); err != nil {
		t.Fatal(err)
	}
	if _, err := x.Any(); err == nil {
		t.Error("no error while the directory is missing")
	}
	if err := os.Rename(d.Path("moved"), d.Path("pending")); err != nil {
		t.Fatal(err)
	}
	seesNext(t, d, x)
}

// seesNext checks that an index of an empty directory sees the next record.
func seesNext(t *testing.T, d *Dir, x *dirIndex) {
	t.Helper()
	if anyPending(t, x) {
		t.Error("a record that is not there")
	}
	put(t, d, record("1", "alice@example.test", "ca"))
	if !anyPending(t, x) {
		t.Error("a record in the directory is missed")
	}
}

// Whoever restores the directory from a backup may put another in its place.
func TestIndexOfReplacedDirectory(t *testing.T) {
	d := newDir(t)
	x := newIndex(d)
	defer x.Close()
	anyPending(t, x)
	if err := os.Rename(d.Path("pending"), d.Path("moved")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Create(); err != nil {
		t.Fatal(err)
	}
	seesNext(t, d, x)
}

// A record may also be moved or copied there.
func TestIndexSeesForeignWriters(t *testing.T) {
	d := newDir(t)
	x := newIndex(d)
	defer x.Close()
	anyPending(t, x)
	path := d.Path("pending/order-17.json")
	for _, step := range []struct {
		name string
		do   func() error
		want bool
	}{
		{"copied", func() error { return os.WriteFile(path, []byte("{}"), 0o640) }, true},
		{"moved away", func() error { return os.Rename(path, d.Path("aside")) }, false},
		{"moved back", func() error { return os.Rename(d.Path("aside"), path) }, true},
		{"removed", func() error { return os.Remove(path) }, false},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if got := anyPending(t, x); got != step.want {
			t.Errorf("%s: %v", step.name, got)
		}
	}
}

func benchmarkLookup(b *testing.B, n int) {
	d := newDir(b)
	for i := range n {
		put(b, d, record(fmt.Sprint(i), fmt.Sprintf("user%d@example.test", i), "ca"))
	}
	for b.Loop() {
		if found, err := d.Pending("user0@example.test", now); err != nil || len(found) != 1 {
			b.Fatal(found, err)
		}
	}
}

func BenchmarkLookup1(b *testing.B)     { benchmarkLookup(b, 1) }
func BenchmarkLookup1000(b *testing.B)  { benchmarkLookup(b, 1000) }
func BenchmarkLookup10000(b *testing.B) { benchmarkLookup(b, 10000) }
func BenchmarkClaimToSent(b *testing.B) {
	d := newDir(b)
	for i := 0; b.Loop(); i++ {
		c, err := d.Claim(record(fmt.Sprint(i), "alice@example.test", "ca"), "<c>", "<r>", now)
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Sending(); err != nil {
			b.Fatal(err)
		}
		if err := c.Sent(now); err != nil {
			b.Fatal(err)
		}
	}
}
