package mta

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const journald = "/lib/systemd/systemd-journald"

// Journal is a systemd-journald that runs without systemd, in a mount namespace with
// a /run of its own.
type Journal struct {
	t   testing.TB
	cmd *exec.Cmd
}

// journalScript leaves alone what is the machine's: its journal, its kernel's messages
// and whether the kernel audits.
const journalScript = `set -e
mount -t tmpfs postseal-test /run
mkdir -p /run/systemd/journal /run/log/journal /run/systemd/journald.conf.d
cat >/run/systemd/journald.conf.d/test.conf <<end
[Journal]
Storage=volatile
ReadKMsg=no
Audit=
RateLimitIntervalSec=0
ForwardToSyslog=no
ForwardToWall=no
end
exec "$1"
`

// StartJournal starts one that ends with the test.
func StartJournal(t testing.TB) *Journal {
	t.Helper()
	needRoot(t)
	Need(t, "journalctl", "systemd-cat", "nsenter", "setpriv")
	j := &Journal{t, exec.Command("sh", "-c", journalScript, "sh", journald)}
	j.cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	var said bytes.Buffer
	j.cmd.Stderr = &said
	if err := j.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	release, err := startGuard(`kill -9 "$1"`, strconv.Itoa(j.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		release()
		_ = j.cmd.Process.Kill() // a child that was not waited for: its id is its own
		_ = j.cmd.Wait()         // killed
		if t.Failed() && said.Len() > 0 {
			t.Logf("systemd-journald said:\n%s", &said)
		}
	})
	socket := filepath.Join("/proc", strconv.Itoa(j.cmd.Process.Pid), "root/run/systemd/journal/stdout")
	WaitFor(t, "the journal's socket", func() bool { _, err := os.Stat(socket); return err == nil })
	return j
}

// serviceScript tells a program what systemd tells a service: that its standard error
// leads to the journal.
const serviceScript = `JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) && export JOURNAL_STREAM && exec "$@"`

// Service changes a command so that it runs as a service does: in the sight of the
// journal, with its output and errors going there. Its user stays what cmd says.
func (j *Journal) Service(cmd *exec.Cmd) *exec.Cmd {
	args := []string{"systemd-cat", "sh", "-c", serviceScript, "sh"}
	if attr := cmd.SysProcAttr; attr != nil && attr.Credential != nil {
		args = append(args, "setpriv", fmt.Sprint("--reuid=", attr.Credential.Uid), fmt.Sprint("--regid=", attr.Credential.Gid), "--clear-groups")
	}
	service := j.within(append(append(args, cmd.Path), cmd.Args[1:]...)...)
	service.Env, service.Dir, service.Stdin = cmd.Env, cmd.Dir, cmd.Stdin
	return service
}

// within is a command in the journal's mount namespace.
func (j *Journal) within(args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{fmt.Sprintf("--mount=/proc/%d/ns/mnt", j.cmd.Process.Pid)}, args...)...)
}

// Entry is an entry as journalctl tells it. A value that is not text is a list of numbers there
// and missing here.
type Entry map[string]string

// Entries returns what journalctl finds, for example for "POSTSEAL_CA=…".
func (j *Journal) Entries(matches ...string) (entries []Entry) {
	j.t.Helper()
	if out, err := j.within("journalctl", "--sync").CombinedOutput(); err != nil {
		j.t.Fatalf("journalctl --sync: %v\n%s", err, out)
	}
	for line := range strings.Lines(j.Show(append([]string{"--output=json"}, matches...)...)) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			j.t.Fatalf("%v: %s", err, line)
		}
		e := Entry{}
		for name, value := range fields {
			if text, ok := value.(string); ok {
				e[name] = text
			}
		}
		entries = append(entries, e)
	}
	return entries
}

// Show returns what journalctl prints.
func (j *Journal) Show(args ...string) string {
	j.t.Helper()
	out, err := j.within(append([]string{"journalctl", "--directory=/run/log/journal", "--no-pager", "--quiet"}, args...)...).CombinedOutput()
	if err != nil && len(out) > 0 { // it is 1 where nothing is found
		j.t.Fatalf("journalctl %v: %v\n%s", args, err, out)
	}
	return string(out)
}
