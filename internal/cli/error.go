package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"postseal/internal/printable"
)

// Exit statuses. 64, 75 and 78 are those of sysexits.h: mail servers act on them.
const (
	ExitOK         = 0
	ExitFailed     = 1
	ExitNothingDue = 2
	ExitUsage      = 64 // EX_USAGE
	ExitTempFail   = 75 // EX_TEMPFAIL: the mail server keeps the message and tries again
	ExitConfig     = 78 // EX_CONFIG
)

// Error is an error with the exit status that the program should end with
// and, where one is known, what the user can do about it.
type Error struct {
	Code int
	Err  error
	Hint string
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ExitCode returns the exit status that belongs to the error.
func (e *Error) ExitCode() int { return e.Code }

// Usage returns an error in the command line (exit 64).
func Usage(hint, format string, args ...any) error {
	return &Error{ExitUsage, fmt.Errorf(format, args...), hint}
}

// Config returns an error in the configuration (exit 78).
func Config(hint, format string, args ...any) error {
	return &Error{ExitConfig, fmt.Errorf(format, args...), hint}
}

// Unreadable returns the error of a file that the configuration needs (exit 78). Where
// the machine is short of something for now (exit 75), mail must not bounce for it.
func Unreadable(err error, hint, format string, args ...any) error {
	for _, short := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO} {
		if errors.Is(err, short) {
			return Later("the machine is short of memory, of open files, or of a disk that works: put that right", format, args...)
		}
	}
	return Config(hint, format, args...)
}

// Later returns an error that says to run the same command again (exit 75).
func Later(hint, format string, args ...any) error {
	return &Error{ExitTempFail, fmt.Errorf(format, args...), hint}
}

// Failed returns a failure (exit 1).
func Failed(hint, format string, args ...any) error {
	return &Error{ExitFailed, fmt.Errorf(format, args...), hint}
}

// WithHint adds a hint to err and keeps its exit status. It returns nil for nil.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &Error{ExitCode(err), err, hint}
}

// ExitCode returns the exit status for err: that of the first error in its chain
// that has one, such as *Error, else 1; 0 for nil.
func ExitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	var coder interface{ ExitCode() int }
	if errors.As(err, &coder) {
		return coder.ExitCode()
	}
	return ExitFailed
}

// Hint returns the first hint in the chain of err, or "".
func Hint(err error) string {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}

// Report writes err as the last words of the program name: one line for the
// error, one for its hint. It returns the exit status.
func Report(w io.Writer, name string, err error) int {
	if err == nil {
		return ExitOK
	}
	if msg := OneLine(err.Error()); msg != "" {
		fmt.Fprintf(w, "%s: error: %s\n", name, msg)
	}
	if hint := Hint(err); hint != "" {
		fmt.Fprintf(w, "%s: hint: %s\n", name, OneLine(hint))
	}
	return ExitCode(err)
}

// maxLine bounds a line about an error, in bytes: a list of bad lines is long, the page
// that a server answers with is not to be read here.
const maxLine = 4000

// OneLine makes a text, in which others' words may stand, fit to stand in one line on a
// terminal. White space in our own, which errors.Join leaves, becomes a blank.
func OneLine(s string) string {
	return printable.Line(strings.Join(strings.Fields(s), " "), maxLine)
}
