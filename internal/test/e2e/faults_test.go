package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/emersion/go-milter"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

// What the machine does wrong. For SMTP, DNS and ACME servers see the files *_trouble;
// contrib/monitoring/faults.md has all faults with their tests.

const page = 4096

// small mounts a file system of n pages over a directory, with its owner and mode.
func (y *yard) small(dir string, n int) {
	y.t.Helper()
	info, err := os.Stat(dir)
	y.must(err)
	stat := info.Sys().(*syscall.Stat_t)
	y.must(syscall.Mount("postseal-test", dir, "tmpfs", 0,
		fmt.Sprintf("size=%d,uid=%d,gid=%d,mode=%o", n*page, stat.Uid, stat.Gid, stat.Mode&0o7777)))
	y.t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			y.t.Error(err)
		}
	})
}

// readOnly makes what small has mounted read-only, or writable again.
func (y *yard) readOnly(dir string, yes bool) {
	y.t.Helper()
	flags := uintptr(syscall.MS_REMOUNT)
	if yes {
		flags |= syscall.MS_RDONLY
	}
	y.must(syscall.Mount("", dir, "", flags, ""))
}

// fill leaves room for some pages beside what stands there: the milter's sign of life,
// and notes.
func (y *yard) fill(dir string, n, left int) (empty func()) {
	y.t.Helper()
	path := filepath.Join(dir, "fill")
	var stat syscall.Statfs_t
	y.must(syscall.Statfs(dir, &stat))
	y.must(os.WriteFile(path, make([]byte, max(0, min(n, int(stat.Bfree))-left)*page), 0o600))
	return func() { y.must(os.Remove(path)) }
}

// pendingMail orders until the CA has sent its mail, and returns that. The order
// goes on; done waits for its certificate.
func (y *yard) pendingMail(addr string) (msg []byte, done func()) {
	y.t.Helper()
	mails := make(kept, 1)
	y.through(mails.take)
	end := make(chan struct{})
	go func() {
		defer close(end)
		y.order(addr)
	}()
	y.t.Cleanup(func() { <-end })
	return <-mails, func() { <-end }
}

// wantLater delivers a challenge through both doors. Both must say "later" and why;
// the CA must not hear anything, and ordinary mail must flow.
func (y *yard) wantLater(addr string, msg []byte, why string) {
	y.t.Helper()
	before := len(y.ca.Replies())
	if action, err := y.milterAction("", addr, msg); action != milter.ActReplyCode { // 451; TestVerdicts of package milter
		y.t.Errorf("milter: %q, %v, want a 4xx", byte(action), err)
	}
	mta.WaitFor(y.t, "the milter's reason", func() bool { return strings.Contains(y.log.String(), why) })
	cmd := y.pipeCommand(msg)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 75 || !strings.Contains(string(out), why) {
		y.t.Errorf("postseal-pipe: %v, want exit 75 and %q in\n%s", err, why, out)
	}
	if after := len(y.ca.Replies()); after != before {
		y.t.Errorf("%d replies were sent", after-before)
	}
	y.wantOrdinaryMail()
}

// The disk is full, to the last page and to those before it: then the claim can be
// written, or it can be counted too, and what must be on disk before the final dot
// cannot.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	y := newYard(t, testca.Config{Strict: true})
	answers := filepath.Join(y.state, "answers")
	const pages = 8
	y.small(answers, pages)
	y.startMilter(y.dir)
	msg, done := y.pendingMail(alice)
	for left := range 3 {
		empty := y.fill(answers, pages, left)
		y.wantLater(alice, msg, "no space left on device")
		empty()
		y.wantEmpty(answers)
	}
	defer y.fill(answers, pages, 3)() // for what stands there, what replaces it, and the count
	y.must(y.milter("", alice, msg))
	done()
	y.wantReplies(testca.VerdictGood)
	t.Log("3 fillings: 6 deliveries put off, 6 ordinary messages passed, then 1 reply")
}

// wantEmpty wants nothing of an answer to be left; its count is, and is removed.
func (y *yard) wantEmpty(dir string) {
	y.t.Helper()
	counts, err := filepath.Glob(filepath.Join(dir, ".count-*"))
	y.must(err)
	for _, count := range counts {
		y.must(os.Remove(count))
	}
	entries, err := os.ReadDir(dir)
	y.must(err)
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool {
		return strings.HasPrefix(e.Name(), ".alive-") || strings.HasSuffix(e.Name(), ".note.json")
	})
	if len(entries) > 0 {
		y.t.Errorf("left in %s: %v", dir, entries)
	}
}

func TestReadOnlyState(t *testing.T) {
	t.Parallel()
	y := newYard(t, testca.Config{Strict: true})
	answers := filepath.Join(y.state, "answers")
	y.small(answers, 8)
	y.startMilter(y.dir)
	msg, done := y.pendingMail(alice)
	y.readOnly(answers, true)
	y.wantLater(alice, msg, "read-only file system")
	y.readOnly(answers, false)
	y.must(y.pipe("", alice, msg))
	done()
	y.wantReplies(testca.VerdictGood)
	t.Log("1 read-only answers/: 2 deliveries put off, 2 ordinary messages passed, then 1 reply")
}

// The issuing half with nowhere to write: it says so, orders nothing that it would
// lose, and the same command works once there is room.
func TestIssuingHalfCannotWrite(t *testing.T) {
	t.Parallel()
	y := newYard(t, testca.Config{Strict: true})
	y.startMilter(y.dir)
	for _, sub := range []string{"accounts", "orders", "certs"} {
		y.must(os.Mkdir(filepath.Join(y.state, sub), 0o700))
	}
	y.order(alice) // makes the account
	orders := filepath.Join(y.state, "orders")
	const pages = 16
	y.small(orders, pages)
	wantRefused := func(why string) {
		t.Helper()
		status, out := y.cert("-e", "bob@example.test", "--timeout", "5s")
		if status == 0 || status == 75 || !strings.Contains(out, why) || !strings.Contains(out, "postseal: error:") {
			t.Errorf("exit %d, want a failure and %q in\n%s", status, why, out)
		}
		if n := y.ca.Counters().Events[testca.EventOrder]; n != 1 {
			t.Errorf("%d orders at the CA, want that of the beginning", n)
		}
	}
	empty := y.fill(orders, pages, 0)
	wantRefused("no space left on device")
	empty()
	y.readOnly(orders, true)
	wantRefused("read-only file system")
	y.readOnly(orders, false)
	y.order("bob@example.test")
	y.wantReplies(testca.VerdictGood, testca.VerdictGood)
	t.Log("2 faults: 2 commands failed, 0 orders made or lost, then 1 certificate and 1 reply")
}

// No inotify instance is left for either half's user: both look instead.
func TestNoInotify(t *testing.T) {
	t.Parallel()
	p := newPeople(t, testca.Config{Strict: true, MailTrigger: testca.MailOnOrder})
	used := exhaustInotify(t, p.user) + exhaustInotify(t, p.issuer)
	p.startMilter(p.dir)
	if status, out := p.certAs("022", alice, "--timeout", "20s"); status != 0 {
		t.Errorf("postseal cert: exit %d\n%s", status, out)
	}
	p.wantReplies(testca.VerdictGood)
	p.wantOrdinaryMail()
	t.Logf("%d inotify instances used up by two users", used)
}

// exhaustInotify uses up what the kernel gives a user. Instances are counted by the
// uid of the thread that makes them.
func exhaustInotify(t *testing.T, u *mta.User) (used int) {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_user_instances")
	if err != nil {
		t.Fatal(err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	beUser(t, u.UID)
	var fds []int
	for err == nil {
		var fd int
		if fd, err = syscall.InotifyInit1(syscall.IN_CLOEXEC); err == nil {
			fds = append(fds, fd)
		}
	}
	beUser(t, 0)
	t.Cleanup(func() {
		for _, fd := range fds {
			syscall.Close(fd)
		}
	})
	if !errors.Is(err, syscall.EMFILE) || len(fds) != limit {
		t.Fatalf("%d instances, then %v; the limit is %d", len(fds), err, limit)
	}
	return len(fds)
}

// beUser changes the effective uid of this thread alone, which package syscall does not.
func beUser(t *testing.T, uid int) {
	t.Helper()
	const same = ^uintptr(0)
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, same, uintptr(uid), same); errno != 0 {
		t.Fatal(errno)
	}
}

// However few descriptors postseal-pipe gets (from 8, with which Go's runtime can
// begin), ordinary mail passes and a challenge is
// answered or put off; what a mail server would bounce never happens.
func TestPipeWithoutDescriptors(t *testing.T) {
	t.Parallel()
	y := newYard(t, testca.Config{Strict: true})
	msg, done := y.pendingMail(alice)
	outcomes := map[int]int{}
	for limit := 8; limit <= 24; limit++ {
		run := func(msg []byte) (int, string) {
			cmd := y.pipeCommand(msg)
			cmd.Args = append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, limit), "sh"}, cmd.Args...)
			cmd.Path = "/bin/sh"
			out, _ := cmd.CombinedOutput() // the status says it
			return cmd.ProcessState.ExitCode(), string(out)
		}
		if status, out := run([]byte(lunch)); status != 0 {
			t.Errorf("%d descriptors: ordinary mail: exit %d\n%s", limit, status, out)
		}
		status, out := run(msg)
		if status != 0 && status != 75 {
			t.Errorf("%d descriptors: exit %d\n%s", limit, status, out)
		}
		outcomes[status]++
	}
	done()
	y.wantReplies(testca.VerdictGood)
	t.Logf("17 limits: %d deliveries put off, %d answered or answered already", outcomes[75], outcomes[0])
}
