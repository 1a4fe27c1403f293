package store

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// exchangeDirs swaps two names in one step. The error is errors.ErrUnsupported if the kernel
// or file system cannot.
func exchangeDirs(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		return errors.ErrUnsupported
	}
	return err
}

// isPinned reports whether err means that a directory cannot be renamed: it is a mount point,
// or (overlayfs) its lower half is on another file system.
func isPinned(err error) bool { return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EXDEV) }

// copyACL gives f the access control list of the file old, if that has one.
func copyACL(old string, f *os.File) error {
	const name = "system.posix_acl_access"
	list := make([]byte, 64<<10) // the largest size of an attribute
	n, err := unix.Lgetxattr(old, name, list)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	return unix.Fsetxattr(int(f.Fd()), name, list[:n], 0)
}
