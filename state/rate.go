package state

import (
	"os"
	"time"
)

// RecentAnswers returns the names of the answers that were written after a time, all
// attempts counted, if there can be more than most of them; else none. The directory
// is what all processes of the mail half share, so it is what they are counted by;
// the clock is that of the file system.
func (d *Dir) RecentAnswers(since time.Time, most int) (names []string, err error) {
	all, err := listNames(d.Path("answers"), -1)
	if err != nil || len(all) <= most {
		return nil, err
	}
	for _, name := range all {
		if !isRecord(name) {
			continue
		}
		if info, err := os.Lstat(d.Path("answers", name)); err == nil && info.ModTime().After(since) {
			names = append(names, name)
		}
	}
	return names, nil
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
