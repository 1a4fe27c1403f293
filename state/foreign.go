package state

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"postseal/internal/printable"
)

// The rules for a directory that another user can write to: answers/ to the issuing
// half, pending/ to the mail half, a mailbox to "postseal check". SECURITY.md has them by
// number.
//
//  1. Only OpenForeign opens a file there: it follows no link in the last part of the path,
//     and neither opening nor reading waits for anybody.
//  2. A reader reads a regular file of bounded size, and no more even if the file grows
//     meanwhile. Anything else is damaged.
//  3. A damaged file is named once, left out, and stops no command; an error about it
//     quotes none of its content.
//  4. Nobody writes through a name that existed before: a new file gets a new name (O_EXCL)
//     and then replaces the old one, or is linked to a free one. A file that grows has no
//     other name.
//  5. A cleanup reports what it cannot remove and goes on.
//  6. Names and texts from there are shown as printable text only.
//
// Hard links pass, because claims are hard links. Links in the middle of a path are the
// admin's, and so are files that he names on a command line or in the configuration.

// OpenForeign opens a file in a directory that another user can write to. The flags are those
// of os.OpenFile. It never waits, and follows no link in the last part of the path. If it
// finds anything but a regular file, the error is about damage.
func OpenForeign(path string, flag int) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	return openSeen(path, flag, info)
}

// OpenForeignIn is OpenForeign for reading a file below a directory. It never leads out of
// that directory, whatever its subdirectories have become.
func OpenForeignIn(dir *os.Root, name string) (*os.File, error) {
	info, err := dir.Lstat(name)
	if err != nil {
		return nil, err
	}
	return openWith(dir.OpenFile, name, os.O_RDONLY, info)
}

func openSeen(path string, flag int, info fs.FileInfo) (*os.File, error) {
	return openWith(os.OpenFile, path, flag, info)
}

// openWith looks at a file before it opens it: opening some devices starts something.
func openWith(open func(string, int, fs.FileMode) (*os.File, error), path string, flag int, info fs.FileInfo) (*os.File, error) {
	if !info.Mode().IsRegular() {
		return nil, notAFile(info)
	}
	f, err := open(path, flag|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENXIO) {
		return nil, damage{errors.New("changed while it was opened")}
	}
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
		err = notAFile(info)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// readForeign reads a file of at most most bytes. It does not even open a larger file, or one
// of less than least bytes: there may be many.
func readForeign(path string, least, most int64) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if size := info.Size(); info.Mode().IsRegular() && (size < least || size > most) {
		return nil, wrongSize(size, most)
	}
	f, err := openSeen(path, os.O_RDONLY, info)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f, most)
}

func wrongSize(size, most int64) error {
	if size == 0 {
		return damage{errors.New("empty")}
	}
	return damage{fmt.Errorf("larger than %d bytes", most)}
}

func readBounded(f *os.File, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = wrongSize(int64(len(data)), most)
	}
	return data, err
}

// appendForeign opens a file to append to it. It refuses one with a second name, which may be
// somebody else's file.
func appendForeign(path string) (*os.File, error) {
	f, err := OpenForeign(path, os.O_WRONLY|os.O_APPEND)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Nlink != 1 {
			err = damage{errors.New("it has a second name")}
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func notAFile(info fs.FileInfo) error {
	return damage{errors.New(TypeOf(info.Mode()) + ", not a file")}
}

// TypeOf names the type of something that is not a regular file.
func TypeOf(mode fs.FileMode) string {
	switch mode.Type() {
	case fs.ModeDir:
		return "a directory"
	case fs.ModeSymlink:
		return "a symbolic link"
	case fs.ModeNamedPipe:
		return "a named pipe"
	case fs.ModeSocket:
		return "a socket"
	}
	return "a device"
}

// damage is the error for a file that is not a record.
type damage struct{ error }

func isDamage(err error) bool {
	var d damage
	return errors.As(err, &d)
}

// MaxText bounds a text from elsewhere when it is shown, in bytes.
const MaxText = 2000

// maxPath bounds the name of a damaged record when it is shown, in bytes.
const maxPath = 8 << 10

// mostNamed bounds how many damaged files are named, and nameAgain is the time after which a
// long-running program names them again.
const (
	mostNamed = 20
	nameAgain = time.Hour
)

// Naming remembers which damaged records were named, so that each is named once.
type Naming struct {
	mu    sync.Mutex
	since time.Time
	seen  map[string]bool
}

// Report calls say once for each record that is left out, with a printable name, and once
// more when there are too many to name.
func (n *Naming) Report(say func(name string, err error), name string, err error) {
	if say == nil {
		return
	}
	name = printable.Line(name, maxPath)
	n.mu.Lock()
	defer n.mu.Unlock()
	if now := time.Now(); now.Sub(n.since) > nameAgain {
		n.since, n.seen = now, map[string]bool{}
	}
	what := name + ": " + err.Error()
	if n.seen[what] || len(n.seen) > mostNamed {
		return
	}
	if n.seen[what] = true; len(n.seen) > mostNamed {
		err = fmt.Errorf("it is one of more than %d, and the others are not named", mostNamed)
	}
	say(name, err)
}

// damaged reports a file that is left out.
func (d *Dir) damaged(path string, err error) {
	if newer := Newer(err); newer != nil {
		err = &NewerError{Version: newer.Version} // the report has the path already
	}
	d.naming.Report(d.Damaged, path, Cause(err))
}
