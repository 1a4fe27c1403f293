package state

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"postseal/internal/test/mta"
)

// Repair fixes a state directory that root made before the group of the mail half existed; it
// keeps a group that somebody chose. The group exists only in a mount namespace of the test.
func TestRepair(t *testing.T) {
	mta.NotShort(t)
	const inside, gid = "POSTSEAL_TEST_GROUP", 54321
	if os.Getenv(inside) == "" {
		group := filepath.Join(t.TempDir(), "group")
		must(t, os.WriteFile(group, fmt.Appendf(nil, "root:x:0:\nmail:x:8:\n%s:x:%d:\n", Group, gid), 0o644))
		cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", `mount --bind "$1" /etc/group && exec "$2" -test.run='^TestRepair$'`, "sh", group, os.Args[0])
		cmd.Env = append(os.Environ(), inside+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	must(t, os.MkdirAll("/tmp", 0o1777))
	top, err := os.MkdirTemp("/tmp", "repair")
	must(t, err)
	defer os.RemoveAll(top)
	must(t, os.Chmod(top, 0o755))
	d := Open(filepath.Join(top, "state"))
	_, err = d.Create()
	must(t, err)
	must(t, d.Put(&Pending{ID: "1", Email: "alice@example.test", Server: "https://ca.example/", Thumbprint: "t", Expires: time.Now().Add(time.Hour)}))
	if wrong := d.Misplaced(); len(wrong) > 0 {
		t.Errorf("as Create makes it, wrong: %q", wrong)
	}
	records, err := filepath.Glob(d.Path("pending", "*.json"))
	must(t, err)
	for _, path := range append(records, d.Path(), d.Path("pending"), d.Path("answers")) { // as they are without the group
		must(t, os.Chown(path, -1, 0))
	}
	can := func(line string) bool {
		args := []string{"--reuid=54321", "--regid=54321", "--clear-groups", "sh", "-c", "cd " + d.Path() + " && " + line}
		return exec.Command("setpriv", args...).Run() == nil
	}
	// The issuing half is another user, whose records have root's group; one is a link of his.
	must(t, os.Chown(records[0], 54322, 0))
	theirs := filepath.Join(top, "shadow")
	must(t, os.WriteFile(theirs, nil, 0o640))
	must(t, os.Symlink(theirs, d.Path("pending", "x.json")))
	must(t, os.Chmod(d.Path("pending"), 0o750))
	uses := []string{"cat pending/alice*.json", "touch answers/x && rm answers/x"}
	if can(uses[0]) || can(uses[1]) || len(d.Misplaced()) != 5 {
		t.Errorf("without a group, wrong: %q", d.Misplaced())
	}
	must(t, d.Repair())
	for _, line := range uses {
		if !can(line) {
			t.Errorf("the mail half cannot: %s", line)
		}
	}
	if wrong := d.Misplaced(); len(wrong) > 0 || can("ls certs") || can("touch pending/x") {
		t.Errorf("wrong after the repair: %q", wrong)
	}
	if info, err := os.Stat(theirs); err != nil || info.Sys().(*syscall.Stat_t).Gid != 0 {
		t.Errorf("the file that the link leads to: %v, %v", info, err)
	}
	if info, err := os.Stat(d.Path("pending")); err != nil || info.Mode()&os.ModeSetgid == 0 {
		t.Errorf("pending: %v, %v", info, err)
	}
	must(t, os.Chown(d.Path("answers"), -1, 8)) // somebody's choice
	must(t, os.Chmod(d.Path("answers"), os.ModeSetgid|os.ModeSticky|0o770))
	if wrong := d.Misplaced(); len(wrong) > 0 {
		t.Errorf("a group that was chosen is wrong: %q", wrong)
	}
	for gid, want := range map[int]string{54322: "this user is not in group", gid: " <nil>"} {
		home, err := os.MkdirTemp("/tmp", "create")
		must(t, err)
		defer os.RemoveAll(home)
		must(t, os.Chown(home, 54322, gid))
		if said := asUser(t, gid, home+"/state", "create"); !strings.HasPrefix(said, want) {
			t.Errorf("a user of group %d: %q, want %q", gid, said, want)
		}
	}
	// Who may not look into answers/ does not take that for an answer.
	if said := asUser(t, 54322, d.Path(), "answer"); !strings.Contains(said, "permission denied") {
		t.Errorf("a stranger: %q", said)
	}
	must(t, os.Chmod(d.Path("pending"), 0o700)) // the right group, shut out
	must(t, os.Chmod(d.Path("answers"), 0o700)) // and the chosen one
	if must(t, d.Repair()); !can(uses[0]) {
		t.Errorf("the mail half cannot: %s", uses[0])
	}
	if info, err := os.Stat(d.Path("answers")); err != nil || info.Sys().(*syscall.Stat_t).Gid != 8 || info.Mode().Perm() != 0o770 {
		t.Errorf("answers: %v, %v", info, err)
	}
}

// asUser has another user do something with a state directory, and returns what that says.
func asUser(t *testing.T, gid int, dir, phase string) string {
	t.Helper()
	self, err := os.Open(os.Args[0]) // which that user cannot reach
	must(t, err)
	defer self.Close()
	cmd := exec.Command("setpriv", "--reuid=54322", fmt.Sprint("--regid=", gid), "--clear-groups", "/proc/self/fd/3")
	cmd.Env = append(os.Environ(), "STATE_TEST_CLAIM="+dir, "STATE_TEST_PHASE="+phase)
	cmd.ExtraFiles = []*os.File{self}
	out, err := cmd.CombinedOutput()
	must(t, err)
	return string(out)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
