//go:build packages

package pages

import (
	"regexp"
	"strings"
)

// step is a command of a session, and what it prints.
type step struct {
	command string // lines with their prompts
	output  string
}

const (
	prompt = "# "
	goesOn = "> "
	elided = "…"
)

// session returns what is done on a page, in blocks of console.
func (p page) session() (all []step) {
	for _, b := range p.blocks {
		if b.kind != "console" {
			continue
		}
		for line := range strings.Lines(b.text) {
			last := len(all) - 1
			switch {
			case strings.HasPrefix(line, prompt):
				all = append(all, step{command: line})
			case strings.HasPrefix(line, goesOn) && all[last].output == "":
				all[last].command += line
			default:
				all[last].output += line
			}
		}
	}
	return all
}

// script is the command as a shell takes it.
func (s step) script() string {
	var b strings.Builder
	for line := range strings.Lines(s.command) {
		b.WriteString(line[len(prompt):])
	}
	return b.String()
}

// varying are what differs from one time to the next, and what stands for it. The
// order matters.
var varying = []struct {
	form *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?( ?[A-Z]{3,4}|Z)?`), "TIME"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d`), "DATE"},
	{regexp.MustCompile(`\b[0-9a-fA-F]{8,}\b`), "NUMBER"},
	{regexp.MustCompile(`127\.0\.0\.1:\d{5}\b`), "127.0.0.1:PORT"},
	{regexp.MustCompile(`\b(order|queue)=\w+`), "$1=ID"},
	{regexp.MustCompile(`intermediate \w+`), "intermediate ID"},
	{regexp.MustCompile(`\b(89|90) `), "DAYS "},
	{regexp.MustCompile(`\d+ MiB`), "NUMBER MiB"},
	{regexp.MustCompile(`/directory/[A-Za-z0-9_-]+`), "/directory/ID"},
	{regexp.MustCompile(`/acme/([a-z-]+)/[A-Za-z0-9_-]+`), "/acme/$1/ID"},
	{regexp.MustCompile(`acme-challenge\+[a-z0-9]+@`), "acme-challenge+ID@"},
	{regexp.MustCompile(`\b\d+(\.\d+)? ?(ms|µs|s|m|h|days|minutes|hours|seconds)\b`), "DURATION"},
	{regexp.MustCompile(`\b(pid|PID)[ =]\d+`), "$1 NUMBER"},
	{regexp.MustCompile(` +`), " "},
}

// normal is a line without what varies.
func normal(line string) string {
	for _, v := range varying {
		line = v.form.ReplaceAllString(line, v.name)
	}
	return strings.TrimSpace(line)
}

// same reports whether a program printed what the page says.
func same(want, got string) bool {
	return match(strings.Split(strings.TrimSpace(want), "\n"), strings.Split(strings.TrimSpace(got), "\n"))
}

func match(want, got []string) bool {
	switch {
	case len(want) == 0:
		return len(got) == 0
	case strings.TrimSpace(want[0]) == elided:
		for skip := range len(got) + 1 {
			if match(want[1:], got[skip:]) {
				return true
			}
		}
		return false
	case len(got) == 0:
		return false
	}
	return normal(want[0]) == normal(got[0]) && match(want[1:], got[1:])
}
