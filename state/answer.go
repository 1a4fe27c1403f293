package state

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxAttempts bounds the attempts to answer one challenge. A challenge lives a day, and
// queues retry after minutes.
const maxAttempts = 1000

func (d *Dir) answerPath(id string, attempt int) string {
	if attempt > 1 {
		return d.Path("answers", fmt.Sprintf("%s.%d.json", id, attempt))
	}
	return d.Path("answers", id+".json")
}

// Answer implements Store.
func (d *Dir) Answer(id string) (*Answer, error) {
	if !LegalID(id) {
		return nil, fmt.Errorf("invalid id %.20q", id)
	}
	var last *Answer
	for attempt := 1; attempt <= maxAttempts; attempt++ {
		path := d.answerPath(id, attempt)
		a, err := d.readAnswer(path)
		switch {
		case missing(err):
			return last, nil
		case d.leftOut(path, err):
		case err != nil:
			return nil, err
		default:
			last = a
		}
	}
	return last, nil
}

// leftOut reports whether the issuing half leaves a file out, and names it. If the directory
// can be searched but the file cannot be read, or not even looked at, that is the other
// half's doing: any user can mount a file system of his own on his own file, and stop serving
// it.
func (d *Dir) leftOut(path string, err error) bool {
	for _, theirs := range []error{fs.ErrPermission, syscall.EAGAIN, syscall.ENOTCONN} {
		if _, closed := os.Lstat(filepath.Dir(path) + "/."); errors.Is(err, theirs) && closed == nil {
			err = damage{err}
			break
		}
	}
	if !isDamage(err) {
		return false
	}
	d.damaged(path, err)
	return true
}

// readAnswer reads one attempt as it is now, taking the lock into account.
func (d *Dir) readAnswer(path string) (*Answer, error) {
	f, live, err := openProbed(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := readBounded(f, MaxRecord)
	if err != nil {
		return nil, err
	}
	a, err := ParseAnswer(data)
	if err != nil {
		return nil, unreadable(path, err)
	}
	if live {
		return a, nil
	}
	return a.Abandoned(), nil
}

// mostBad bounds how many files that are not answers Answers reads in search of some that
// are.
const mostBad = 1000

// Answers implements Store.
func (d *Dir) Answers(most int) ([]*Answer, error) {
	ids, err := d.answerIDs()
	if err != nil {
		return nil, err
	}
	var all []*Answer
	for _, id := range ids[:min(len(ids), most+mostBad)] {
		a, err := d.Answer(id)
		if newer := Newer(err); newer != nil {
			d.damaged(newer.Path, err)
			continue
		}
		if err != nil {
			return all, err
		}
		if a != nil {
			all = append(all, a)
		}
		if len(all) == most {
			break
		}
	}
	return all, nil
}

// answerIDs returns the ids that have answers, the most recently written first. It names
// files that end like a record and are not one.
func (d *Dir) answerIDs() ([]string, error) {
	entries, err := os.ReadDir(d.Path("answers"))
	if err != nil {
		return nil, err
	}
	written := map[string]time.Time{}
	for _, e := range entries {
		name := e.Name()
		if !isAttempt(name) {
			if isRecord(name) && !isNote(name) {
				d.damaged(d.Path("answers", name), errors.New("not a name of an answer"))
			}
			continue
		}
		info, err := e.Info()
		if err != nil {
			d.leftOut(d.Path("answers", name), err)
			continue
		}
		if id := attemptOf(name); !info.ModTime().Before(written[id]) {
			written[id] = info.ModTime()
		}
	}
	return slices.SortedFunc(maps.Keys(written), func(a, b string) int {
		return cmp.Or(written[b].Compare(written[a]), strings.Compare(a, b))
	}), nil
}

// isAttempt reports whether a name is that of an attempt: ID.json or ID.N.json.
func isAttempt(name string) bool {
	base, ok := strings.CutSuffix(name, ".json")
	id, n, more := strings.Cut(base, ".")
	if !ok || !LegalID(id) {
		return false
	}
	attempt, err := strconv.Atoi(n)
	return !more || err == nil && attempt > 1 && n == strconv.Itoa(attempt)
}

// mostForgotten bounds how many files Forget looks at, since every command calls it.
const mostForgotten = 10_000

// Forget implements Store. It also removes the leftovers of dead processes. It works because
// the issuing half owns the directory. It removes all attempts at an answer together: a gap
// would hide the later ones. In a very large directory it looks at a random part.
func (d *Dir) Forget(age time.Duration, now time.Time) error {
	names, err := listNames(d.Path("answers"), -1)
	if err != nil {
		return err
	}
	together := map[string][]string{}
	for _, name := range names {
		together[attemptOf(name)] = append(together[attemptOf(name)], name)
	}
	looked := 0
	for _, names := range together { // in random order
		if looked >= mostForgotten {
			break
		}
		looked += len(names)
		fresh := func(name string) bool {
			info, err := os.Lstat(d.Path("answers", name))
			return err != nil || now.Sub(info.ModTime()) < age
		}
		if !slices.ContainsFunc(names, fresh) {
			for _, name := range names {
				d.removeForeign(d.Path("answers", name))
			}
		}
	}
	return nil
}

// removeForeign removes an expired file, or names it if that fails.
func (d *Dir) removeForeign(path string) {
	if err := os.Remove(path); err != nil && !missing(err) {
		d.damaged(path, cannotRemove(err))
	}
}

func cannotRemove(err error) error {
	return fmt.Errorf("cannot be removed: %w", Cause(err))
}

// attemptOf returns the id in the name of an answer, and any other name unchanged.
func attemptOf(name string) string {
	if id, _, ok := strings.Cut(name, "."); ok && LegalID(id) {
		return id
	}
	return name
}
