//go:build !linux

package confine

import (
	"errors"
	"runtime"
)

// NoDump does nothing where it is not known how.
func NoDump() error { return nil }

// Self says that nothing was given up.
func Self(Needs) error { return errors.New("not known how on " + runtime.GOOS) }
