package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// ErrGone means that nobody waits for the challenge any longer.
var ErrGone = errors.New("nobody waits for this challenge any more")

// ErrLost means that a process lost its claim because it was stopped for too long. It must
// not send the reply.
var ErrLost = errors.New("the right to answer was lost: this process was stopped for too long")

// ErrBusy means that a living process is answering the challenge right now.
var ErrBusy = errors.New("another process is answering this challenge")

// DoneError means that a reply was sent, or may have been: there must not be another.
type DoneError struct{ Answer *Answer }

func (e *DoneError) Error() string {
	if e.Answer.Phase == Sent {
		return "already answered at " + e.Answer.Ended.Format(time.RFC3339)
	}
	return "perhaps already answered: " + e.Answer.Reason
}

// dirClaim is a claim in a directory: a file that its process holds locked.
type dirClaim struct {
	dir    *Dir
	path   string
	file   *os.File // holds the lock
	answer Answer
}

// Claim implements Store.
func (d *Dir) Claim(p *Pending, challengeID, replyID string, now time.Time) (Claim, error) {
	c := &dirClaim{dir: d, answer: Answer{
		Version: Version, ID: p.ID, Phase: Claimed, Email: p.Email, Server: p.Server, Part1: p.Part1,
		MessageIDs: MessageIDs{Challenge: challengeID, Reply: replyID}, Claimed: now.UTC(),
	}}
	for attempt := 1; attempt <= maxAttempts; {
		c.path = d.answerPath(p.ID, attempt)
		free, err := d.tryPath(c.path)
		if err != nil {
			return nil, err
		}
		if !free {
			attempt++
			continue
		}
		err = c.write(os.Link)
		if err == nil {
			c.count('+')
			return c, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("challenge %s was tried %d times", p.ID, maxAttempts)
}

// tryPath looks at one attempt. It returns true if there is none, false if it ended without
// an answer, and otherwise the error for the caller to return.
func (d *Dir) tryPath(path string) (free bool, err error) {
	f, live, err := openProbed(path)
	switch {
	case missing(err):
		return true, nil
	case isDamage(err):
		d.damaged(path, err)
		return false, nil
	case err != nil:
		return false, err
	}
	defer f.Close()
	if live {
		return false, ErrBusy
	}
	data, err := readBounded(f, MaxRecord)
	if err != nil && !isDamage(err) {
		return false, err
	}
	var a *Answer
	if err == nil {
		a, err = ParseAnswer(data)
	}
	if Newer(err) != nil {
		return false, unreadable(path, err)
	}
	if err != nil {
		d.damaged(path, err)
		return false, nil
	}
	if a.Phase == Failed {
		return false, nil
	}
	if a = a.Abandoned(); a == nil {
		return false, nil
	}
	return false, &DoneError{a}
}

// maxProbes bounds how often openProbed reopens a file that was replaced meanwhile.
const maxProbes = 100

// openProbed opens a file and reports whether its writer lives. Only the writer of
// a file ever locks it exclusively, and probes share, so a probe never makes a
// dead claim look alive to another.
//
// openProbed returns the file that has the name after the probe. A writer replaces its file
// by rename and then unlocks the old one: a reader that still holds the old one would take
// its content for the last word of a dead process.
//
// A name that is replaced again and again has a living writer.
func openProbed(path string) (f *os.File, live bool, err error) {
	for try := 1; ; try++ {
		f, err := OpenForeign(path, os.O_RDONLY)
		if err != nil {
			return nil, false, err
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) || err == nil && try == maxProbes {
			return f, true, nil
		}
		if err == nil && sameFile(f, path) {
			return f, false, nil
		}
		f.Close()
		if err != nil {
			return nil, false, err
		}
	}
}

func sameFile(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Lstat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// write puts the answer on disk as a new file, locks it before it has a name, and then names
// it with publish: os.Link to claim, os.Rename to go on.
func (c *dirClaim) write(publish func(tmp, path string) error) error {
	data, err := json.MarshalIndent(&c.answer, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(c.dir.Path("answers"), ".answer-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = fill(f, append(data, '\n'))
	if err == nil {
		err = publish(f.Name(), c.path)
	}
	if err != nil {
		f.Close()
		return err
	}
	if c.file != nil {
		c.file.Close()
	}
	c.file = f
	return nil
}

func fill(f *os.File, data []byte) error {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return err
	}
	if err := f.Chmod(0o640); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

// Sending implements Claim.
func (c *dirClaim) Sending() error {
	c.answer.Phase = Sending
	if err := c.write(os.Rename); err != nil {
		return err
	}
	return SyncDir(c.dir.Path("answers"))
}

// Sent implements Claim.
func (c *dirClaim) Sent(now time.Time) error { return c.end(Sent, "", now) }

// Failed implements Claim.
func (c *dirClaim) Failed(reason string, now time.Time) error { return c.end(Failed, reason, now) }

// Unknown implements Claim.
func (c *dirClaim) Unknown(reason string, now time.Time) error { return c.end(Unknown, reason, now) }

func (c *dirClaim) end(phase Phase, reason string, now time.Time) error {
	c.answer.Phase, c.answer.Reason, c.answer.Ended = phase, reason, now.UTC()
	err := c.write(os.Rename)
	c.file.Close()
	return err
}

// GiveBack implements Claim.
func (c *dirClaim) GiveBack() error {
	err := os.Remove(c.path)
	c.file.Close()
	if err == nil {
		c.count('-')
	}
	return err
}
