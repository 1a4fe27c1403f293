package state

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// maxAttempts bounds how often one challenge is tried. A challenge lives a day
// and queues try again after minutes.
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
		return nil, fmt.Errorf("id %q is none", id)
	}
	var last *Answer
	for attempt := 1; attempt <= maxAttempts; attempt++ {
		a, err := d.readAnswer(d.answerPath(id, attempt))
		switch {
		case missing(err):
			return last, nil
		case isDamage(err):
			d.damaged(d.answerPath(id, attempt), err)
		case err != nil:
			return nil, err
		default:
			last = a
		}
	}
	return last, nil
}

// readAnswer reads one attempt as it stands now, the lock taken into account.
func (d *Dir) readAnswer(path string) (*Answer, error) {
	f, live, err := openProbed(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := readBounded(f)
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

// Answers implements Store.
func (d *Dir) Answers() ([]*Answer, error) {
	ids, err := d.answerIDs()
	if err != nil {
		return nil, err
	}
	var all []*Answer
	for _, id := range ids {
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
	}
	return all, nil
}

func (d *Dir) answerIDs() ([]string, error) {
	entries, err := os.ReadDir(d.Path("answers"))
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		id := strings.TrimSuffix(e.Name(), ".json")
		if isRecord(e.Name()) && LegalID(id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Forget implements Store. It removes the leftovers of processes that died, too.
// The issuing half owns the directory. Attempts go together: a gap would hide those after it.
func (d *Dir) Forget(age time.Duration, now time.Time) error {
	entries, err := os.ReadDir(d.Path("answers"))
	if err != nil {
		return err
	}
	fresh := map[string]bool{}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || now.Sub(info.ModTime()) < age {
			fresh[attemptOf(e.Name())] = true
		}
	}
	for _, e := range entries {
		if fresh[attemptOf(e.Name())] {
			continue
		}
		if err := os.Remove(d.Path("answers", e.Name())); err != nil && !missing(err) {
			return err
		}
	}
	return nil
}

// attemptOf returns the id in the name of an answer, and other names as they are.
func attemptOf(name string) string {
	if id, _, ok := strings.Cut(name, "."); ok && LegalID(id) {
		return id
	}
	return name
}
