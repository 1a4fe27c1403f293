package machine

import (
	"os"
	"path/filepath"
	"sync"
)

// Kits makes the directory that the machines of a test process take from the host,
// once. It lies beside the test binary, and go test removes both.
type Kits struct {
	Fill func(dir string) error // puts there what the tests need

	once sync.Once
	dir  string
	err  error
}

// binary is the name that the test binary has in a kit.
const binary = "machine.test"

// Path returns the directory, with the test binary and what Fill put there.
func (k *Kits) Path() (string, error) {
	k.once.Do(func() { k.err = k.make() })
	return k.dir, k.err
}

func (k *Kits) make() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if k.dir, err = os.MkdirTemp(filepath.Dir(self), "kit-"); err != nil {
		return err
	}
	if err := os.Link(self, filepath.Join(k.dir, binary)); err != nil {
		return err
	}
	if err := k.Fill(k.dir); err != nil {
		return err
	}
	return os.Chmod(k.dir, 0o755)
}
