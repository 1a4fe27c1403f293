package machine

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// mountRoot puts a tmpfs over the image and mounts what every machine has.
func (s stage) mountRoot() (root string, err error) {
	image := filepath.Join(s.CacheDir, s.Image)
	run := filepath.Join(image, "run")
	if s.Image == Host {
		run = "/mnt" // leaves nothing behind
	}
	root = filepath.Join(run, "root")
	if err := os.MkdirAll(run, 0o755); err != nil {
		return "", err
	}
	for _, step := range []func() error{
		func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
		func() error { return unix.Mount("machine", run, "tmpfs", 0, "mode=755") },
		func() error { return mkdirs(root, run+"/upper", run+"/work", run+"/debs", run+"/debswork") },
		func() error { return s.overlayImage(image, run, root) },
		func() error {
			if s.Image == Host {
				return nil
			}
			return overlay(root+"/var/cache/apt/archives", filepath.Join(s.CacheDir, "debs"), run+"/debs", run+"/debswork")
		},
		func() error { return unix.Mount("proc", root+"/proc", "proc", 0, "") },
		func() error { return devices(root + "/dev") },
		func() error { return bind(s.Kit, root+Kit) },
		func() error { return bind(s.ReportDir, root+Report) },
		func() error { return bind(run+"/upper", root+Changes) },
	} {
		if err := step(); err != nil {
			return "", err
		}
	}
	if s.Boot {
		if err := mountForSystemd(root); err != nil {
			return "", err
		}
	}
	for _, dir := range s.Shared {
		if err := bind(dir, root+dir); err != nil {
			return "", err
		}
	}
	return root, nil
}

// overlayImage mounts the image, or copies it where images.sh could not mount either.
func (s stage) overlayImage(image, run, root string) error {
	if s.Image == Host {
		return overlay(root, "/", run+"/upper", run+"/work")
	}
	full := filepath.Join(image, "root")
	if _, err := os.Stat(full); err == nil && s.Image != "base" {
		out, err := exec.Command("cp", "-a", full+"/.", root).CombinedOutput()
		if err != nil {
			return fmt.Errorf("cp: %w\n%s", err, out)
		}
		return unix.Mount(root, root, "", unix.MS_BIND, "") // pivot_root wants a mount
	}
	lower := filepath.Join(s.CacheDir, "base", "root")
	if s.Image != "base" {
		lower = filepath.Join(image, "layer") + ":" + lower
	}
	return overlay(root, lower, run+"/upper", run+"/work")
}

func overlay(at, lower, upper, work string) error {
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work)
	if err := unix.Mount("overlay", at, "overlay", 0, options); err != nil {
		return fmt.Errorf("overlay at %s: %w", at, err)
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

func bind(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("%s at %s: %w", from, to, err)
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
