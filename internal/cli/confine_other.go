//go:build !linux

package cli

import (
	"errors"
	"runtime"
)

// NoDump does nothing where it is not known how.
func NoDump() error { return nil }

// Confine says that nothing was given up.
func Confine(Needs) error { return errors.New("not known how on " + runtime.GOOS) }
