package main

import (
	"context"
	"errors"
	"os"

	"postseal/state"
	"postseal/state/redis"
)

// store returns the store where the two halves meet. It passes damaged records to a function.
func (c *checker) store(damaged func(name string, err error)) (state.Store, error) {
	if c.Redis != "" {
		s, err := redis.Open(c.Redis)
		if err != nil {
			return nil, err
		}
		s.Damaged = damaged
		return s, nil
	}
	dir := state.Open(c.State)
	dir.Damaged = damaged
	return dir, nil
}

// checkRedis looks at the Redis that both halves share, and at what the issuing half keeps
// for itself.
func (c *checker) checkRedis(ctx context.Context, r *report) {
	s, err := redis.Open(c.Redis)
	if err != nil {
		r.fail("see postseal.toml(5)", "--state: %v", err)
		return
	}
	defer s.Close()
	h, err := s.Probe(ctx)
	if err != nil {
		r.fail(awayHint(err), "%v", err)
	} else {
		health(r, s, h)
		rights(r, h)
		c.leftovers(r)
	}
	if _, err := os.Stat(c.State); err == nil {
		c.privateFiles(r)
		c.fileSystem(r)
	}
}

func awayHint(err error) string {
	if errors.As(err, new(*state.UnreachableError)) {
		return "start it, or correct --state; meanwhile ordinary mail flows and challenges are put off"
	}
	return "correct the user and the password in --state; contrib/redis has the users"
}

// health reports what a server promises.
func health(r *report, s *redis.Store, h *redis.Health) {
	r.ok("%s: version %s", s, h.Version)
	if h.Replica {
		r.fail("give the master, or Sentinel: ?master_name=NAME", "%s is a replica and takes no changes", s)
	}
	if !h.AppendOnly {
		r.warn("set: appendonly yes", "a restart of Redis forgets who waits for a challenge")
	}
	if h.Policy != "noeviction" {
		hint := "set: maxmemory-policy noeviction"
		if h.MaxMemory == 0 {
			hint += " (there is no maxmemory now)"
		}
		r.warn(hint, "Redis may throw away records when its memory is full: %s", h.Policy)
	}
	if h.Ahead > maxSkew || h.Ahead < -maxSkew {
		r.warn("set both, and keep them right with NTP", "this machine's clock is %s that of Redis", direction(h.Ahead))
	}
	if err := h.Replay; err != nil && !errors.Is(err, redis.ErrNotAsked) && h.AppendOnly {
		r.fail("users.acl: user default off resetpass ~* &* +@all, as in contrib/redis",
			"a restart of Redis forgets what scripts wrote, because the default user may not: %v", err)
	}
}

// rights reports what the user in the URL, and the mail half's user, may do.
func rights(r *report, h *redis.Health) {
	switch {
	case h.Orders == nil && h.Answers == nil:
		r.ok("this user may order and answer")
	case h.Orders == nil && h.MailUser == nil:
		r.ok("this user may order, and postseal-mail may answer")
	case h.Orders == nil && errors.Is(h.MailUser, redis.ErrNotAsked):
		r.warn("run this with the --state of the mail half", "this user may order and not answer; whether the mail half's may is not known")
	case h.Orders == nil:
		r.fail("contrib/redis/users.acl has what it needs", "postseal-mail may not answer: %v", h.MailUser)
	case h.Answers == nil:
		r.warn("fine for the mail half; \"postseal cert\" needs a user who may", "this user may answer and not order: %v", h.Orders)
	default:
		r.fail("contrib/redis/users.acl has what it needs", "this user may neither order nor answer: %v", h.Orders)
	}
}
