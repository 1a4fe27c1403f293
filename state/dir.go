package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/renameio/v2"
)

// MaxRecord bounds a record in either store, in bytes.
const MaxRecord = 64 << 10

// Dir is a state directory. It is a Store, and it holds the issuing half's accounts, orders
// and certificates even if the Store is another.
type Dir struct {
	path string

	// Private says that the mail half has another Store, so that nothing here is shared.
	Private bool

	// Damaged receives each file that is not a valid record, by name. Several goroutines may
	// call it. It is called once an hour for each file, for at most twenty files. Nil drops
	// the reports.
	Damaged func(path string, err error)

	pending, answers watcher
	naming           Naming
	noting           sync.Mutex // one note at a time
}

// Open returns the state directory at path without looking at it: the mail half must run, and
// pass ordinary mail, even if it is missing.
func Open(path string) *Dir { return &Dir{path: path} }

// Path returns a path below the state directory.
func (d *Dir) Path(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

// String implements Store.
func (d *Dir) String() string { return d.path }

// WriteFile replaces path by a file with the given content and mode, whatever the umask:
// readers see the old content or the new, even after a power cut. The temporary name starts
// with a dot.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	// Not renameio.WriteFile: that keeps the mode of the file it replaces.
	t, err := renameio.NewPendingFile(path,
		renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(mode))
	if err != nil {
		return err
	}
	defer t.Cleanup()
	if _, err := t.Write(data); err != nil {
		return err
	}
	return t.CloseAtomicallyReplace()
}

// WriteDurable is WriteFile for promises: once it returns, the file survives a power cut,
// under this name. The package comment lists what each file promises.
func WriteDurable(path string, data []byte, mode fs.FileMode) error {
	if err := WriteFile(path, data, mode); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// readRecord reads a file of bounded size.
func readRecord(path string) ([]byte, error) { return readForeign(path, 1, MaxRecord) }

// SyncDir makes the names in a directory survive a power cut.
func SyncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
