// Package failure has one type of error that holds the kind of a failure, the setting at
// fault, and what would help. Packages return it; the programs in cmd/ turn the kind into an
// exit status, and the advice into the words of their flags.
package failure

import (
	"errors"
	"fmt"
	"syscall"
)

// Kind is what an error means for the caller.
type Kind int

// The kinds of errors, and KindNone for no error.
const (
	KindNone   Kind = iota
	KindFailed      // it failed, and waiting does not help
	KindNotDue      // there is nothing to do
	KindLater       // not yet: the same call later goes on
	KindUsage       // the request makes no sense
	KindConfig      // a file or directory that the caller named is not usable
)

// Error is an error with its kind and, if known, the setting at fault and what the user can
// do.
type Error struct {
	Kind    Kind
	Err     error
	Hint    string // a sentence, or one of the constants of this package
	Setting string // as it is called in the configuration
}

func (e *Error) Error() string {
	if e.Setting != "" {
		return "--" + e.Setting + ": " + e.Err.Error()
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Usage returns an error in the request.
func Usage(hint, format string, args ...any) error {
	return &Error{Kind: KindUsage, Err: fmt.Errorf(format, args...), Hint: hint}
}

// Config returns an error in the configuration.
func Config(hint, format string, args ...any) error {
	return &Error{Kind: KindConfig, Err: fmt.Errorf(format, args...), Hint: hint}
}

// Unreadable returns the error of a file that the configuration needs: Later if the machine
// is short of something for now, since mail must not bounce for it; otherwise Config.
func Unreadable(err error, hint, format string, args ...any) error {
	for _, short := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO} {
		if errors.Is(err, short) {
			return Later("the machine is short of memory, of open files, or of a disk that works: put that right", format, args...)
		}
	}
	return Config(hint, format, args...)
}

// Later returns an error that says to try again later.
func Later(hint, format string, args ...any) error {
	return &Error{Kind: KindLater, Err: fmt.Errorf(format, args...), Hint: hint}
}

// Failed returns a failure.
func Failed(hint, format string, args ...any) error {
	return &Error{Kind: KindFailed, Err: fmt.Errorf(format, args...), Hint: hint}
}

// NotDue returns an error that means that there is nothing to do.
func NotDue(hint string, err error) error { return &Error{Kind: KindNotDue, Err: err, Hint: hint} }

// WithHint adds a hint to err and keeps its kind. It returns nil for nil.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: KindOf(err), Err: err, Hint: hint}
}

// In adds the setting at fault. It keeps kind and hint of err, and returns nil for nil.
func In(setting string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: KindOf(err), Err: err, Setting: setting}
}

// KindOf returns the kind of the first Error in the chain of err, or KindFailed; KindNone for
// nil.
func KindOf(err error) Kind {
	if err == nil {
		return KindNone
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return KindFailed
}

// HintOf returns the first hint in the chain of err, or "".
func HintOf(err error) string { return first(err, func(e *Error) string { return e.Hint }) }

// SettingOf returns the first setting in the chain of err, or "".
func SettingOf(err error) string { return first(err, func(e *Error) string { return e.Setting }) }

func first(err error, field func(*Error) string) string {
	for e, ok := errors.AsType[*Error](err); ok; e, ok = errors.AsType[*Error](e.Err) {
		if value := field(e); value != "" {
			return value
		}
	}
	return ""
}

// Root returns the innermost error of a chain: the layers above a network error repeat the
// address.
func Root(err error) error {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err
}
