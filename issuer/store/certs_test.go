package store

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postseal/internal/test/certs"
	"postseal/internal/test/mta"
	"postseal/issuer/cert"
	"postseal/state"
)

const alice = "alice@example.test"

func newDisk(t *testing.T) *Disk {
	t.Helper()
	d := &Disk{Dir: state.Open(filepath.Join(t.TempDir(), "state")), Now: time.Now}
	if _, err := d.Dir.Create(); err != nil {
		t.Fatal(err)
	}
	return d
}

func newGeneration(t *testing.T, serial string) *Generation {
	t.Helper()
	key := certs.Key(t)
	leaf := certs.SelfSigned(t, key, func(*x509.Certificate) {})
	return &Generation{Key: key, Chain: []*x509.Certificate{leaf}, Passphrase: serial, Renewal: &Renewal{
		Version: Version, Settings: Settings{Emails: []string{alice}, Server: "https://ca.example/dir", KeyType: "p256"},
		Serial: serial, Fingerprint: cert.Fingerprint(leaf), NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
	}}
}

// A reader during the replacement of certs/NAME sees files of one Generation: it holds the
// directory, not the name.
func TestStoreIsOneSet(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	if err := d.Put(alice, newGeneration(t, "0")); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := readSet(d.CertDir(alice)); err != nil {
					t.Error(err)
					return
				}
				if g, err := ReadGeneration(d.CertDir(alice)); err == nil && g.Passphrase != g.Renewal.Serial {
					t.Errorf("the passphrase of %s with the key of %s", g.Passphrase, g.Renewal.Serial)
				}
			}
		})
	}
	for n := range 30 {
		if err := d.Put(alice, newGeneration(t, fmt.Sprint(n+1))); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	readers.Wait()
	entries, err := os.ReadDir(d.Path("certs", PreviousDir, alice))
	if err != nil || len(entries) != 30 {
		t.Errorf("%d former generations, %v", len(entries), err)
	}
}

// readSet opens the directory and expects passphrase and renewal.json to agree. The set may
// vanish meanwhile, but is never mixed.
func readSet(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err // the name always exists
	}
	defer root.Close()
	pass, err := root.ReadFile(PassphraseFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	renewal, err := root.ReadFile(RenewalFile)
	if err == nil && !strings.Contains(string(renewal), fmt.Sprintf(`"serial": %q`, strings.TrimSpace(string(pass)))) {
		return fmt.Errorf("a mix: passphrase of %s", pass)
	}
	return nil
}

func TestReplaceWithoutExchange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, d := range []string{a, b} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, filepath.Base(d)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := replaceByRenames(a, b); err != nil {
		t.Fatal(err)
	}
	if !Exists(filepath.Join(b, "a")) || Exists(a) || Exists(a+".old") {
		t.Error("not replaced")
	}
}

// Leftovers of killed processes are removed once they are old.
func TestSweep(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	for name, age := range map[string]time.Duration{".x.new-1": 2 * time.Hour, ".x.new-2": 0, "kept": 2 * time.Hour, ".previous": 2 * time.Hour} {
		path := d.Path("certs", name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-age)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Sweep(); err != nil {
		t.Fatal(err)
	}
	var left []string
	entries, err := os.ReadDir(d.Path("certs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if !slices.Equal(left, []string{".previous", ".x.new-2", "kept"}) {
		t.Errorf("%v", left)
	}
}

// A certificate directory of unknown content is left alone.
func TestNameOfUnknown(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	if err := os.MkdirAll(filepath.Join(d.CertDir(alice), "something"), 0o700); err != nil {
		t.Fatal(err)
	}
	if name, err := d.PickName([]string{alice}, ""); err != nil || name != alice+"-2" {
		t.Errorf("%q, %v", name, err)
	}
}

func TestTryLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	var wg sync.WaitGroup
	var mu sync.Mutex
	inside, most := 0, 0
	for range 8 {
		wg.Go(func() {
			for range 200 {
				unlock, err := TryLock(path)
				if errors.Is(err, ErrLocked) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				inside++
				most = max(most, inside)
				mu.Unlock()
				mu.Lock()
				inside--
				mu.Unlock()
				unlock()
			}
		})
	}
	wg.Wait()
	if most != 1 || Exists(path) {
		t.Errorf("%d at once; the file is there: %v", most, Exists(path))
	}
}

// Files and locks of killed processes are removed after an hour; a lock that somebody holds
// and foreign files stay.
func TestSweepFiles(t *testing.T) {
	d := newDisk(t)
	for _, dir := range []string{"orders", "pending", "certs/.runs"} {
		if err := os.MkdirAll(d.Path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	held, err := d.LockName("held@example.test", "")
	if err != nil {
		t.Fatal(err)
	}
	defer held()
	for _, name := range []string{"orders/.alice@example.test.json123", "orders/.lock-alice@example.test", "pending/.alice@example.test.json99", "certs/.runs/.renew.json1",
		"orders/alice@example.test.json", "orders/.mine", "pending/alice@example.test.json"} {
		if err := os.WriteFile(d.Path(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	names := func() (all []string) {
		for _, dir := range []string{"orders", "pending", "certs/.runs"} {
			entries, _ := os.ReadDir(d.Path(dir))
			for _, e := range entries {
				all = append(all, e.Name())
			}
		}
		return all
	}
	before := names()
	if err := d.Sweep(); err != nil || !slices.Equal(names(), before) {
		t.Errorf("at once: %v, %v", names(), err)
	}
	d.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	if err := d.Sweep(); err != nil {
		t.Fatal(err)
	}
	want := []string{".lock-held@example.test", ".mine", "alice@example.test.json", "alice@example.test.json"}
	if got := names(); !slices.Equal(got, want) {
		t.Errorf("left: %v, want %v", got, want)
	}
}

// A former generation that has to be copied, because it is on another file system, is whole
// even after a run that died in the middle: without its key old mail is lost.
func TestCopyIsWhole(t *testing.T) {
	mta.NotShort(t)
	t.Parallel()
	d := newDisk(t)
	former := newGeneration(t, "1")
	if err := d.Put(alice, former); err != nil {
		t.Fatal(err)
	}
	previous := d.Path("certs", PreviousDir)
	mount := func(flags uintptr, size string) {
		t.Helper()
		if err := syscall.Mount("previous", previous, "tmpfs", flags, "mode=700,size="+size); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(previous, 0o700); err != nil {
		t.Fatal(err)
	}
	mount(0, fmt.Sprint(3*os.Getpagesize()))
	t.Cleanup(func() { _ = syscall.Unmount(previous, syscall.MNT_DETACH) })
	if err := d.Put(alice, newGeneration(t, "2")); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("%v, want a file system that is full", err)
	}
	mount(syscall.MS_REMOUNT, "1m")
	if err := d.Put(alice, newGeneration(t, "2")); err != nil {
		t.Fatal(err)
	}
	g, err := ReadGeneration(filepath.Join(previous, alice, "1"))
	if err != nil || !cert.SamePublicKey(former.Key.Public(), g.Key) || g.Passphrase != former.Passphrase {
		t.Errorf("the former generation: %+v, %v", g, err)
	}
}
