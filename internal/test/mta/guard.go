package mta

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// startGuard runs a shell script with args when this process ends without having
// called release. No Cleanup runs in a test that go test kills because it took
// too long, and a mail server must not survive that.
//
// The guard waits on a pipe from us: end of file means that we are gone.
func startGuard(script string, args ...string) (release func(), err error) {
	script = "trap '' HUP INT TERM; read -r _ && exit 0\n" + script
	guard := exec.Command("/bin/sh", append([]string{"-c", script, "guard"}, args...)...)
	guard.Dir = "/"
	guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // out of reach of the terminal's ^C
	pipe, err := guard.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := guard.Start(); err != nil {
		return nil, err
	}
	return func() {
		io.WriteString(pipe, "\n") // the result of Wait says all
		guard.Wait()
	}, nil
}

// tempDir makes a directory that users other than root can reach: Postfix and
// what it starts do not run as root. (The one of testing.T is root's alone.)
func tempDir(pattern string) (string, error) {
	for _, parent := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		if !reachable(parent) {
			continue
		}
		dir, err := os.MkdirTemp(parent, pattern)
		if err != nil {
			return "", err
		}
		return dir, os.Chmod(dir, 0o755)
	}
	return "", fmt.Errorf("no temporary directory that all users can reach: %s is not", os.TempDir())
}

// reachable reports whether everybody may pass through dir and its parents.
func reachable(dir string) bool {
	for {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return true
		}
		dir = parent
	}
}
