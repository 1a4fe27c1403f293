package main

import (
	"os"

	"golang.org/x/term"

	"postseal/internal/check"
)

// onScreen reports whether f is a terminal that understands more than lines.
func onScreen(f *os.File) bool {
	return term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

// colours reports whether what is written to f may have colours: only on a terminal,
// and never where NO_COLOR is set (no-color.org).
func colours(f *os.File) bool { return os.Getenv("NO_COLOR") == "" && onScreen(f) }

// SGR sequences (ECMA-48, Section 8.3.117).
var statusColours = map[check.Status]string{check.OK: "\x1b[32m", check.Skipped: "\x1b[2m", check.Warning: "\x1b[33m", check.Failure: "\x1b[1;31m"}

const plainAgain = "\x1b[0m"
