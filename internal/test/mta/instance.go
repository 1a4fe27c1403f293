package mta

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Instance is a Postfix that runs.
type Instance struct {
	SMTPAddr string // HOST:PORT where it listens, as seen from its own namespace
	Dir      string // everything it has; see the package's documentation
	ConfDir  string
	QueueDir string

	t       testing.TB
	config  Postfix
	running bool
	release func() // ends the guard
}

func (in *Instance) conf(name string) string { return filepath.Join(in.ConfDir, name) }
func (in *Instance) logFile() string         { return filepath.Join(in.Dir, "maillog") }
func (in *Instance) mailDir() string         { return filepath.Join(in.Dir, "mail") }

// postfix runs the administrator's command on this instance.
func (in *Instance) postfix(command string) (string, error) {
	if ns := in.config.Namespace; ns != "" {
		return run("ip", "netns", "exec", ns, "postfix", "-c", in.ConfDir, command)
	}
	return run("postfix", "-c", in.ConfDir, command)
}

// address completes a local part with our domain.
func (in *Instance) address(name string) string {
	if strings.Contains(name, "@") {
		return name
	}
	return name + "@" + in.config.Domain
}

// Log returns the mail log so far.
func (in *Instance) Log() string {
	data, err := os.ReadFile(in.logFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		in.t.Error(err)
	}
	return string(data)
}

// WaitLog waits until a line of the log has all the words in it, and returns it.
func (in *Instance) WaitLog(words ...string) string {
	in.t.Helper()
	var found string
	WaitFor(in.t, fmt.Sprintf("a line with %q in the mail log", words), func() bool {
		for line := range strings.Lines(in.Log()) {
			if containsAll(line, words) {
				found = line
				return true
			}
		}
		return false
	})
	return found
}

func containsAll(s string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(s, word) {
			return false
		}
	}
	return true
}

// Queued is a message in the queue, as postqueue -j tells it.
type Queued struct {
	Queue      string `json:"queue_name"` // active, deferred, hold, …
	ID         string `json:"queue_id"`
	Sender     string `json:"sender"`
	Recipients []struct {
		Address string `json:"address"`
		Reason  string `json:"delay_reason"` // why it was deferred
	} `json:"recipients"`
}

// Queue returns the messages that are not delivered yet.
func (in *Instance) Queue() []Queued {
	in.t.Helper()
	out, err := run("postqueue", "-c", in.ConfDir, "-j")
	if err != nil {
		in.t.Fatalf("postqueue -j: %v\n%s", err, out)
	}
	var queue []Queued
	for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
		var q Queued
		if err := d.Decode(&q); err != nil {
			in.t.Fatalf("postqueue -j: %v\n%s", err, out)
		}
		queue = append(queue, q)
	}
	return queue
}

// WaitDeferred waits until exactly one message is in the queue and deferred.
func (in *Instance) WaitDeferred() Queued {
	in.t.Helper()
	var queue []Queued
	WaitFor(in.t, "one deferred message", func() bool {
		queue = in.Queue()
		return len(queue) == 1 && queue[0].Queue == "deferred" && len(queue[0].Recipients) == 1
	})
	return queue[0]
}

// WaitEmpty waits until the queue is empty.
func (in *Instance) WaitEmpty() {
	in.t.Helper()
	WaitFor(in.t, "an empty queue", func() bool { return len(in.Queue()) == 0 })
}

// Flush makes Postfix try all deferred messages now.
func (in *Instance) Flush() {
	in.t.Helper()
	if out, err := run("postqueue", "-c", in.ConfDir, "-f"); err != nil {
		in.t.Fatalf("postqueue -f: %v\n%s", err, out)
	}
}

// SocketDir makes the directory queue/postseal for the socket of a milter that
// runs as the user uid. A socket there gets the group postfix, so that Postfix can
// connect to it with mode 0660. In Milters its name is unix:postseal/NAME.
func (in *Instance) SocketDir(uid int) string {
	in.t.Helper()
	dir := filepath.Join(in.QueueDir, "postseal")
	_, gid, err := ids("postfix")
	if err == nil {
		err = errors.Join(
			os.Mkdir(dir, 0o750),
			os.Chown(dir, uid, gid),
			os.Chmod(dir, fs.ModeSetgid|0o750), // after chown, which clears the bit
		)
	}
	if err != nil {
		in.t.Fatal(err)
	}
	return dir
}

// cleanup ends the instance and removes what it left.
func (in *Instance) cleanup() {
	if in.t.Failed() {
		in.t.Logf("mail log of %s:\n%s", in.SMTPAddr, in.Log())
	}
	in.Stop()
	if err := os.RemoveAll(in.Dir); err != nil {
		in.t.Error(err)
	}
	in.release()
}

// Stop ends Postfix and every program that it started. The directory stays
// until the end of the test.
func (in *Instance) Stop() {
	if in.running {
		in.running = false
		in.postfix("stop") // what counts is what is left
	}
	endProcesses(in.t, in.Dir)
}

// endProcesses waits for the processes in dir to end, and kills those that do not.
func endProcesses(t testing.TB, dir string) {
	const grace = 5 * time.Second
	gone := func() bool { return len(processesIn(dir)) == 0 }
	if poll(grace, gone) {
		return
	}
	for _, pid := range processesIn(dir) {
		t.Logf("process %d does not end: killed", pid)
		syscall.Kill(pid, syscall.SIGKILL)
	}
	if !poll(grace, gone) {
		t.Errorf("processes %v cannot be killed", processesIn(dir))
	}
}

// processesIn returns the processes that work in dir: Postfix's daemons all do,
// and so does what pipe(8) and local(8) start. It finds none where there is no
// /proc in the manner of Linux. A process that has ended but that nobody has
// waited for has no directory any more and does not count.
func processesIn(dir string) []int {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	var pids []int
	for _, link := range links {
		cwd, err := os.Readlink(link)
		if err != nil || cwd != dir && !strings.HasPrefix(cwd, dir+"/") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
