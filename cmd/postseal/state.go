package main

import (
	"cmp"
	"os"

	"postseal/internal/cli"
	"postseal/issuer"
	"postseal/state"
	"postseal/state/redis"
)

// openState returns the state directory, and where the two halves meet if that is not
// there but in Redis.
func (s *session) openState() (*state.Dir, state.Store, error) {
	path := s.State
	var store state.Store
	if cli.IsURL(s.State) {
		if cli.PasswordInArgs(os.Args[1:]) {
			s.voice.step(issuer.Step{Kind: issuer.StepHint, Text: cli.PasswordWarning})
		}
		shared, err := redis.Open(s.State)
		if err != nil {
			return nil, nil, cli.StateError(err)
		}
		shared.Damaged = s.voice.damaged
		store, path = shared, cmp.Or(shared.Dir(), cli.DefaultState())
	}
	dir := state.Open(path)
	dir.Damaged = s.voice.damaged
	if store == nil {
		store = dir
	}
	return dir, store, nil
}

// redisURL returns the --state if it is that of Redis.
func (s *session) redisURL() string {
	if cli.IsURL(s.State) {
		return s.State
	}
	return ""
}
