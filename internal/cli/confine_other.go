//go:build !linux

package cli

import (
	"errors"
	"runtime"
)

// NoDump does nothing on this system.
func NoDump() error { return nil }

// Confine reports that it gave nothing up.
func Confine(Needs) error { return errors.New("not known how on " + runtime.GOOS) }
