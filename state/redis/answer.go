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

//go:embed lua/rate.lua
var rateSource string

var answersScript, rateScript = script(answersSource), script(rateSource)

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

// Answers implements state.Store.
func (s *Store) Answers(most int) (all []*state.Answer, err error) {
	ctx, cancel := op()
	defer cancel()
	ids, err := s.client.ZRevRange(ctx, s.key("answers"), 0, -1).Result()
	if err != nil {
		return nil, s.explain(err)
	}
	for len(ids) > 0 && len(all) < most {
		n := min(batch, len(ids))
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

// answers reads some answers as they stand now, all at the same moment. If one is of
// a newer version, that is the error beside the others.
func (s *Store) answers(ids []string) (found []*state.Answer, err error) {
	keys := make([]string, 0, 2*len(ids))
	for _, id := range ids {
		keys = append(keys, s.answerKey(id), s.lockKey(id))
	}
	v, err := s.run(answersScript, keys)
	if err != nil {
		return nil, err
	}
	var tooNew error
	reply, _ := v.([]any)
	for i := 0; i+1 < len(reply); i += 2 {
		text, _ := reply[i].(string)
		if text == "" {
			continue // there is none, or it was given back
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

// Forget implements state.Store. Nobody else removes answers.
func (s *Store) Forget(age time.Duration, now time.Time) error {
	ctx, cancel := op()
	defer cancel()
	before := fmt.Sprint(now.Add(-age).UnixMilli())
	for {
		ids, err := s.client.ZRangeByScore(ctx, s.key("answers"), &goredis.ZRangeBy{Min: "-inf", Max: before, Count: batch}).Result()
		if err != nil || len(ids) == 0 {
			return s.explain(err)
		}
		if err := s.forget(ids); err != nil {
			return err
		}
	}
}

// forget removes some answers.
func (s *Store) forget(ids []string) error {
	ctx, cancel := op()
	defer cancel()
	_, err := s.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for _, id := range ids {
			p.Del(ctx, s.answerKey(id))
			p.Del(ctx, s.noteKey(id)) // by another rule of users.acl
		}
		p.ZRem(ctx, s.key("answers"), ids)
		return nil
	})
	return s.explain(err)
}

// AnswersWithin implements state.Store. The clock is that of Redis; now is not used.
func (s *Store) AnswersWithin(age time.Duration, server string, _ time.Time) (all, toCA int, err error) {
	v, err := s.run(rateScript, []string{s.key("rate"), s.rateKey(server)}, age.Milliseconds())
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
