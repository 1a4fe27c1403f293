package state

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

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
