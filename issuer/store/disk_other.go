//go:build !linux

package store

import (
	"errors"
	"os"
	"syscall"
)

func exchangeDirs(_, _ string) error { return errors.ErrUnsupported }

func isPinned(err error) bool { return errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EXDEV) }

func copyACL(string, *os.File) error { return nil }
