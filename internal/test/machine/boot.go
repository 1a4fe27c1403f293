package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The test on a machine that systemd runs is this service. Its end is the end of the
// machine, whose first process then ends with the status of the test.
const (
	service = `[Unit]
Description=The test
After=multi-user.target
SuccessAction=exit-force
FailureAction=exit-force

[Service]
Type=oneshot
Environment=%s
ExecStart=%s
StandardOutput=append:%[3]s
StandardError=append:%[3]s
`
	serviceDir = "/run/systemd/system"
	output     = "output" // in the report
	bootLog    = "boot"   // in the report
)

// mountForSystemd mounts what systemd wants beside what every machine has.
func mountForSystemd(root string) error {
	for _, m := range []struct {
		name, at string
		flags    uintptr
		data     string
	}{
		{"sysfs", "/sys", unix.MS_RDONLY, ""},
		{"cgroup2", "/sys/fs/cgroup", 0, ""},
		{"tmpfs", "/run", 0, "mode=755"},
		{"tmpfs", "/tmp", 0, "mode=1777"},
	} {
		if err := unix.Mount(m.name, root+m.at, m.name, m.flags, m.data); err != nil {
			return fmt.Errorf("%s: %w", m.at, err)
		}
	}
	if err := os.MkdirAll(root+"/dev/pts", 0o755); err != nil {
		return err
	}
	if err := unix.Mount("devpts", root+"/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666"); err != nil {
		return fmt.Errorf("/dev/pts: %w", err)
	}
	return os.Symlink("pts/ptmx", root+"/dev/ptmx")
}

// boot makes this process systemd. It returns if that is not possible.
func boot() error {
	args := append([]string{filepath.Join(Kit, Binary)}, os.Args[1:]...)
	command := strings.ReplaceAll(strings.Join(args, " "), "$", "$$")
	vars := strings.Join(append([]string{stageVar + "=inside"}, environment...), " ")
	unit := fmt.Sprintf(service, vars, command, filepath.Join(Report, output))
	wants := filepath.Join(serviceDir, "multi-user.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(serviceDir+"/machine-test.service", []byte(unit), 0o644); err != nil {
		return err
	}
	if err := os.Symlink("../machine-test.service", wants+"/machine-test.service"); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(Report, bootLog))
	if err != nil {
		return err
	}
	for fd := 1; fd <= 2; fd++ {
		if err := unix.Dup2(int(log.Fd()), fd); err != nil {
			return err
		}
	}
	env := append([]string{"container=machine"}, environment...)
	err = syscall.Exec("/usr/lib/systemd/systemd", []string{"systemd", "--log-target=console", "--show-status=no"}, env)
	return fmt.Errorf("systemd: %w", err)
}

// readOutput returns what a machine that systemd ran has said.
func readOutput(report string) string {
	log, _ := os.ReadFile(filepath.Join(report, bootLog))
	out, _ := os.ReadFile(filepath.Join(report, output))
	return string(log) + string(out)
}
