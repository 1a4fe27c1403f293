package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// The counters are files in answers/, one for each hour, with a line of fixed size for each
// claim made (+) or given back (-): the time and the CA. They exist because reading the
// answers of thirty days takes longer than sending one. They only bound the rate: losing one
// means counting too little for an hour.
//
// One write(2) appends a line, so processes need no lock. Over NFS two lines written at the
// same instant may become one.
const (
	counterPrefix = ".count-"
	counterLine   = len("+1780315200 0123456789abcdef\n")
)

// maxCounter bounds how much of one counter is read, in bytes: half a million lines.
const maxCounter = 16 << 20

// counterPath returns the counter of the hour of t.
func (d *Dir) counterPath(t time.Time) string {
	return d.Path("answers", fmt.Sprintf("%s%d", counterPrefix, t.Unix()/3600))
}

// count records the claim of a file, or with '-' that it was given back. It reports errors,
// which do not stop an answer.
func (c *dirClaim) count(sign byte) {
	path := c.dir.counterPath(c.answer.Claimed)
	if err := c.appendCount(path, countLine(sign, c.answer.Server, c.answer.Claimed)); err != nil {
		c.dir.damaged(path, err)
	}
}

func (c *dirClaim) appendCount(path string, line []byte) error {
	f, err := appendForeign(path)
	if missing(err) {
		var before []byte
		f, before, err = c.newCounter(path)
		line = append(before, line...)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(line)
	return err
}

// selfCounted is the age after which an answer's process has surely counted it, or never
// will.
const selfCounted = 10 * time.Second

// newCounter makes the counter of an hour. The very first one starts with the answers that
// already exist.
func (c *dirClaim) newCounter(path string) (f *os.File, before []byte, err error) {
	f, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o660)
	if errors.Is(err, fs.ErrExist) {
		f, err = appendForeign(path) // somebody else was quicker
		return f, nil, err
	}
	if err != nil {
		return nil, nil, err
	}
	err = f.Chmod(0o660) // whatever the umask: other users of the mail half count too
	hourAgo := c.answer.Claimed.Add(-time.Hour)
	if _, none := os.Lstat(c.dir.counterPath(hourAgo)); err == nil && missing(none) {
		before, err = c.dir.countFiles(hourAgo, time.Now().Add(-selfCounted))
	}
	if err != nil {
		f.Close()
	}
	return f, before, err
}

// countFiles returns the lines of all attempts written between two times, by the clock of the
// file system.
func (d *Dir) countFiles(since, until time.Time) (lines []byte, err error) {
	names, err := listNames(d.Path("answers"), -1)
	for _, name := range names {
		path := d.Path("answers", name)
		if !isAttempt(name) {
			continue
		}
		info, err := os.Lstat(path)
		if err != nil || !info.ModTime().After(since) || info.ModTime().After(until) {
			continue
		}
		server := "" // if the file cannot be read
		if data, err := readRecord(path); err == nil {
			if a, err := ParseAnswer(data); err == nil {
				server = a.Server
			}
		}
		lines = append(lines, countLine('+', server, info.ModTime())...)
	}
	return lines, err
}

func countLine(sign byte, server string, t time.Time) []byte {
	return fmt.Appendf(nil, "%c%010d %s\n", sign, t.Unix(), countKey(server))
}

// countKey returns the short name of a CA in a line.
func countKey(server string) string {
	sum := sha256.Sum256([]byte(server))
	return hex.EncodeToString(sum[:8])
}

// aheadMost is how far another host's clock may be ahead before its claims stop counting.
const aheadMost = 2 * time.Hour

// AnswersWithin implements Store. If it cannot read a counter, it reads the answers instead.
func (d *Dir) AnswersWithin(age time.Duration, server string, now time.Time) (all, toCA int, err error) {
	var lines []byte
	since := now.Add(-age)
	for t := since; !t.After(now.Add(aheadMost)); t = t.Add(time.Hour) {
		more, err := readForeign(d.counterPath(t), 0, maxCounter)
		if err != nil && !missing(err) {
			d.damaged(d.counterPath(t), err)
			if lines, err = d.countFiles(since, now.Add(aheadMost)); err != nil {
				return 0, 0, err
			}
			break
		}
		lines = append(lines, more...)
	}
	all, toCA = tally(lines, since, server)
	return all, toCA, nil
}

// tally counts the lines after a time. It leaves out invalid ones.
func tally(lines []byte, since time.Time, server string) (all, toCA int) {
	after, key := fmt.Appendf(nil, "%010d", since.Unix()), []byte(countKey(server))
	for line := range bytes.Lines(lines) {
		if len(line) != counterLine || bytes.Compare(line[1:11], after) <= 0 {
			continue
		}
		step := 1
		if line[0] == '-' {
			step = -1
		}
		all += step
		if bytes.Equal(line[12:counterLine-1], key) {
			toCA += step
		}
	}
	return max(all, 0), max(toCA, 0)
}
