package redis

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"postseal/internal/printable"
	"postseal/state"
)

// noteLife is for how long a note stays whose record is not removed, and a mail half is
// told that is not heard of any more.
const noteLife = 30 * 24 * time.Hour

//go:embed lua/note.lua
var noteSource string

//go:embed lua/alive.lua
var aliveSource string

var noteScript, aliveScript = script(noteSource), script(aliveSource)

func (s *Store) noteKey(id string) string { return s.key("note", id) }

// Note implements state.Store. The clock of the minute is that of Redis.
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
		n := min(batch, len(ids))
		some, err := s.notes(ids[:n])
		if err != nil {
			return found, err
		}
		found, ids = append(found, some...), ids[n:]
	}
	return found, nil
}

func (s *Store) notes(ids []string) (found []*state.Note, err error) {
	ctx, cancel := op()
	defer cancel()
	replies := make([]*goredis.SliceCmd, len(ids))
	// The error is that of the first command; each has its own.
	_, _ = s.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for i, id := range ids {
			replies[i] = p.HMGet(ctx, s.noteKey(id), "json", "count")
		}
		return nil
	})
	for i, reply := range replies {
		fields, err := reply.Result()
		switch {
		case isWrongType(err):
			s.damaged(s.noteKey(ids[i]), err)
		case err != nil:
			return found, s.explain(err)
		default:
			if n := s.parseNote(ids[i], fields); n != nil {
				found = append(found, n)
			}
		}
	}
	return found, nil
}

func (s *Store) parseNote(id string, fields []any) *state.Note {
	text, ok := fields[0].(string)
	if !ok {
		return nil
	}
	n, err := state.ParseNote([]byte(text))
	if err == nil && n.ID != id {
		err = fmt.Errorf("it is about another record")
	}
	if err != nil {
		s.damaged(s.noteKey(id), err)
		return nil
	}
	count, _ := fields[1].(string)
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

// Alive implements state.Store. The clock is that of Redis; now is not used.
func (s *Store) Alive(host string, _ time.Time) error {
	_, err := s.run(aliveScript, []string{s.key("alive")}, host, noteLife.Milliseconds(), state.MostHalves)
	return err
}

// MailHalves implements state.Store.
func (s *Store) MailHalves() (all []state.MailHalf, err error) {
	ctx, cancel := op()
	defer cancel()
	hosts, err := s.client.ZRevRangeWithScores(ctx, s.key("alive"), 0, state.MostHalves-1).Result()
	if err != nil {
		return nil, s.explain(err)
	}
	for _, h := range hosts {
		host, _ := h.Member.(string)
		all = append(all, state.MailHalf{Host: printable.Line(host, state.MaxText), Seen: time.UnixMilli(int64(h.Score))})
	}
	return all, nil
}
