package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// group is the cgroup of a machine that systemd runs. Without one of its own its
// systemd would make its groups at the top, and leave them there.
type group struct {
	dir string
	fd  *os.File
}

func newGroup() (*group, error) {
	top, err := hierarchy()
	if err != nil {
		return nil, err
	}
	removeAbandoned(top, removeGroup)
	dir, err := os.MkdirTemp(top, fmt.Sprintf("%s%d-", kitName, os.Getpid()))
	if err != nil {
		return nil, err
	}
	fd, err := os.Open(dir)
	if err != nil {
		return nil, errors.Join(err, removeGroup(dir))
	}
	return &group{dir, fd}, nil
}

func (g *group) remove() {
	g.fd.Close()
	removeGroup(g.dir)
}

// hierarchy returns where cgroup2 is mounted.
func hierarchy() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "cgroup2" {
			return fields[1], nil
		}
	}
	return "", errors.New("cgroup2 is not mounted here; systemd on a machine of the tests needs it: mount -t cgroup2 cgroup2 /sys/fs/cgroup")
}

// removeGroup removes a group with all below it. The kernel may need a moment to
// forget the processes that were in it.
func removeGroup(top string) error {
	var dirs []string
	filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	slices.Reverse(dirs)
	var err error
	for _, dir := range dirs {
		for range 50 {
			if err = os.Remove(dir); !errors.Is(err, syscall.EBUSY) {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return err
}
