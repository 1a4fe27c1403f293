package machine

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// initMain is the first process of a machine. It returns the exit status of the test.
func initMain() int {
	var s stage
	if err := json.Unmarshal([]byte(os.Getenv(specVar)), &s); err != nil {
		return complain(err)
	}
	if err := s.enter(); err != nil {
		return complain(err)
	}
	if s.Boot {
		return complain(boot())
	}
	env := append([]string{stageVar + "=inside"}, environment...)
	pid, err := syscall.ForkExec(filepath.Join(Kit, Binary), os.Args, &syscall.ProcAttr{Env: env, Files: []uintptr{0, 1, 2}})
	if err != nil {
		return complain(err)
	}
	return reapUntil(pid)
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, "init:", err)
	return 2
}

// enter makes the machine's file system the root and its network work.
func (s stage) enter() error {
	root, err := s.mountRoot()
	if err != nil {
		return err
	}
	for i, addr := range s.Addresses {
		name := "lo"
		if i > 0 {
			name = fmt.Sprintf("lo:%d", i)
		}
		if err := bringUp(name, addr); err != nil {
			return err
		}
	}
	if err := syscall.Sethostname([]byte(s.Host)); err != nil {
		return err
	}
	// Not chroot, which systemd sees and takes for a reason not to work.
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("umount of the host's root: %w", err)
	}
	return os.Chdir("/")
}

// reapUntil waits for all processes that lose their parent, until pid ends.
func reapUntil(pid int) int {
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return 2
		}
		if got == pid {
			if status.Exited() {
				return status.ExitStatus()
			}
			return 2
		}
	}
}
