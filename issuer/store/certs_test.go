package store

import (
	"context"
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

	"postseal/internal/failure"
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

// Each file holds what its name says: servers and mail programs read them, not postseal.
func TestFiles(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	g := newGeneration(t, "1")
	between, root := newGeneration(t, "2").Chain[0], newGeneration(t, "3").Chain[0]
	g.Chain = append(g.Chain, between, root)
	for range 2 { // a run that was killed right after it does it again
		if err := d.Put(alice, g); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string][]*x509.Certificate{CertFile: g.Chain[:1], ChainFile: g.Chain[1:], FullchainFile: g.Chain} {
		if text := mustRead(t, filepath.Join(d.CertDir(alice), file)); string(text) != string(cert.MarshalChain(want)) {
			t.Errorf("%s: %s", file, text)
		}
	}
	if dirs, err := d.Previous(alice); err != nil || len(dirs) > 0 {
		t.Errorf("it is its own former generation: %v, %v", dirs, err)
	}
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
	for name, age := range map[string]time.Duration{
		".x.new-1": 2 * time.Hour, ".x.new-2": 0, "kept": 2 * time.Hour, ".previous": 2 * time.Hour, "bob.new-1@example.test": 2 * time.Hour,
	} {
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
	if !slices.Equal(left, []string{".previous", ".x.new-2", "bob.new-1@example.test", "kept"}) {
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
	if err := os.Symlink("unmounted", d.CertDir("bob@example.test")); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{alice, "bob@example.test"} {
		if name, err := d.PickName([]string{addr}, ""); err != nil || name != addr+"-2" {
			t.Errorf("%q, %v", name, err)
		}
	}
}

// A key stays banned, and when in doubt every key is.
func TestBanned(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	bad, good := newGeneration(t, "1"), newGeneration(t, "2")
	if err := d.Ban(bad.Chain[0]); err != nil {
		t.Fatal(err)
	}
	if !d.Banned(bad.Key) || d.Banned(good.Key) || d.Banned(nil) {
		t.Error("the wrong key is banned")
	}
	if err := errors.Join(os.RemoveAll(d.Path("certs", compromisedDir)), os.WriteFile(d.Path("certs", compromisedDir), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if !d.Banned(good.Key) {
		t.Error("nobody can tell, and the key is good")
	}
}

// A change of renewal.json concerns the certificate that was read, not its successor, and
// does not disturb an order.
func TestRewrite(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	first, second := newGeneration(t, "1"), newGeneration(t, "2")
	revoked := func() time.Time {
		r, err := ReadRenewal(d.CertDir(alice))
		if err != nil {
			t.Fatal(err)
		}
		return r.Revoked
	}
	if err := d.Put(alice, first); err != nil {
		t.Fatal(err)
	}
	changed := *first.Renewal
	changed.Revoked = time.Unix(1_800_000_000, 0).UTC()
	c := Certificate{alice, &changed}
	unlock, err := d.LockName(alice, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Rewrite(c); !errors.Is(err, ErrLocked) || !revoked().IsZero() {
		t.Errorf("during an order: %v", err)
	}
	unlock()
	if err := d.Rewrite(c); err != nil || !revoked().Equal(changed.Revoked) {
		t.Errorf("not changed: %v", err)
	}
	if err := d.Put(alice, second); err != nil {
		t.Fatal(err)
	}
	if err := d.Rewrite(c); err != nil || !revoked().IsZero() {
		t.Errorf("the successor is changed: %v", err)
	}
}

// All certificates are found, however many, in the order of their names. Hidden directories
// and those that an admin has prepared do not count.
func TestCertificates(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	if err := d.Put("user0000", newGeneration(t, "1")); err != nil {
		t.Fatal(err)
	}
	want := []string{"user0000"}
	for n := range someNames {
		name := fmt.Sprintf("user%04d", n+1)
		want = append(want, name)
		if err := os.Symlink("user0000", d.CertDir(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(d.CertDir("prepared"), 0o700), os.CopyFS(d.CertDir(".hidden"), os.DirFS(d.CertDir(want[0])))); err != nil {
		t.Fatal(err)
	}
	all, err := d.Certificates(func(name string, err error) { t.Errorf("%s: %v", name, err) })
	var names []string
	for _, c := range all {
		names = append(names, c.Name)
	}
	if err != nil || !slices.Equal(names, want) {
		t.Errorf("%d certificates, %v", len(names), err)
	}
}

// An order that cannot be read is named and stops no other. A lock is not an order, even that
// of an address that ends with .json.
func TestOrders(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	unlock, err := d.LockName("alice@example.json", "")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	for name, text := range map[string]string{
		"a": `{"version": 1, "emai`, "b": `{"version": 1, "emails": []}`, "c": `{"version": 1, "emails": ["c@example.test"]}`,
	} {
		if err := os.WriteFile(d.OrderPath(name, false), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var damaged []string
	read := func() ([]Named, error) {
		return d.Orders(func(name string, _ error) { damaged = append(damaged, name) })
	}
	if all, err := read(); err != nil || len(all) != 1 || all[0].Name != "c" || !slices.Equal(damaged, []string{"a", "b"}) {
		t.Errorf("%+v, %v, damaged are %v", all, err, damaged)
	}
	if err := os.WriteFile(d.OrderPath("d", true), []byte(`{"version": 2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := read(); state.Newer(err) == nil {
		t.Errorf("%v, want that it is newer", err)
	}
}

// Who waited gets a lock that keeps others away, and who gave up waiting leaves none.
func TestLockWait(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	take := func(ctx context.Context, before func()) (func(), error) { return LockWait(ctx, path, before) }
	for range 20 {
		unlock, err := take(t.Context(), func() {}) // who gave up may get it first, and returns it
		if err != nil {
			t.Fatal(err)
		}
		gone, cancel := context.WithCancel(t.Context())
		if _, err := take(gone, cancel); !errors.Is(err, context.Canceled) {
			t.Fatalf("%v, want to be interrupted", err)
		}
		waits, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			unlock, err := take(t.Context(), func() { close(waits) })
			if err != nil {
				t.Error(err)
				return
			}
			if again, err := TryLock(path); !errors.Is(err, ErrLocked) {
				t.Errorf("two have it: %v", err)
				if err == nil {
					again()
				}
			}
			unlock()
		}()
		<-waits
		unlock()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatal("nobody has it, and nobody gets it")
		}
	}
}

// Orders that share an address at a CA follow each other; who gives up waiting keeps none
// of his locks.
func TestLockOrder(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	const bob = "bob@example.test"
	of := func(server string, emails ...string) *Settings { return &Settings{Emails: emails, Server: server} }
	unlock, err := d.LockOrder(t.Context(), of("https://ca.example/", bob), func() { t.Error("it waits for itself") })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waits := 0
	_, err = d.LockOrder(ctx, of("https://ca.example/", alice, "BOB@example.test"), func() { waits++; cancel() })
	if failure.KindOf(err) != failure.KindLater || waits != 1 {
		t.Errorf("%v, after %d waits", err, waits)
	}
	if d.Running(alice, "") || !d.Running(bob, "") || d.Running(bob, "sign") {
		t.Error("what runs is not told")
	}
	again, err := d.LockOrder(t.Context(), of("https://other.example/", alice, bob), func() { t.Error("it waits for another CA's order") })
	if err != nil {
		t.Fatal(err)
	}
	again()
	unlock()
	if err := os.WriteFile(d.lockPath(bob, ""), nil, 0o600); err != nil { // of a process that was killed
		t.Fatal(err)
	}
	if d.Running(bob, "") {
		t.Error("it still runs")
	}
	if unlock, err = d.LockName(bob, ""); err != nil {
		t.Fatalf("%v after somebody looked", err)
	}
	unlock()
	if entries, err := os.ReadDir(d.Path("orders")); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
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
	dirs := []string{"orders", "pending", "certs/.runs", "certs/.history", "certs/.enroll"}
	for _, dir := range dirs {
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
		"certs/.history/.alice@example.test.json1", "certs/.enroll/.example.test.json1", "certs/.enroll/example.test.json",
		"orders/alice@example.test.json", "orders/.mine", "pending/alice@example.test.json"} {
		if err := os.WriteFile(d.Path(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	names := func() (all []string) {
		for _, dir := range dirs {
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
	want := []string{".lock-held@example.test", ".mine", "alice@example.test.json", "alice@example.test.json", "example.test.json"}
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
