package enroll

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"postseal/internal/failure"
	"postseal/internal/printable"
	"postseal/issuer/cert"
	"postseal/state"
)

const filePrefix = "file:"

// Bounds of a source, in bytes but for the last.
const (
	maxSource  = 64 << 20
	maxLine    = 1000 // an address has at most 320
	maxStderr  = 4 << 10
	maxError   = 300 // of a text that is shown or remembered
	maxInvalid = 20  // numbers of lines
)

// Source is what a table's source says.
type Source struct {
	Addresses []string // of the table's domain, as cert.ParseAddress has them, each once, sorted by state.Key
	Excluded  []string // the same for those that match a pattern of the table
	Counts
}

// Counts is what else there was in a source.
type Counts struct {
	Lines        int   `json:"lines"`         // with an address, or what should be one
	Other        int   `json:"other_domains"` // lines
	Twice        int   `json:"duplicates"`    // lines
	Invalid      int   `json:"invalid"`       // lines
	InvalidLines []int `json:"invalid_lines"` // the first of them, counted from 1
}

// ReadSource runs or reads the source of a table that was checked. A line has one address;
// empty lines and lines that begin with # mean nothing. The error has the kind Failed, or
// Later if ctx ended; then all that the source has started is ended, too.
func ReadSource(ctx context.Context, t Table, stdin io.Reader) (Source, error) {
	list := &list{table: t}
	in := &lines{each: list.add}
	done := make(chan error, 1)
	go func() { done <- copySource(ctx, t.Source, stdin, in) }() // to open or to read a pipe may wait for ever
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		if t.Source != "-" && !strings.HasPrefix(t.Source, filePrefix) {
			<-done // what it has started is gone then
		}
	}
	if ctx.Err() != nil {
		return Source{}, failure.Later("run the same command again", "interrupted while the source of %s was read", t.Domain)
	}
	if in.size > maxSource { // the command's own error is that nobody read on
		err = errTooLong
	}
	if err != nil {
		return Source{}, failure.Failed("nothing of this table was changed; put its source right: "+t.Source, "source of %s: %v", t.Domain, err)
	}
	in.end()
	return list.source(), nil
}

// copySource copies a source: the standard input, a file, or what a command writes.
func copySource(ctx context.Context, source string, stdin io.Reader, out io.Writer) error {
	if path, ok := strings.CutPrefix(source, filePrefix); ok {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		stdin = f
	} else if source != "-" {
		return runSource(ctx, source, out)
	}
	_, err := io.Copy(out, stdin)
	return err
}

// runSource runs a command and fails if it fails. Its standard input is empty.
func runSource(ctx context.Context, command string, out io.Writer) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	killAll := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = killAll
	cmd.WaitDelay = time.Second // for what it leaves behind with our pipe in its hands
	var said tail
	cmd.Stdout, cmd.Stderr = out, &said
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		killAll()
		return errors.New("it ended and left a process behind that holds its output open")
	}
	var exit *exec.ExitError
	if last := said.lastLine(); errors.As(err, &exit) && last != "" {
		return errors.New(exit.Error() + ": " + last)
	}
	return err
}

// tail keeps the end of what is written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p[max(0, len(p)-maxStderr):]...)
	t.text = slices.Delete(t.text, 0, max(0, len(t.text)-maxStderr))
	return len(p), nil
}

func (t *tail) lastLine() string {
	text := strings.TrimSpace(string(t.text))
	return printable.Line(strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:]), maxError)
}

// lines passes on each line that is written to it, the beginning of one that is too long.
type lines struct {
	each func(line []byte)
	part []byte // of a line whose end has not come
	size int64
}

var errTooLong = errors.New("it says more than 64 MiB")

func (l *lines) Write(p []byte) (int, error) {
	if l.size += int64(len(p)); l.size > maxSource {
		return 0, errTooLong
	}
	for rest := p; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte("\n"))
		l.part = append(l.part, line[:min(len(line), maxLine+1-min(len(l.part), maxLine+1))]...)
		if rest = after; ended {
			l.end()
		}
	}
	return len(p), nil
}

// end ends a line.
func (l *lines) end() {
	l.each(l.part)
	l.part = l.part[:0]
}

// list is a source as it is read.
type list struct {
	table  Table
	number int // of the line
	found  []mailbox
	Counts
}

type mailbox struct{ key, addr string }

func (l *list) add(line []byte) {
	l.number++
	text := strings.TrimSpace(strings.TrimPrefix(string(line), "\ufeff"))
	if text == "" || text[0] == '#' {
		return
	}
	l.Lines++
	addr, err := cert.ParseAddress(text)
	switch {
	case err != nil || len(line) > maxLine:
		l.Invalid++
		if len(l.InvalidLines) < maxInvalid {
			l.InvalidLines = append(l.InvalidLines, l.number)
		}
	case !l.table.takes(domainOf(addr)):
		l.Other++
	default:
		key := state.Key(addr)
		if key == addr {
			addr = key // one string in memory, not two
		}
		l.found = append(l.found, mailbox{key, addr})
	}
}

func (l *list) source() Source {
	slices.SortStableFunc(l.found, func(a, b mailbox) int { return strings.Compare(a.key, b.key) })
	once := slices.CompactFunc(l.found, func(a, b mailbox) bool { return a.key == b.key })
	l.Twice = len(l.found) - len(once)
	s := Source{Counts: l.Counts}
	for _, m := range once {
		if l.table.excludes(m.key) {
			s.Excluded = append(s.Excluded, m.addr)
		} else {
			s.Addresses = append(s.Addresses, m.addr)
		}
	}
	return s
}
