package machine

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// Where the test finds things on a machine.
const (
	Kit    = "/opt/kit"    // the directory that Spec.Kit names
	Report = "/opt/report" // what is written here is in the directory that Run returns
	// Changes is what was changed on the machine, as overlayfs keeps it.
	Changes = "/opt/changes"
)

// Host is the image that is this machine itself, as the test finds it: what `make deps`
// installed is there at once. It needs overlays that can be mounted over /.
const Host = "host"

// Spec says what a machine is like.
type Spec struct {
	Image  string        // one of machine.sh, or Host
	Host   string        // its name; "" is mail.example.test
	Kit    string        // directory of the host, for Kit; Kits.Path returns it
	Boot   bool          // systemd is its first process, and the test is a service
	Shared []string      // directories of the host, which have the same name here and can be written to
	Limit  time.Duration // of the test; 0 is four minutes
}

// Inside reports whether this process is the test on the machine.
func Inside() bool {
	_, err := os.Stat(filepath.Join(Report, script))
	return err == nil
}

// What stands in the report beside what the test writes there.
const (
	script = "test"   // starts the test
	output = "output" // what it says
)

// Run runs the test t on a machine and returns the directory with its report, which
// is there until t ends, and whether the test passed there. It makes the image if it
// has to.
func Run(t *testing.T, spec Spec) (report string, err error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("machines need mounts and namespaces, which only root can make; run it as root")
	}
	root, host, limit := makeImage(t, spec.Image), spec.Host, spec.Limit
	if host == "" {
		host = "mail.example.test"
	}
	if limit == 0 {
		limit = 4 * time.Minute
	}
	report = t.TempDir()
	test := fmt.Sprintf("#!/bin/sh\nexport HOME=/root LC_ALL=C.UTF-8\nexec >%s/%s 2>&1\ncd /\nexec %s/%s -test.run='^%s$' -test.v -test.timeout=%s\n",
		Report, output, Kit, binary, t.Name(), limit)
	if err := os.WriteFile(filepath.Join(report, script), []byte(test), 0o755); err != nil {
		return "", err
	}
	stage := "alone"
	if spec.Boot {
		stage = "boot"
	}
	args := []string{"run", root, host, stage, spec.Kit + ":" + Kit, report + ":" + Report}
	for _, dir := range spec.Shared {
		args = append(args, dir+":"+dir)
	}
	said, err := shell(args...)
	if err != nil || testing.Verbose() {
		out, _ := os.ReadFile(filepath.Join(report, output))
		t.Logf("on the machine:\n%s%s", said, out)
	}
	if err != nil {
		err = fmt.Errorf("on the machine with the image %s: %w", spec.Image, err)
	}
	return report, err
}

// makeImage makes an image, where it is not in the cache, or ends the test. It returns
// where the file system is.
func makeImage(t *testing.T, image string) string {
	t.Helper()
	if image == Host {
		return "/"
	}
	cache := os.Getenv("DOORS_CACHE")
	if cache == "" {
		cache = "/var/cache/postseal-machines"
	}
	for _, name := range []string{"base", image} { // the others are copies of the first
		if out, err := shell("image", cache, name); err != nil {
			t.Fatalf("image %s: %v\n%s", name, err, out)
		}
	}
	return filepath.Join(cache, image)
}

//go:embed machine.sh
var machineScript string

// shell runs machine.sh. All that it starts ends with it, and it ends with us.
func shell(args ...string) ([]byte, error) {
	cmd := exec.Command("bash", append([]string{"-c", machineScript, "machine.sh"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL, // the first process takes all others with it
	}
	runtime.LockOSThread() // Pdeathsig is about the thread
	defer runtime.UnlockOSThread()
	return cmd.CombinedOutput()
}
