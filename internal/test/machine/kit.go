package machine

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// Kits makes the directory that the machines of a test process take from the host,
// once. It is removed by Remove, or by a later process if this one is killed.
type Kits struct {
	Fill func(dir string) error // puts there what the tests need

	once sync.Once
	dir  string
	err  error
}

const kitName = "postseal-machine-" // with the process that made it

// Path returns the directory, with the test binary and what Fill put there.
func (k *Kits) Path() (string, error) {
	k.once.Do(func() { k.err = k.make() })
	return k.dir, k.err
}

func (k *Kits) make() (err error) {
	removeAbandoned(os.TempDir(), os.RemoveAll)
	k.dir, err = os.MkdirTemp("", fmt.Sprintf("%s%d-", kitName, os.Getpid()))
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if out, err := exec.Command("cp", self, filepath.Join(k.dir, Binary)).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w\n%s", err, out)
	}
	if err := k.Fill(k.dir); err != nil {
		return err
	}
	return os.Chmod(k.dir, 0o755)
}

// Remove removes the directory.
func (k *Kits) Remove() {
	if k.dir != "" {
		os.RemoveAll(k.dir)
	}
}

// removeAbandoned removes what runs left that were killed. It is all they leave.
func removeAbandoned(in string, remove func(string) error) {
	dirs, _ := filepath.Glob(filepath.Join(in, kitName+"*"))
	for _, dir := range dirs {
		var pid int
		fmt.Sscanf(filepath.Base(dir), kitName+"%d-", &pid)
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); pid > 0 && err != nil {
			remove(dir)
		}
	}
}
