package redis

import (
	_ "embed"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"postseal/state"
)

//go:embed lua/answers.lua
var answersSource string

//go:embed lua/answerids.lua
var answerIDsSource string

//go:embed lua/forget.lua
var forgetSource string

//go:embed lua/rate.lua
var rateSource string

var (
	answersScript   = script(answersSource)
	answerIDsScript = script(answerIDsSource)
	forgetScript    = script(forgetSource)
	rateScript      = script(rateSource)
)

// answerBatch is how many answers one round trip asks for. Each may have state.MaxRecord
// bytes, and a reply is bounded.
const answerBatch = 100

// Answer implements state.Store.
func (s *Store) Answer(id string) (*state.Answer, error) {
	if !state.LegalID(id) {
		return nil, fmt.Errorf("invalid id %.20q", id)
	}
	all, err := s.answers([]string{id})
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all[0], nil
}

// mostBad bounds how many answers that are unreadable or were given back Answers reads in
// search of others.
const mostBad = 1000

// Answers implements state.Store.
func (s *Store) Answers(most int) (all []*state.Answer, err error) {
	v, err := s.run(answerIDsScript, []string{s.key("answers")}, most+mostBad, state.MaxID)
	if err != nil {
		return nil, err
	}
	ids := texts(v)
	for len(ids) > 0 && len(all) < most {
		n := min(answerBatch, len(ids))
		some, err := s.answers(ids[:n])
		if newer := state.Newer(err); newer != nil {
			s.damaged(newer.Path, err)
		} else if err != nil {
			return all, err
		}
		all, ids = append(all, some...), ids[n:]
	}
	return all[:min(len(all), most)], nil
}

// texts converts the result of a script, with "" for each nil.
func texts(v any) []string {
	reply, _ := v.([]any)
	all := make([]string, len(reply))
	for i := range reply {
		all[i], _ = reply[i].(string)
	}
	return all
}

// answers reads some answers as they are now, all at the same moment. If one is of a newer
// version, it returns that error beside the others.
func (s *Store) answers(ids []string) (found []*state.Answer, err error) {
	keys := make([]string, 0, 2*len(ids))
	for _, id := range ids {
		keys = append(keys, s.answerKey(id), s.lockKey(id))
	}
	v, err := s.run(answersScript, keys, state.MaxRecord)
	if err != nil {
		return nil, err
	}
	var tooNew error
	reply, _ := v.([]any)
	for i := 0; i+1 < len(reply); i += 2 {
		text, _ := reply[i].(string)
		if text == "" {
			continue // missing, or given back
		}
		a, err := state.ParseAnswer([]byte(text))
		if state.Newer(err) != nil {
			tooNew = newer(keys[i], []byte(text))
			continue
		}
		if err != nil {
			s.damaged(keys[i], err)
			continue
		}
		if reply[i+1] != int64(1) {
			a = a.Abandoned()
		}
		if a != nil {
			found = append(found, a)
		}
	}
	return found, tooNew
}

// mostForgotten bounds how many answers a command removes: a mail half could add them faster.
const mostForgotten = 10_000

// Forget implements state.Store. Only the issuing half removes answers.
func (s *Store) Forget(age time.Duration, now time.Time) error {
	for range mostForgotten / batch {
		v, err := s.run(forgetScript, []string{s.key("answers")}, now.Add(-age).UnixMilli(), batch, s.answerKey(""), s.noteKey(""), age.Milliseconds())
		if n, _ := v.(int64); err != nil || n < batch {
			return err
		}
	}
	return nil
}

// forget removes an answer that Probe made.
func (s *Store) forget(id string) error {
	ctx, cancel := op()
	defer cancel()
	_, err := s.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		p.Del(ctx, s.answerKey(id))
		p.Del(ctx, s.noteKey(id)) // another rule of users.acl
		p.ZRem(ctx, s.key("answers"), id)
		return nil
	})
	return s.explain(err)
}

// AnswersWithin implements state.Store. It uses Redis' clock, not now.
func (s *Store) AnswersWithin(age time.Duration, server string, _ time.Time) (all, toCA int, err error) {
	v, err := s.run(rateScript, []string{s.key("rate"), s.rateKey(server)}, age.Milliseconds(), countLife.Milliseconds())
	if err != nil {
		return 0, 0, err
	}
	if n, ok := v.([]any); ok && len(n) == 2 {
		a, _ := n[0].(int64)
		b, _ := n[1].(int64)
		return int(a), int(b), nil
	}
	return 0, 0, fmt.Errorf("%s: the script for counts answered %v", s.name, v)
}
