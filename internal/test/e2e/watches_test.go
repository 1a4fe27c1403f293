package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

// everybody is the range of user and group ids.
const everybody = 1 << 16

// withoutWatches changes a command so that it finds the inotify watches of its user
// used up. The limit is that of a user namespace in which everybody is who they are.
func withoutWatches(cmd *exec.Cmd) *exec.Cmd {
	who := cmd.SysProcAttr.Credential
	args := append([]string{"-c", `echo 0 >/proc/sys/user/max_inotify_watches && exec "$@"`, "sh",
		"setpriv", fmt.Sprint("--reuid=", who.Uid), fmt.Sprint("--regid=", who.Gid), "--clear-groups", cmd.Path}, cmd.Args[1:]...)
	all := []syscall.SysProcIDMap{{Size: everybody}}
	limited := exec.Command("sh", args...)
	limited.Env, limited.Dir, limited.Stdin = cmd.Env, cmd.Dir, cmd.Stdin
	limited.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER, UidMappings: all, GidMappings: all, GidMappingsEnableSetgroups: true,
	}
	return limited
}

// wantNoWatches has a program that knows inotify say how it is.
func wantNoWatches(t *testing.T, u *mta.User, file string) {
	t.Helper()
	out, _ := withoutWatches(as(u, "/usr/bin/timeout", "0.2", "tail", "-f", file)).CombinedOutput() // 124, timeout's
	if !strings.Contains(string(out), "reverting to polling") {
		t.Fatalf("tail finds inotify watches: %s", out)
	}
}

// There are inotify instances and no watches: both halves look instead, and a challenge
// is answered as soon as before.
func TestNoInotifyWatches(t *testing.T) {
	t.Parallel()
	p := newPeople(t, testca.Config{Strict: true, MailTrigger: testca.MailOnOrder})
	wantNoWatches(t, p.user, p.config)
	p.runMilter(withoutWatches(p.milterCommand(p.dir)), p.dir)
	p.wantOrdinaryMail() // while nobody waits, and no event can tell that somebody does later
	start := time.Now()
	cmd := p.certCommandAs("022", alice, "--timeout", "20s")
	if out, err := withoutWatches(cmd).CombinedOutput(); err != nil {
		t.Errorf("postseal cert: %v\n%s", err, out)
	}
	t.Logf("0 inotify watches for two users: a certificate in %v", time.Since(start).Round(10*time.Millisecond))
	p.wantReplies(testca.VerdictGood)
	p.wantOrdinaryMail()
}
