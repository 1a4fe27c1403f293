package mta

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// packages tells which Debian package has a program. .ci/packages has them too.
var packages = map[string]string{
	"postfix":         "postfix",
	"postqueue":       "postfix",
	"procmail":        "procmail",
	"openssl":         "openssl",
	"useradd":         "passwd",
	"script":          "bsdutils",
	"strace":          "strace",
	"apparmor_parser": "apparmor",
	"sudo":            "sudo",
	"saslpasswd2":     "sasl2-bin",
	"userdel":         "passwd",

	"redis-server": "redis-server",

	"prometheus":               "prometheus",
	"promtool":                 "prometheus",
	"prometheus-node-exporter": "prometheus-node-exporter",

	"journalctl":  "systemd",
	"systemd-cat": "systemd",
	"nsenter":     "util-linux",
	"unshare":     "util-linux",
	"podman":      "podman",
	"crun":        "crun",
	"setpriv":     "util-linux",
}

// NotShort leaves a test out of go test -short, which is for an ordinary user of any
// machine: this test needs root, a server, a program of Debian's, or more time. Without
// -short no test is ever left out; one that cannot run fails.
func NotShort(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("left out: it needs root, servers or time (make test has it)")
	}
}

// Need ends the test if one of the programs is not installed. The text says how
// to get them all. It leaves the test out of go test -short.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	NotShort(t)
	var missing []string
	for _, program := range programs {
		if _, err := find(program); err != nil {
			missing = append(missing, program+" (Debian package "+packages[program]+")")
		}
	}
	if len(missing) > 0 {
		t.Fatalf("not installed: %s; run: make deps", strings.Join(missing, ", "))
	}
}

// needRoot ends the test unless it runs as root: Postfix changes its user.
func needRoot(t testing.TB) {
	t.Helper()
	NotShort(t)
	if os.Geteuid() != 0 {
		t.Fatal("this test starts Postfix, which only root can; run it as root, in a container for example")
	}
}

// find looks for a program in PATH and where system programs are: the PATH of
// a user who became root often lacks /usr/sbin.
func find(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/" + program)
}

// run executes a program found with find and returns what it printed.
func run(program string, args ...string) (string, error) {
	path, err := find(program)
	if err != nil {
		return "", err
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	return string(out), err
}
