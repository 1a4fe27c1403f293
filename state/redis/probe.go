package redis

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"postseal/state"
)

// Health is what Probe finds.
type Health struct {
	Version    string        // of the server
	Replica    bool          // it takes no changes
	Ahead      time.Duration // how far this machine's clock is ahead of the server's
	AppendOnly bool          // changes are on disk within a second or so
	Policy     string        // what happens to records when memory is full
	MaxMemory  int64         // bytes; 0: no limit
	Orders     error         // why this user cannot do the issuing half's work; nil if it can
	Answers    error         // the same for the mail half
	MailUser   error         // and for the user "postseal-mail", if Answers is not nil; ErrNotAsked
	Replay     error         // why the server does not replay transactions at its start; ErrNotAsked
}

// ErrNotAsked means that Redis did not say: the user is unknown, or we may not ask.
var ErrNotAsked = errors.New("not known")

// probe is a record that no order waits for.
var probe = state.Pending{ID: "check", Email: "check@postseal.invalid", Server: "postseal:check", Thumbprint: "check", Token: "check"}

// Probe looks at the server and at this user's rights there. It writes a record for an
// address that does not exist and removes it again. An error means that the server answered
// nothing.
func (s *Store) Probe(ctx context.Context) (*Health, error) {
	before := time.Now()
	now, err := s.client.Time(ctx).Result()
	if err != nil {
		return nil, s.explain(err)
	}
	h := &Health{Ahead: before.Sub(now), Policy: "?", MailUser: ErrNotAsked, Replay: ErrNotAsked}
	if after := time.Now(); after.After(now) && before.Before(now) {
		h.Ahead = 0
	}
	if info, err := s.client.Info(ctx, "everything").Result(); err == nil {
		h.read(info)
	}
	if h.Replica {
		return h, nil
	}
	s.rights(ctx, h)
	h.Replay = s.dryRuns(ctx, "default", [][]any{{"HSET", s.answerKey("check"), "json", ""}, {"ZADD", s.key("pending"), 1, "check"}})
	return h, nil
}

// read parses the output of INFO.
func (h *Health) read(info string) {
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "redis_version":
			h.Version = value
		case "role":
			h.Replica = value == "slave"
		case "aof_enabled":
			h.AppendOnly = value == "1"
		case "maxmemory_policy":
			h.Policy = value
		case "maxmemory":
			h.MaxMemory, _ = strconv.ParseInt(value, 10, 64)
		}
	}
}

// rights does what each half does: an order, and a claim for it that it gives back.
func (s *Store) rights(ctx context.Context, h *Health) {
	p := probe
	p.Expires = time.Now().Add(time.Minute)
	_, h.Orders = s.write(&p, "", 0)
	c, err := s.Claim(&p, "", "", time.Now())
	switch {
	case err == nil:
		h.Answers = c.GiveBack()
	case !errors.Is(err, state.ErrGone) || h.Orders == nil: // without the order a claim always ends like this
		h.Answers = err
	}
	if h.Answers != nil {
		h.MailUser = s.dryRuns(ctx, "postseal-mail", s.mailCommands())
	}
	if h.Orders == nil {
		_, err := s.Answer(p.ID)
		h.Orders = errors.Join(err, s.remove(p.Email, p.Server, p.ID, 0), s.forget(p.ID))
	}
}

// mailCommands are the commands of the mail half, with their keys.
func (s *Store) mailCommands() [][]any {
	answer, lock, rate := s.answerKey("check"), s.lockKey("check"), s.rateKey("check")
	return [][]any{
		{"HGETALL", s.pendingKey(probe.Email)},
		{"ZCOUNT", s.key("pending"), 0, 1},
		{"EVALSHA", claimScript().Hash(), 5, answer, lock, s.key("answers"), s.key("rate"), rate},
		{"HSET", answer, "json", ""},
		{"SET", lock, "check"},
		{"ZADD", s.key("answers"), 1, "check"},
		{"EVALSHA", noteScript().Hash(), 1, s.noteKey("check")},
		{"HINCRBY", s.noteKey("check"), "count", 1},
		{"ZADD", s.key("alive"), 1, "check"},
		{"ZADD", rate, 1, "check"},
		{"SUBSCRIBE", s.key("pending")},
		{"PUBLISH", s.key("answers"), "check"},
		{"TIME"},
	}
}

// dryRuns asks whether a user may run some commands, without running them.
func (s *Store) dryRuns(ctx context.Context, user string, commands [][]any) error {
	for _, command := range commands {
		said, err := s.client.Do(ctx, append([]any{"ACL", "DRYRUN", user}, command...)...).Text()
		if err != nil {
			return ErrNotAsked
		}
		if said != "OK" {
			return errors.New(strings.TrimSuffix(said, "."))
		}
	}
	return nil
}
