//go:build !linux

package issuer

import "errors"

func exchangeDirs(_, _ string) error { return errors.ErrUnsupported }
