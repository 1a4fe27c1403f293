package issuer

import (
	"errors"
	"os"
	"syscall"
)

// errLocked means that another process holds a lock.
var errLocked = errors.New("is locked")

// tryLock takes the lock at path without waiting. The file goes with the lock:
// thousands of addresses must not leave thousands of files.
//
// lockedfile of go-internal can only wait; a second command for the same address
// is to end with an explanation instead.
func tryLock(path string) (unlock func(), err error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
		if err != nil {
			return nil, err
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil && sameFile(f, path) {
			return func() { os.Remove(path); f.Close() }, nil
		}
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errLocked
		}
		if err != nil {
			return nil, err
		}
	}
}

// sameFile tells whether path still names f: whoever held the lock before removes
// the file, and a lock on a removed file excludes nobody.
func sameFile(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Stat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// lockName makes this process the only one that works on certificates whose
// first address is addr.
func (i *Issuer) lockName(addr string) (unlock func(), err error) {
	unlock, err = tryLock(i.Dir.Path("orders", ".lock-"+baseName(addr)))
	if errors.Is(err, errLocked) {
		return nil, later("let it end, or see what it waits for with: postseal status",
			"another postseal is working on the certificate of %s", addr)
	}
	return unlock, err
}
