package machine

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Where the test finds things on a machine.
const (
	Kit    = "/opt/kit"    // the directory that Spec.Kit names; the test binary is in it
	Report = "/opt/report" // what is written here is in the directory that Run returns
	// Changes is what was changed on the machine, as overlayfs keeps it.
	Changes = "/opt/changes"
)

// Binary is the name that the test binary has in a kit.
const Binary = "machine.test"

// Host is the image that is this machine itself, as the test finds it: what `make deps`
// installed is there at once. It needs overlays that can be mounted over /.
const Host = "host"

// Spec says what a machine is like.
type Spec struct {
	Image     string        // one of images.sh, or Host
	Host      string        // its name; "" is mail.example.test
	Addresses []string      // of its loopback; none is 127.0.0.1
	Kit       string        // directory of the host, for Kit; it has the test binary, see Kits
	Boot      bool          // systemd is its first process, and the test is a service
	Shared    []string      // directories of the host, which have the same name here and can be written to
	Limit     time.Duration // of the test; 0 is four minutes
}

// What a stage finds in its environment.
const (
	stageVar = "MACHINE_STAGE" // "init" or "inside"; none: go test
	specVar  = "MACHINE_SPEC"
	cacheVar = "DOORS_CACHE" // may be set for go test too
)

const defaultCache = "/var/cache/postseal-doors"

// environment is what every stage has; nothing of the host's gets in.
var environment = []string{"HOME=/root", "LC_ALL=C.UTF-8",
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

// Inside reports whether this process is the test on the machine.
func Inside() bool { return os.Getenv(stageVar) == "inside" }

// Main is for the beginning of TestMain. In the first process of a machine it does
// not return; elsewhere it does nothing.
func Main(*testing.M) {
	if os.Getenv(stageVar) == "init" {
		os.Exit(initMain())
	}
}

// Cache returns the directory where images are kept.
func Cache() string {
	if dir := os.Getenv(cacheVar); dir != "" {
		return dir
	}
	return defaultCache
}

// Run runs the test t on a machine and returns the directory with its report, which
// is there until t ends, and whether the test passed there. It makes the image if it
// has to.
func Run(t *testing.T, spec Spec) (report string, err error) {
	t.Helper()
	MakeImage(t, spec.Image)
	spec.setDefaults()
	report = t.TempDir()
	text, err := json.Marshal(stage{spec, report, Cache()})
	if err != nil {
		return "", err
	}
	cmd := exec.Command(filepath.Join(spec.Kit, Binary), "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout="+spec.Limit.String())
	cmd.Env = append([]string{stageVar + "=init", specVar + "=" + string(text)}, environment...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL, // the first process takes all others with it
	}
	if spec.Boot {
		group, err := newGroup()
		if err != nil {
			return "", err
		}
		defer group.remove()
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWCGROUP
		cmd.SysProcAttr.UseCgroupFD = true
		cmd.SysProcAttr.CgroupFD = int(group.fd.Fd())
	}
	runtime.LockOSThread() // Pdeathsig is about the thread
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if err != nil || testing.Verbose() {
		t.Logf("on the machine:\n%s%s", out, readOutput(report))
	}
	if err != nil {
		err = fmt.Errorf("on the machine with the image %s: %w", spec.Image, err)
	}
	return report, err
}

func (s *Spec) setDefaults() {
	if s.Host == "" {
		s.Host = "mail.example.test"
	}
	if len(s.Addresses) == 0 {
		s.Addresses = []string{"127.0.0.1"}
	}
	if s.Limit == 0 {
		s.Limit = 4 * time.Minute
	}
}

// stage is what init is told.
type stage struct {
	Spec
	ReportDir string
	CacheDir  string
}
