package cli

import (
	"errors"
	"fmt"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// The rights of a rule. None lets a program execute, or make anything but plain files.
const (
	reading  = landlock.AccessFSSet(ll.AccessFSReadFile | ll.AccessFSReadDir)
	writing  = reading | ll.AccessFSWriteFile | ll.AccessFSMakeReg | ll.AccessFSRemoveFile | ll.AccessFSTruncate
	removing = landlock.AccessFSSet(ll.AccessFSRemoveFile)
)

// NoDump keeps the process out of core files, and other processes of the same user out of its
// memory.
func NoDump() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }

// Confine gives up all but n, for good and for all threads. The error says why the program is
// not fully confined; Confine gives up all that it can in any case.
func Confine(n Needs) error {
	err := errors.Join(NoDump(), ll.AllThreadsPrctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	if _, none := ll.LandlockGetABIVersion(); none != nil {
		return errors.Join(err, fmt.Errorf("the kernel offers no Landlock: %w", none))
	}
	dirs, files := n.reads()
	// Best effort concerns the version: an older kernel restricts less.
	return errors.Join(err, landlock.V7.BestEffort().RestrictPaths(
		allow(reading, dirs),
		allow(ll.AccessFSReadFile, files),
		allow(writing, nearest(n.Write)),
		allow(removing, nearest(n.Remove)),
	))
}

// allow makes a rule that an older kernel accepts as far as it knows the rights.
func allow(rights landlock.AccessFSSet, paths []string) landlock.Rule {
	return landlock.PathAccess(rights, paths...).IgnoreIfMissing()
}
