//go:build doors

package doors

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a stage finds in its environment.
const (
	stageVar  = "DOORS_STAGE" // "init" or "inside"; none: go test
	imageVar  = "DOORS_IMAGE"
	cacheVar  = "DOORS_CACHE" // may be set for go test too
	inside    = "inside"
	resultsFD = 3 // where a machine writes its cells
)

const (
	defaultCache = "/var/cache/postseal-doors"
	kit          = "/opt/doors" // on a machine: the programs, contrib, the test binary
	machineTime  = 4 * time.Minute
)

func cacheDir() string {
	if dir := os.Getenv(cacheVar); dir != "" {
		return dir
	}
	return defaultCache
}

func TestMain(m *testing.M) {
	switch os.Getenv(stageVar) {
	case "init":
		os.Exit(runInit())
	case inside:
		os.Exit(m.Run())
	}
	code := m.Run()
	matrix.print(os.Stdout)
	outside.remove()
	os.Exit(code)
}

// onMachine runs f on a machine with an image. The test that calls it runs twice:
// here, where it starts the machine, and there, where it calls f.
func onMachine(t *testing.T, image string, f func(*site)) {
	if os.Getenv(stageVar) == inside {
		f(newSite(t))
		return
	}
	t.Parallel()
	makeImage(t, image)
	cells, err := startMachine(t, image)
	matrix.add(cells)
	if err != nil {
		t.Fatal(err)
	}
}

func makeImage(t *testing.T, image string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("machines need mounts and namespaces, which only root can make; run it as root")
	}
	cmd := exec.Command("./images.sh", cacheDir(), image)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("images.sh: %v\n%s", err, out)
	} else if len(out) > 0 {
		t.Logf("%s", out)
	}
}

// outside is what the machines take from the host.
var outside kitDir

type kitDir struct {
	sync.Mutex
	dir string
}

// path returns a directory with the test binary, our programs and contrib.
func (k *kitDir) path() (string, error) {
	k.Lock()
	defer k.Unlock()
	if k.dir != "" {
		return k.dir, nil
	}
	removeAbandoned()
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", kitName, os.Getpid()))
	if err != nil {
		return "", err
	}
	k.dir = dir
	build := exec.Command("go", "build", "-buildvcs=false", "-o", dir+"/", "postseal/cmd/postseal", "postseal/cmd/postseal-pipe", "postseal/cmd/postseal-milter")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	for _, cmd := range []*exec.Cmd{build, exec.Command("cp", self, dir+"/doors.test"), exec.Command("cp", "-r", "../../contrib", dir+"/contrib")} {
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
		}
	}
	return dir, os.Chmod(dir, 0o755)
}

const kitName = "postseal-doors-" // with the process that made it

// removeAbandoned removes what runs left that were killed. It is all they leave.
func removeAbandoned() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), kitName+"*"))
	for _, dir := range dirs {
		var pid int
		fmt.Sscanf(filepath.Base(dir), kitName+"%d-", &pid)
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); pid > 0 && err != nil {
			os.RemoveAll(dir)
		}
	}
}

func (k *kitDir) remove() {
	if k.dir != "" {
		os.RemoveAll(k.dir)
	}
}

// startMachine runs the test t on a machine and returns what that found.
func startMachine(t *testing.T, image string) ([]cell, error) {
	dir, err := outside.path()
	if err != nil {
		return nil, err
	}
	results, err := os.CreateTemp(t.TempDir(), "cells")
	if err != nil {
		return nil, err
	}
	defer results.Close()
	cmd := exec.Command(filepath.Join(dir, "doors.test"), "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout="+machineTime.String())
	cmd.Env = []string{stageVar + "=init", imageVar + "=" + image, cacheVar + "=" + cacheDir(), "HOME=/root", "LC_ALL=C.UTF-8",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DOORS_KIT=" + dir}
	cmd.ExtraFiles = []*os.File{results}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL, // the first process takes all others with it
	}
	runtime.LockOSThread() // Pdeathsig is about the thread
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if err != nil || testing.Verbose() {
		t.Logf("on the machine:\n%s", out)
	}
	if err != nil {
		err = fmt.Errorf("on the machine with the image %s: %w", image, err)
	}
	return readCells(results, t.Name()), err
}

// runInit is the first process of a machine. It returns the exit status of the test.
func runInit() int {
	root, err := mountRoot()
	if err == nil {
		err = bringUp("lo", "127.0.0.1")
	}
	if err == nil {
		err = bringUp("lo:1", caHost)
	}
	if err == nil {
		err = syscall.Sethostname([]byte("mail.example.test"))
	}
	if err == nil {
		err = syscall.Chroot(root)
	}
	if err == nil {
		err = os.Chdir("/")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		return 2
	}
	os.Setenv(stageVar, inside)
	pid, err := syscall.ForkExec(kit+"/doors.test", os.Args, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2, resultsFD}})
	if err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		return 2
	}
	return reapUntil(pid)
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

// mountRoot puts a tmpfs over the image and mounts what every machine has.
func mountRoot() (root string, err error) {
	cache := os.Getenv(cacheVar)
	image := filepath.Join(cache, os.Getenv(imageVar))
	run := filepath.Join(image, "run")
	root = filepath.Join(run, "root")
	if err := os.MkdirAll(run, 0o755); err != nil {
		return "", err
	}
	for _, step := range []func() error{
		func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
		func() error { return unix.Mount("doors", run, "tmpfs", 0, "mode=755") },
		func() error { return mkdirs(root, filepath.Join(run, "upper"), filepath.Join(run, "work")) },
		func() error { return overlay(cache, image, run, root) },
		func() error { return unix.Mount("proc", filepath.Join(root, "proc"), "proc", 0, "") },
		func() error { return devices(filepath.Join(root, "dev")) },
		func() error { return bindKit(root) },
	} {
		if err := step(); err != nil {
			return "", err
		}
	}
	return root, nil
}

// overlay mounts the image, or copies it where images.sh could not mount either.
func overlay(cache, image, run, root string) error {
	full := filepath.Join(image, "root")
	if _, err := os.Stat(full); err == nil {
		out, err := exec.Command("cp", "-a", full+"/.", root).CombinedOutput()
		if err != nil {
			return fmt.Errorf("cp: %w\n%s", err, out)
		}
		return nil
	}
	options := fmt.Sprintf("lowerdir=%s:%s,upperdir=%s,workdir=%s", filepath.Join(image, "layer"), filepath.Join(cache, "base", "root"),
		filepath.Join(run, "upper"), filepath.Join(run, "work"))
	if err := unix.Mount("overlay", root, "overlay", 0, options); err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	return nil
}

// devices makes a /dev of the machine's own: its /dev/log must not be the host's.
func devices(dev string) error {
	if err := unix.Mount("dev", dev, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	for name, minor := range map[string]uint32{"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9} {
		if err := unix.Mknod(filepath.Join(dev, name), unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	return os.Mkdir(filepath.Join(dev, "shm"), 0o1777)
}

func bindKit(root string) error {
	dir := filepath.Join(root, kit)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(os.Getenv("DOORS_KIT"), dir, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	for _, name := range []string{"postseal", "postseal-pipe", "postseal-milter"} {
		if err := copyFile(filepath.Join(dir, name), filepath.Join(root, "usr/bin", name), 0o755); err != nil {
			return err
		}
	}
	return nil
}

func mkdirs(dirs ...string) error {
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string, mode os.FileMode) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, data, mode); err != nil {
		return err
	}
	return os.Chmod(to, mode)
}

// bringUp gives an interface its address and switches it on.
func bringUp(name, addr string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	var octets [4]byte
	fmt.Sscanf(strings.ReplaceAll(addr, ".", " "), "%d %d %d %d", &octets[0], &octets[1], &octets[2], &octets[3])
	if err := request.SetInet4Addr(octets[:]); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, request); err != nil {
		return fmt.Errorf("address of %s: %w", name, err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("%s up: %w", name, err)
	}
	return nil
}

// readCells reads what a machine wrote. A machine that ended early wrote less.
func readCells(r io.ReadSeeker, test string) []cell {
	r.Seek(0, io.SeekStart)
	var cells []cell
	for d := json.NewDecoder(r); ; {
		var c cell
		if d.Decode(&c) != nil {
			return cells
		}
		c.Test = test
		cells = append(cells, c)
	}
}
