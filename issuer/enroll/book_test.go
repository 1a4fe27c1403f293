package enroll

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postseal/internal/failure"
)

func open(t testing.TB, dir string) *Book {
	t.Helper()
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func save(t testing.TB, dir string, memories ...Memory) {
	t.Helper()
	for _, m := range memories {
		if err := open(t, dir).Save(m); err != nil {
			t.Fatal(err)
		}
	}
}

// remembered returns what a table's run is given.
func remembered(t testing.TB, dir string, tbl Table, list Source) string {
	t.Helper()
	m, err := open(t, dir).Memory(tbl, list)
	if err != nil {
		t.Fatal(err)
	}
	return m.text()
}

// leftIn returns the leavers in a state directory, and the error of files that are unreadable.
func leftIn(dir string) (map[string]string, error) {
	b, err := Open(dir)
	if err != nil {
		return nil, err
	}
	return b.Left(), b.Err()
}

func left(t testing.TB, dir string) string {
	t.Helper()
	reasons, err := leftIn(dir)
	if err != nil {
		t.Fatal(err)
	}
	var m Memory
	for addr, why := range reasons {
		m.Entries = append(m.Entries, Entry{Address: addr})
		if !strings.Contains(why, "since 2026-10-20") {
			t.Errorf("%s: %s", addr, why)
		}
	}
	return m.text()
}

func TestMemoryOnDisk(t *testing.T) {
	dir, tbl := t.TempDir(), table(t, "")
	if got := remembered(t, dir, tbl, Source{}) + left(t, dir); got != "" {
		t.Errorf("nothing was written, and %q read", got)
	}
	const all = "a b,w-3 c,w-3 d,g-40,l-10 e,w-1,tsign:3:+2,tencrypt:1:+1 f,g-2 z"
	save(t, dir, memory(all))
	if got := remembered(t, dir, tbl, Source{}); got != all {
		t.Errorf("read %s", got)
	}
	if m, _ := open(t, dir).Memory(tbl, Source{}); m.Accepted != day("-1") || m.Entries[4].Tries[0].Error != "boom" {
		t.Errorf("%+v", m)
	}
	if got := left(t, dir); got != "d" {
		t.Errorf("left: %s", got)
	}
	for path, want := range map[string]os.FileMode{"certs/.enroll": 0o700 | os.ModeDir, "certs/.enroll/example.org.json": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode() != want {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
}

// What is damaged is named and never overwritten, and the other tables go on.
func TestDamagedMemory(t *testing.T) {
	for content, words := range map[string]string{
		"{":                                    "no whole record",
		"":                                     "no whole record",
		`{"version":1,"domain":"example.org"}`: "missing",
		`{"version":1,"domain":"example.net","addresses":[]}`:                            `it is of "example.net"`,
		`{"version":1,"domain":"example.org","addresses":[],"waiting":{"yesterday":[]}}`: "no whole record",
		`{"version":2,"domain":"example.org","addresses":[]}`:                            "newer postseal",
	} {
		dir, tbl := t.TempDir(), table(t, "")
		other := memory("d@example.com,g-40,l-10")
		other.Domain = "example.com"
		save(t, dir, other)
		path := filepath.Join(dir, "certs/.enroll/example.org.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		b := open(t, dir)
		_, err := b.Memory(tbl, Source{})
		if err == nil || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), "example.org.json") ||
			failure.KindOf(err) != failure.KindConfig || failure.HintOf(err) == "" {
			t.Errorf("%s: %v (%s)", content, err, failure.HintOf(err))
		}
		if newer := words == "newer postseal"; (failure.HintOf(err) == failure.NewerPostseal) != newer {
			t.Errorf("%s: hint %q", content, failure.HintOf(err))
		}
		if err := b.Save(memory("a")); err == nil {
			t.Errorf("%s was overwritten", content)
		}
		if now, _ := os.ReadFile(path); string(now) != content {
			t.Errorf("%s became %s", content, now)
		}
		if reasons, err := leftIn(dir); err == nil || reasons["d@example.com"] == "" {
			t.Errorf("left: %v, %v", reasons, err)
		}
	}
}

// The domain decides where an address belongs when tables come and go.
func TestTablesComeAndGo(t *testing.T) {
	alone := table(t, "domain=*")
	beside := table(t, "domain=* named=example.org")
	own := table(t, "")
	others := func(s string) Memory {
		m := memory(s)
		m.Domain = Others
		return m
	}

	dir := t.TempDir()
	save(t, dir, others("a b,g-2 d,g-40,l-10 x@example.net"))
	m, err := open(t, dir).Memory(own, source(own, "a"))
	if err != nil || m.text() != "a b,g-2 d,g-40,l-10" || m.Accepted != day("-1") {
		t.Errorf("a new table takes %s, %v", m.text(), err)
	}
	if got := remembered(t, dir, beside, Source{}); got != "a b,g-2 d,g-40,l-10 x@example.net" {
		t.Errorf("before it has run, the others have %s", got)
	}
	killed, err := os.ReadFile(filepath.Join(dir, "certs/.enroll/_others.json"))
	if err != nil {
		t.Fatal(err)
	}
	m.Entries[2].Left, m.Entries[2].Gone = 0, 0 // d is back
	save(t, dir, m)
	if got := remembered(t, dir, beside, Source{}); got != "x@example.net" {
		t.Errorf("after it has run, the others have %s", got)
	}
	// Killed between the two files:
	if err := os.WriteFile(filepath.Join(dir, "certs/.enroll/_others.json"), killed, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := left(t, dir); got != "" {
		t.Errorf("%s left, and came back in the file that was written", got)
	}
	if got := remembered(t, dir, own, Source{}); got != "a b,g-2 d" {
		t.Errorf("its own file counts, and it has %s", got)
	}
	save(t, dir, m)
	if got := remembered(t, dir, beside, Source{}); got != "x@example.net" {
		t.Errorf("the next run leaves the others %s", got)
	}

	// The table is deleted. Nobody is gone because of that:
	save(t, dir, memory("a b,g-2 d,g-40,l-10"))
	if got := remembered(t, dir, alone, source(alone, "x@example.net")); got != "x@example.net" {
		t.Errorf("the others take %s", got)
	}
	if got := left(t, dir); got != "d" {
		t.Errorf("left: %s", got)
	}
	// and who is in the source of the others is theirs, with what is remembered.
	list := source(alone, "b d x@example.net")
	if got := remembered(t, dir, alone, list); got != "b,g-2 d,g-40,l-10 x@example.net" {
		t.Errorf("the others take %s", got)
	}
	save(t, dir, others("b d x@example.net"))
	if got := remembered(t, dir, own, Source{}) + left(t, dir); got != "a b d" {
		t.Errorf("%s is left of the table that was deleted", got)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	unlock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir); failure.KindOf(err) != failure.KindLater {
		t.Errorf("two runs at once: %v", err)
	}
	unlock()
	unlock, err = Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "certs"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b := &Book{dirOf(dir), map[string]Memory{}, map[string]error{}}
	if err := b.Save(memory("a")); failure.HintOf(err) == "" {
		t.Error(err)
	}
	if _, err := Lock(dir); failure.HintOf(err) == "" {
		t.Error(err)
	}
	if _, err := leftIn(dir); failure.HintOf(err) == "" {
		t.Error(err)
	}
}

// A list of 100,000 addresses is a file of 4 MB at most, even if all of them are new.
func TestSize(t *testing.T) {
	for _, notes := range []string{"", ",w-1"} {
		dir := t.TempDir()
		save(t, dir, memory("user1..100000"+notes))
		info, err := os.Stat(filepath.Join(dir, "certs/.enroll/example.org.json"))
		if err != nil || info.Size() > 4<<20 {
			t.Errorf("%v bytes, %v", info.Size(), err)
		}
	}
}
