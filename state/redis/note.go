package redis

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"postseal/internal/printable"
	"postseal/state"
)

// noteLife is how long a note survives if its record is not removed, and how long MailHalves
// returns a silent mail half.
const noteLife = 30 * 24 * time.Hour

//go:embed lua/note.lua
var noteSource string

//go:embed lua/alive.lua
var aliveSource string

//go:embed lua/notes.lua
var notesSource string

//go:embed lua/halves.lua
var halvesSource string

var (
	noteScript   = script(noteSource)
	aliveScript  = script(aliveSource)
	notesScript  = script(notesSource)
	halvesScript = script(halvesSource)
)

func (s *Store) noteKey(id string) string { return s.key("note", id) }

// Note implements state.Store. Redis' clock measures the minute.
func (s *Store) Note(p *state.Pending, verdict, reason string, now time.Time) error {
	data, err := json.Marshal(state.NewNote(p.ID, verdict, reason, now))
	if err != nil {
		return err
	}
	_, err = s.run(noteScript, []string{s.noteKey(p.ID)}, data, state.NoteEvery.Milliseconds(), noteLife.Milliseconds(), s.key("answers"), p.ID)
	return err
}

// Notes implements state.Store.
func (s *Store) Notes(ids []string) (found []*state.Note, err error) {
	for len(ids) > 0 {
		n := min(answerBatch, len(ids))
		some, err := s.notes(ids[:n])
		if err != nil {
			return found, err
		}
		found, ids = append(found, some...), ids[n:]
	}
	return found, nil
}

func (s *Store) notes(ids []string) (found []*state.Note, err error) {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = s.noteKey(id)
	}
	v, err := s.run(notesScript, keys, state.MaxRecord)
	if err != nil {
		return nil, err
	}
	fields := texts(v)
	for i := 0; i+1 < len(fields); i += 2 {
		if n := s.parseNote(ids[i/2], fields[i], fields[i+1]); n != nil {
			found = append(found, n)
		}
	}
	return found, nil
}

func (s *Store) parseNote(id, text, count string) *state.Note {
	if text == "" {
		return nil
	}
	n, err := state.ParseNote([]byte(text))
	if err == nil && n.ID != id {
		err = errors.New("it is about another record")
	}
	if err != nil {
		s.damaged(s.noteKey(id), err)
		return nil
	}
	n.Count, _ = strconv.Atoi(count)
	return n
}

// WaitNote implements state.Store.
func (s *Store) WaitNote(ctx context.Context, id string, seen *state.Note) (n *state.Note, err error) {
	err = s.wait(ctx, &s.answerEvents, id, func() (bool, error) {
		found, err := s.notes([]string{id})
		if err != nil || len(found) == 0 {
			return false, err
		}
		n = found[0]
		return n.News(seen), nil
	})
	if err != nil {
		return nil, err
	}
	return n, nil
}

// Alive implements state.Store. It uses Redis' clock, not now.
func (s *Store) Alive(host string, _ time.Time) error {
	_, err := s.run(aliveScript, []string{s.key("alive")}, host, noteLife.Milliseconds(), state.MostHalves)
	return err
}

// MailHalves implements state.Store.
func (s *Store) MailHalves() (all []state.MailHalf, err error) {
	v, err := s.run(halvesScript, []string{s.key("alive")}, state.MostHalves, state.MaxText)
	if err != nil {
		return nil, err
	}
	fields := texts(v)
	for i := 0; i+1 < len(fields); i += 2 {
		ms, err := strconv.ParseFloat(fields[i+1], 64)
		if seen := time.UnixMilli(int64(ms)).UTC(); err == nil && ms > 0 && ms < lastMilli {
			all = append(all, state.MailHalf{Host: printable.Line(fields[i], state.MaxText), Seen: seen})
		} else {
			s.damaged(s.key("alive"), errors.New("not a time"))
		}
	}
	return all, nil
}

// lastMilli is the end of the year 9999: JSON has no later time.
const lastMilli = 253402300800000
