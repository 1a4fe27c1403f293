package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"postseal/internal/check"
	"postseal/internal/failure"
	"postseal/internal/printable"
)

// libexec is where packages put programs that only other programs start.
var libexec = "/usr/libexec/postseal"

// look has postseal-check look at everything, and tells each finding. The options,
// a password among them, go to its standard input and nowhere else.
func look(ctx context.Context, o check.Options, tell func(check.Finding)) error {
	program, err := findProgram("postseal-check")
	if err != nil {
		return err
	}
	options, err := json.Marshal(o)
	if err != nil {
		return err
	}
	child, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(child, program)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(options), printable.Writer(os.Stderr)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "POSTSEAL_") })
	// In a group of its own, so that Ctrl-C is for us alone, and ends what it has started, too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return failure.Unreadable(err, "see whether this user may run it", "cannot start postseal-check: %v", err)
	}
	said := readFindings(out, tell)
	if said != nil && said != io.EOF {
		stop()
	}
	ended := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case child.Err() != nil:
		return failure.Failed("install postseal and postseal-check from the same release", "%s: %v", program, said)
	case ended != nil:
		return failure.Failed("run the same command again; if that does not help, report it", "%s did not come to its end: %v", program, ended)
	case said != nil:
		return failure.Failed("install postseal and postseal-check from the same release", "%s found nothing to say", program)
	}
	return nil
}

// findProgram looks beside this program, then where packages put it.
func findProgram(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	dirs := []string{filepath.Dir(self), libexec}
	for _, dir := range dirs {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", failure.Config("install it from the same release, beside postseal", "%s is neither in %s nor in %s", name, dirs[0], dirs[1])
}

// Bounds of postseal-check's output: it reads mail, so it is not trusted either.
const (
	maxFinding  = 64 << 10
	maxFindings = 10_000
)

// readFindings tells each finding, one a line, of which there is at least one.
func readFindings(in io.Reader, tell func(check.Finding)) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxFinding)
	n := 0
	for lines.Scan() {
		n++
		var f check.Finding
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil || statusColours[f.Status] == "" || n > maxFindings {
			return fmt.Errorf("line %d is not a finding", n)
		}
		tell(f)
	}
	if n == 0 && lines.Err() == nil {
		return io.EOF
	}
	return lines.Err()
}
