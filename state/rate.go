package state

import (
	"os"
	"time"
)

// RecentAnswers returns the names of the answers that were written after a time, all
// attempts counted. The directory is what all processes of the mail half share, so
// it is what they are counted by; the clock is that of the file system.
func (d *Dir) RecentAnswers(since time.Time) (names []string, err error) {
	dir, err := os.Open(d.Path("answers"))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	for _, e := range entries {
		if !isRecord(e.Name()) {
			continue
		}
		if info, err := e.Info(); err == nil && info.ModTime().After(since) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// CountAnswers returns how many of the answers of these names are for the CA server.
// What cannot be read is for none.
func (d *Dir) CountAnswers(names []string, server string) (n int) {
	for _, name := range names {
		data, err := readRecord(d.Path("answers", name))
		if err != nil {
			continue
		}
		if a, err := parseAnswer(data); err == nil && a.Server == server {
			n++
		}
	}
	return n
}
