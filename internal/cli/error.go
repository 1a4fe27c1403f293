package cli

import (
	"fmt"
	"io"
	"strings"

	"postseal/internal/failure"
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

var exitCodes = map[failure.Kind]int{
	failure.KindNone: ExitOK, failure.KindFailed: ExitFailed, failure.KindNotDue: ExitNothingDue,
	failure.KindUsage: ExitUsage, failure.KindLater: ExitTempFail, failure.KindConfig: ExitConfig,
}

// ExitCode returns the exit status for err; 0 for nil.
func ExitCode(err error) int { return exitCodes[failure.KindOf(err)] }

// Report writes err as the last words of the program name: a line for the error and one for
// its hint. It returns the exit status.
func Report(w io.Writer, name string, err error) int {
	if err == nil {
		return ExitOK
	}
	if msg := OneLine(err.Error()); msg != "" {
		fmt.Fprintf(w, "%s: error: %s\n", name, msg)
	}
	if hint := failure.HintOf(err); hint != "" {
		fmt.Fprintf(w, "%s: hint: %s\n", name, OneLine(hint))
	}
	return ExitCode(err)
}

// maxLine bounds a line about an error, in bytes: room for a list of bad lines, but not for
// the page that a server answers with.
const maxLine = 4000

// OneLine makes a text, which may quote others, fit for one line on a terminal. It turns
// white space in our own text, such as errors.Join's, into a space.
func OneLine(s string) string {
	return printable.Line(strings.Join(strings.Fields(s), " "), maxLine)
}
