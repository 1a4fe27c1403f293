package state

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postseal/internal/test/mta"
)

// Any user can mount a file system of his own on his own file (fusermount(1)), and then
// nobody else may even look at it, root included. Readers leave it out and name it, like
// anything that is not a record.
func TestOwnMount(t *testing.T) {
	mta.NotShort(t)
	var named []string
	d := Open(filepath.Join(t.TempDir(), "state"))
	d.Damaged = func(path string, _ error) { named = append(named, filepath.Base(path)) }
	if _, err := d.Create(); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	good := &Pending{ID: "good", Email: "alice@example.test", Server: "https://ca.example", Thumbprint: "x", Token: "x", Created: now, Expires: now.Add(time.Hour)}
	claim, err := d.Claim(good, "", "<1@example.test>", now)
	if err == nil {
		err = claim.Sent(now)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bad.json", "good.note.json", ".alive-mx"} {
		mountOwn(t, d.Path("answers", name))
	}
	if a, err := d.Answer("bad"); a != nil || err != nil {
		t.Errorf("the answer is %v, %v", a, err)
	}
	named = nil
	d.naming = Naming{} // as in another program
	if all, err := d.Answers(10); len(all) != 1 || err != nil || len(named) != 1 {
		t.Errorf("%d answers, %v; named are %q", len(all), err, named)
	}
	if notes, err := d.Notes([]string{"good"}); len(notes) != 0 || err != nil {
		t.Errorf("%d notes, %v", len(notes), err)
	}
	if _, err := d.MailHalves(); err != nil {
		t.Error(err)
	}
	if err := d.Forget(0, now.Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if len(named) < 3 {
		t.Errorf("named are %q", named)
	}
}

// Any user can also take a lease on his own file (fcntl(2), F_SETLEASE), and whoever opens it
// without waiting fails.
func TestOwnLease(t *testing.T) {
	mta.NotShort(t)
	d := newDir(t)
	var named []string
	d.Damaged = func(path string, _ error) { named = append(named, filepath.Base(path)) }
	if err := claimAt(t, d, "good", "ca", now).Sent(now); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(d.Path("answers", "bad.json"))
	if err == nil {
		defer f.Close()
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
	}
	if err != nil {
		t.Fatal(err)
	}
	if all, err := d.Answers(10); len(all) != 1 || err != nil || len(named) != 1 {
		t.Errorf("%d answers, %v; named are %q", len(all), err, named)
	}
}

// What a power cut may not undo: a record and its name before newOrder, "sending" and its name
// before the final dot.
func TestOnDisk(t *testing.T) {
	mta.Need(t, "strace")
	var (
		synced = regexp.MustCompile(`fsync\(\d+<([^>]+)>\) += 0`)
		named  = regexp.MustCompile(`(?:rename|link)(?:at2?)?\((?:[^"]*<[^>]*>, )?"([^"]+)", (?:[^"]*<[^>]*>, )?"([^"]+)"`)
	)
	for phase, want := range map[string][]string{
		"put":           {"fsync .tmp", "name alice@example.test.json"},
		string(Sending): {"fsync .tmp", "name 1.json", "fsync .tmp", "name 1.json", "fsync answers"},
	} {
		d := newDir(t)
		trace := filepath.Join(t.TempDir(), "trace")
		cmd := exec.Command("strace", "-f", "-y", "-s", "4096", "-e", "trace=fsync,rename,renameat,renameat2,link,linkat", "-o", trace, os.Args[0])
		cmd.Env = append(os.Environ(), "STATE_TEST_CLAIM="+d.Path(), "STATE_TEST_PHASE="+phase)
		if out, err := cmd.CombinedOutput(); err != nil { // stdin is empty: it ends by itself
			t.Fatalf("%v\n%s", err, out)
		}
		lines, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(string(lines)) {
			if m := synced.FindStringSubmatch(line); m != nil {
				name := filepath.Base(m[1])
				if strings.HasPrefix(name, ".") {
					name = ".tmp"
				}
				got = append(got, "fsync "+name)
			} else if m := named.FindStringSubmatch(line); m != nil {
				got = append(got, "name "+filepath.Base(m[2]))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q\n%s", phase, got, want, lines)
		}
	}
}

func mountOwn(t *testing.T, path string) {
	t.Helper()
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err == nil {
		defer fuse.Close()
		err = os.WriteFile(path, nil, 0o666)
	}
	if err == nil {
		err = syscall.Mount("fuse", path, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=100000,user_id=1,group_id=1", fuse.Fd()))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(path, 0) })
}
