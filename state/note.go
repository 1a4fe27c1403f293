package state

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"postseal/internal/printable"
)

// Note is the mail half's latest refusal or delay for a record. Strangers can cause it: it
// ends no wait and proves nothing.
type Note struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`      // that of the Pending record
	Verdict string    `json:"verdict"` // "refused" or "later"
	Reason  string    `json:"reason"`  // printable
	Time    time.Time `json:"time"`
	Count   int       `json:"count"` // how often a note was written for this record
}

// NoteEvery is the shortest time between two notes about one record.
const NoteEvery = time.Minute

// maxReason bounds the reason in a note, in bytes.
const maxReason = 500

// NewNote returns a note to write, its reason made printable and short.
func NewNote(id, verdict, reason string, now time.Time) *Note {
	return &Note{Version: Version, ID: id, Verdict: verdict, Reason: printable.Line(reason, maxReason), Time: now.UTC(), Count: 1}
}

// ParseNote reads a note of a known version.
func ParseNote(data []byte) (*Note, error) {
	n := new(Note)
	if err := decode(data, n); err != nil {
		return nil, err
	}
	if err := checkRecord(n.Version, n.ID); err != nil {
		return nil, err
	}
	if n.Verdict != "refused" && n.Verdict != "later" {
		return nil, fmt.Errorf("unknown verdict %.20q", n.Verdict)
	}
	n.Reason = printable.Line(n.Reason, MaxText)
	return n, nil
}

// News reports whether a note differs from the one already seen.
func (n *Note) News(seen *Note) bool {
	return n != nil && (seen == nil || n.Verdict != seen.Verdict || n.Reason != seen.Reason)
}

// Fresh reports whether a note is so recent that another has to wait.
func (n *Note) Fresh(now time.Time) bool {
	age := now.Sub(n.Time)
	return age >= 0 && age < NoteEvery
}

const noteSuffix = ".note.json"

func isNote(name string) bool {
	id, ok := strings.CutSuffix(name, noteSuffix)
	return ok && LegalID(id)
}

func (d *Dir) notePath(id string) string { return d.Path("answers", id+noteSuffix) }

// Note implements Store. The sticky bit of answers/ protects a note of another user.
func (d *Dir) Note(p *Pending, verdict, reason string, now time.Time) error {
	d.noting.Lock()
	defer d.noting.Unlock()
	n := NewNote(p.ID, verdict, reason, now)
	if old := d.note(p.ID); old != nil {
		if old.Fresh(now) {
			return nil
		}
		n.Count += max(old.Count, 0)
	}
	return d.writeForeign(d.notePath(p.ID), n)
}

// writeForeign replaces a small file in answers/.
func (d *Dir) writeForeign(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(path, append(data, '\n'), 0o640)
}

// note returns the note about a record, nil if it cannot read one.
func (d *Dir) note(id string) *Note {
	path := d.notePath(id)
	data, err := readRecord(path)
	if missing(err) {
		return nil
	}
	var n *Note
	if err == nil {
		n, err = ParseNote(data)
	}
	if err == nil && n.ID != id {
		err = errors.New("it is about another record")
	}
	if err != nil {
		d.damaged(path, err)
		return nil
	}
	return n
}

// Notes implements Store.
func (d *Dir) Notes(ids []string) ([]*Note, error) {
	var found []*Note
	for _, id := range ids {
		if n := d.note(id); n != nil {
			found = append(found, n)
		}
	}
	return found, nil
}

// MailHalf is a host on which a mail half said that it runs, and when.
type MailHalf struct {
	Host string
	Seen time.Time
}

// alive is the content of .alive-HOST.
type alive struct {
	Version int       `json:"version"`
	Time    time.Time `json:"time"`
}

// MostHalves bounds how many mail halves MailHalves returns.
const MostHalves = 100

const alivePrefix = ".alive-"

// Alive implements Store.
func (d *Dir) Alive(host string, now time.Time) error {
	name := escape(host)
	if len(name) > maxName {
		sum := sha256.Sum256([]byte(host))
		name = "sha256-" + hex.EncodeToString(sum[:])
	}
	return d.writeForeign(d.Path("answers", alivePrefix+name), alive{Version, now.UTC()})
}

// MailHalves implements Store.
func (d *Dir) MailHalves() ([]MailHalf, error) {
	names, err := listNames(d.Path("answers"), -1)
	var all []MailHalf
	for _, name := range names {
		host, ok := strings.CutPrefix(name, alivePrefix)
		if !ok {
			continue
		}
		path := d.Path("answers", name)
		seen, err := readAlive(path)
		switch {
		case err == nil:
			all = append(all, MailHalf{printable.Line(host, MaxText), seen})
		case !missing(err):
			d.damaged(path, err)
		}
	}
	slices.SortFunc(all, func(a, b MailHalf) int { return b.Seen.Compare(a.Seen) })
	return all[:min(len(all), MostHalves)], err
}

func readAlive(path string) (time.Time, error) {
	data, err := readRecord(path)
	if err != nil {
		return time.Time{}, err
	}
	var a alive
	if err := decode(data, &a); err != nil {
		return time.Time{}, err
	}
	if a.Version > Version {
		return time.Time{}, &NewerError{Version: a.Version}
	}
	if a.Version != Version || a.Time.IsZero() {
		return time.Time{}, damage{errors.New("not a record of a time")}
	}
	return a.Time, nil
}
