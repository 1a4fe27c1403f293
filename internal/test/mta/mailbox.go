package mta

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// Mailbox returns the messages in the Maildir of one of Users, oldest first.
func (in *Instance) Mailbox(name string) [][]byte {
	in.t.Helper()
	return ReadMaildir(in.t, filepath.Join(in.mailDir(), in.address(name)))
}

// WaitMail waits until one of Users has n messages and returns them.
func (in *Instance) WaitMail(name string, n int) [][]byte {
	in.t.Helper()
	return WaitMaildir(in.t, filepath.Join(in.mailDir(), in.address(name)), n)
}

// WaitMaildir waits until a Maildir has n messages and returns them.
func WaitMaildir(t testing.TB, dir string, n int) [][]byte {
	t.Helper()
	var mail [][]byte
	WaitFor(t, fmt.Sprintf("message %d in %s", n, filepath.Base(dir)), func() bool {
		mail = ReadMaildir(t, dir)
		return len(mail) >= n
	})
	return mail
}

// ReadMaildir returns the messages of a Maildir, oldest first. One that does not
// exist yet is empty.
func ReadMaildir(t testing.TB, dir string) [][]byte {
	t.Helper()
	for {
		messages, err := readMaildir(dir)
		if err == nil {
			return messages
		}
		if !errors.Is(err, fs.ErrNotExist) { // a reader has just given a file another name
			t.Fatal(err)
		}
	}
}

func readMaildir(dir string) ([][]byte, error) {
	type message struct {
		at   time.Time
		data []byte
	}
	var messages []message
	for _, sub := range []string{"new", "cur"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, entry := range entries {
			info, err := entry.Info()
			if err != nil {
				return nil, err
			}
			data, err := os.ReadFile(filepath.Join(dir, sub, entry.Name()))
			if err != nil {
				return nil, err
			}
			messages = append(messages, message{info.ModTime(), data})
		}
	}
	slices.SortStableFunc(messages, func(a, b message) int { return a.at.Compare(b.at) })
	return collect(messages, func(m message) []byte { return m.data }), nil
}

// ReadMbox returns the messages of an mbox file, without their "From " lines. One
// that does not exist yet is empty.
func ReadMbox(t testing.TB, file string) [][]byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var messages [][]byte
	for _, part := range bytes.Split(append([]byte("\n\n"), data...), []byte("\n\nFrom "))[1:] {
		_, message, _ := bytes.Cut(part, []byte("\n"))
		messages = append(messages, append(bytes.TrimRight(message, "\n"), '\n'))
	}
	return messages
}

func collect[A, B any](in []A, f func(A) B) []B {
	var out []B
	for _, a := range in {
		out = append(out, f(a))
	}
	return out
}
