package issuer

import (
	"errors"

	"golang.org/x/sys/unix"
)

// exchangeDirs swaps two names in one step. The error is errors.ErrUnsupported
// where kernel or file system cannot.
func exchangeDirs(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		return errors.ErrUnsupported
	}
	return err
}
