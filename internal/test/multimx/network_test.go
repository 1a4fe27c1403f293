package multimx

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// hub is where the CA, Redis and the issuing half are. It is on the loopback device
// of the test's namespace, to which each host has a cable of its own.
const hub = "10.99.0.1"

func nameOf(host int) string    { return "mx" + strconv.Itoa(host) }
func cableOf(host int) string   { return "cable" + strconv.Itoa(host) }
func addressOf(host int) string { return fmt.Sprintf("10.99.%d.2", host) }

const insideVar = "POSTSEAL_HOSTS_INSIDE"

// inNetwork runs the test once more in a network and mount namespace of its own,
// where it is told to go on. All of the network goes with that process.
func inNetwork(t *testing.T) (inside bool) {
	t.Helper()
	if os.Getenv(insideVar) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces, which only root can; run it as root, in a container for example")
	}
	args := []string{"-test.run=^" + t.Name() + "$", "-test.v", "-test.count=1"}
	if deadline, ok := t.Deadline(); ok {
		args = append(args, "-test.timeout="+strconv.Itoa(int(deadline.Sub(now()).Seconds()))+"s")
	}
	cmd := exec.Command("/proc/self/exe", append(args, knobs()...)...)
	cmd.Env = append(os.Environ(), insideVar+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("in the network: %v", err)
	}
	t.Logf("in the network:\n%s", out)
	return false
}

// makeNetwork lays cables to n hosts, numbered from 1.
func makeNetwork(t *testing.T, n int) {
	t.Helper()
	// Names of namespaces are files in /run, which nobody else is to see.
	err := errors.Join(
		syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""),
		syscall.Mount("run", "/run", "tmpfs", 0, "mode=755"))
	if err != nil {
		t.Fatal(err)
	}
	ip(t, "link set lo up")
	ip(t, "addr add "+hub+"/32 dev lo")
	for host := 1; host <= n; host++ {
		name, cable := nameOf(host), cableOf(host)
		ip(t, "netns add "+name)
		ip(t, "link add "+cable+" type veth peer name eth0 netns "+name)
		ip(t, fmt.Sprintf("addr add 10.99.%d.1/30 dev %s", host, cable))
		ip(t, "link set "+cable+" up")
		ip(t, "-n "+name+" link set lo up")
		ip(t, "-n "+name+" addr add "+addressOf(host)+"/30 dev eth0")
		ip(t, "-n "+name+" link set eth0 up")
		ip(t, fmt.Sprintf("-n %s route add default via 10.99.%d.1", name, host))
	}
}

// ip runs ip(8).
func ip(t testing.TB, args string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s (Debian package iproute2)", args, err, out)
	}
}

// on is a program on a host, run by a user. It dies with the test.
func on(host, uid, gid int, program string, args ...string) *exec.Cmd {
	all := []string{"netns", "exec", nameOf(host), "setpriv", "--reuid", strconv.Itoa(uid), "--regid", strconv.Itoa(gid), "--clear-groups",
		"--pdeathsig", "KILL", program}
	cmd := exec.Command("ip", append(all, args...)...)
	cmd.Dir = "/"
	return cmd
}
