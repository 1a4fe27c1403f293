package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// newDir returns a state directory as the issuing half creates it.
func newDir(t testing.TB) *Dir {
	t.Helper()
	d := Open(filepath.Join(t.TempDir(), "state"))
	if _, err := d.Create(); err != nil {
		t.Fatal(err)
	}
	return d
}

func record(id, email, server string) *Pending {
	return &Pending{
		ID: id, Email: email, Server: server, From: "ca@ca.example", Token: "part2", Thumbprint: "thumb",
		Join: "string", Created: now, Expires: now.Add(time.Hour),
	}
}

func put(t testing.TB, d *Dir, p *Pending) {
	t.Helper()
	if err := d.Put(p); err != nil {
		t.Fatal(err)
	}
}

func ids(t testing.TB, d *Dir, addr string) string {
	t.Helper()
	found, err := d.Pending(addr, now)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range found {
		all = append(all, p.ID)
	}
	return strings.Join(all, " ")
}

func TestModesWhateverTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077} {
		old := syscall.Umask(umask)
		d := newDir(t)
		put(t, d, record("1", "alice@example.test", "ca"))
		c, err := d.Claim(record("1", "alice@example.test", "ca"), "<c>", "<r>", now)
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		defer c.GiveBack()
		for path, want := range map[string]fs.FileMode{
			"accounts":                        fs.ModeDir | 0o700,
			"orders":                          fs.ModeDir | 0o700,
			"certs":                           fs.ModeDir | 0o700,
			"pending":                         fs.ModeDir | fs.ModeSetgid | 0o750,
			"answers":                         fs.ModeDir | fs.ModeSetgid | fs.ModeSticky | 0o770,
			"pending/alice@example.test.json": 0o640,
			"answers/1.json":                  0o640,
			"answers/" + filepath.Base(d.counterPath(now)): 0o660,
		} {
			info, err := os.Stat(d.Path(path))
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode() != want {
				t.Errorf("umask %03o: %s has mode %v, want %v", umask, path, info.Mode(), want)
			}
		}
	}
}

func TestCreateLeavesWhatIsThere(t *testing.T) {
	d := newDir(t)
	if err := os.Chmod(d.Path("pending"), 0o700); err != nil {
		t.Fatal(err)
	}
	if note, err := d.Create(); err != nil || note != "" {
		t.Errorf("second Create: %q, %v", note, err)
	}
	if info, _ := os.Stat(d.Path("pending")); info.Mode().Perm() != 0o700 {
		t.Errorf("the admin's mode became %v", info.Mode())
	}
}

// Two programs may make the directory at the same time.
func TestCreateAtOnce(t *testing.T) {
	d := Open(filepath.Join(t.TempDir(), "state"))
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			_, err := d.Create()
			if err == nil {
				err = d.Put(record(fmt.Sprint(n), fmt.Sprintf("user%d@example.test", n), "ca"))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, dir := range []string{filepath.Dir(d.Path()), d.Path()} {
		if left, _ := filepath.Glob(dir + "/.new-*"); len(left) != 0 {
			t.Errorf("left over: %q", left)
		}
	}
	if n, err := d.CountPending(); n != 8 || err != nil {
		t.Errorf("%d records, %v", n, err)
	}
}

func TestCreateOverFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path).Create(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error that names %s", err, path)
	}
}

// A private directory has nothing that the mail half would use, and Missing says what Create
// makes.
func TestCreatePrivate(t *testing.T) {
	for private, want := range map[bool]string{false: "accounts orders certs pending answers", true: "accounts orders certs"} {
		d := Open(filepath.Join(t.TempDir(), "state"))
		d.Private = private
		if got := strings.Join(d.Missing(), " "); got != want {
			t.Errorf("private %v: %q is missing, want %q", private, got, want)
		}
		if note, err := d.Create(); err != nil || private && note != "" {
			t.Errorf("private %v: %q, %v", private, note, err)
		}
		if left := d.Missing(); len(left) > 0 {
			t.Errorf("private %v: %q is missing after Create", private, left)
		}
		if _, err := os.Stat(d.Path("pending")); (err == nil) == private {
			t.Errorf("private %v: pending: %v", private, err)
		}
	}
}

// The error names the directory that the user gave, not the one above it.
func TestCreateWhereNobodyMay(t *testing.T) {
	path := "/proc/postseal"
	if _, err := Open(path).Create(); err == nil || !strings.Contains(err.Error(), path+":") {
		t.Errorf("got %v, want an error that names %s", err, path)
	}
}

// An address cannot name a file outside the directory, and one that differs only in case is
// the same mailbox.
func TestFileNames(t *testing.T) {
	for addr, want := range map[string]string{
		"Alice@Example.TEST":                 "alice@example.test.json",
		"../../etc/passwd@x.test":            "%2E.%2F..%2Fetc%2Fpasswd@x.test.json",
		"a/b@x.test":                         "a%2Fb@x.test.json",
		".hidden@x.test":                     "%2Ehidden@x.test.json",
		"jürgen@bücher.test":                 "j%C3%BCrgen@xn--bcher-kva.test.json",
		"a+tag@x.test":                       "a+tag@x.test.json",
		"a\x00\n@x.test":                     "a%00%0A@x.test.json",
		strings.Repeat("a", 250) + "@x.test": "sha256-",
	} {
		if got := fileName(addr, 1); !strings.HasPrefix(got, want) || strings.Contains(got, "/") || len(got) > 220 {
			t.Errorf("%q: %q, want %q", addr, got, want)
		}
		d := newDir(t)
		put(t, d, record("1", addr, "ca"))
		if got := ids(t, d, addr); got != "1" {
			t.Errorf("%q is not found again", addr)
		}
		if !ours(fileName(addr, 1)) || !ours(fileName(addr, 2)) {
			t.Errorf("%q is not recognised as a name of ours", fileName(addr, 1))
		}
	}
}

func TestPutReplacesItsOwn(t *testing.T) {
	d := newDir(t)
	put(t, d, record("1", "alice@example.test", "ca-1"))
	put(t, d, record("2", "alice@example.test", "ca-2"))
	put(t, d, record("3", "ALICE@example.test", "ca-1"))
	if got := ids(t, d, "alice@example.test"); got != "3 2" {
		t.Errorf("got %q, want the new record of ca-1 and that of ca-2", got)
	}
	if err := d.Remove("alice@example.test", "ca-1", ""); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, d, "Alice@example.test"); got != "2" {
		t.Errorf("after Remove got %q", got)
	}
	put(t, d, record("4", "alice@example.test", "ca-3"))
	if got := ids(t, d, "alice@example.test"); got != "4 2" {
		t.Errorf("the free name is not used again: %q", got)
	}
}

func TestExpiredIsNotPending(t *testing.T) {
	d := newDir(t)
	p := record("1", "alice@example.test", "ca")
	p.Expires = now.Add(-time.Second)
	put(t, d, p)
	if got := ids(t, d, "alice@example.test"); got != "" {
		t.Errorf("got %q", got)
	}
	if err := d.Purge(now); err != nil {
		t.Fatal(err)
	}
	if n, _ := d.CountPending(); n != 0 {
		t.Errorf("%d records after Purge", n)
	}
}

// A torn or foreign file is reported by name and does not hide the others.
func TestDamagedFiles(t *testing.T) {
	d := newDir(t)
	var damaged []string
	d.Damaged = func(path string, err error) { damaged = append(damaged, filepath.Base(path)) }
	put(t, d, record("1", "alice@example.test", "ca"))
	for name, content := range map[string]string{
		"garbage.json":              "\x00\xff{",
		"alice@example.test.2.json": `{"version": 1, "id": "2", "em`,
		"newer.json":                `{"version": 99, "id": "3", "email": "alice@example.test", "thumbprint": "t"}`,
		"path.json":                 `{"version": 1, "id": "../../x", "email": "alice@example.test", "thumbprint": "t"}`,
		".half-written.json":        `{`,
		"README":                    `hello`,
	} {
		if err := os.WriteFile(d.Path("pending", name), []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if got := ids(t, d, "alice@example.test"); got != "1" {
		t.Errorf("got %q", got)
	}
	if len(damaged) != 4 {
		t.Errorf("reported %q, want four names", damaged)
	}
}

// Records under foreign names count too.
func TestForeignName(t *testing.T) {
	d := newDir(t)
	put(t, d, record("1", "alice@example.test", "ca"))
	if err := os.Rename(d.Path("pending/alice@example.test.json"), d.Path("pending/order-17.json")); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, d, "alice@example.test"); got != "1" {
		t.Errorf("got %q", got)
	}
}

// A record under the name of another address is not that address's, and stays as it is.
func TestNameOfAnother(t *testing.T) {
	d := newDir(t)
	put(t, d, record("1", "bob@example.test", "ca"))
	if err := os.Rename(d.Path("pending/bob@example.test.json"), d.Path("pending/alice@example.test.json")); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, d, "alice@example.test"); got != "" {
		t.Errorf("for alice waits %q", got)
	}
	put(t, d, record("2", "alice@example.test", "ca"))
	if all, err := d.All(now); err != nil || len(all) != 2 {
		t.Errorf("%d records, %v", len(all), err)
	}
	if got := ids(t, d, "alice@example.test"); got != "2" {
		t.Errorf("for alice waits %q", got)
	}
}

func TestMissingDirectoryIsAnError(t *testing.T) {
	d := Open(filepath.Join(t.TempDir(), "none"))
	if _, err := d.Pending("alice@example.test", now); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want an error: it is not known that nobody waits", err)
	}
}

func TestSlotsRunOut(t *testing.T) {
	d := newDir(t)
	for i := range slots {
		put(t, d, record(fmt.Sprint(i), "alice@example.test", fmt.Sprint("ca-", i)))
	}
	if err := d.Put(record("x", "alice@example.test", "one more")); err == nil {
		t.Error("a record was written where there is no name for it")
	}
}

// A file that is too large to be a record of ours is damaged, and no more.
func TestHugeFiles(t *testing.T) {
	d := newDir(t)
	damaged := 0
	d.Damaged = func(string, error) { damaged++ }
	put(t, d, record("1", "alice@example.test", "ca"))
	for _, name := range []string{"pending/alice@example.test.2.json", "pending/huge.json", "answers/1.json"} {
		if err := os.WriteFile(d.Path(name), make([]byte, MaxRecord+1), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if got := ids(t, d, "alice@example.test"); got != "1" || damaged != 2 {
		t.Errorf("got %q, %d files reported", got, damaged)
	}
	if err := mustClaim(t, d).Sent(now); err != nil {
		t.Fatal(err)
	}
	if got := phase(t, d); got != Sent {
		t.Errorf("phase %q", got)
	}
}
