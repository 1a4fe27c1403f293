package redis

import (
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"postseal/state"
)

// lockLife is how long a claim survives without a sign of life from its owner. It is longer
// than a submission may take.
const lockLife = time.Minute

// countLife is the longest time for which claims can be counted.
const countLife = 2 * time.Hour

//go:embed lua/claim.lua
var claimSource string

//go:embed lua/sending.lua
var sendingSource string

//go:embed lua/finish.lua
var finishSource string

//go:embed lua/giveback.lua
var giveBackSource string

var (
	claimScript    = script(claimSource)
	sendingScript  = script(sendingSource)
	finishScript   = script(finishSource)
	giveBackScript = script(giveBackSource)
)

// claim implements state.Claim.
type claim struct {
	store  *Store
	owner  string // random, names the owner
	answer state.Answer
}

func (s *Store) answerKey(id string) string { return s.key("answer", id) }
func (s *Store) lockKey(id string) string   { return s.key("lock", id) }

// rateKey returns the name of the key that counts the claims for a CA.
func (s *Store) rateKey(server string) string {
	sum := sha256.Sum256([]byte(server))
	return s.key("rate", hex.EncodeToString(sum[:8]))
}

// Claim implements state.Store.
func (s *Store) Claim(p *state.Pending, challengeID, replyID string, now time.Time) (state.Claim, error) {
	c := &claim{store: s, owner: rand.Text(), answer: state.Answer{
		Version: state.Version, ID: p.ID, Phase: state.Claimed, Email: p.Email, Server: p.Server, Part1: p.Part1,
		MessageIDs: state.MessageIDs{Challenge: challengeID, Reply: replyID}, Claimed: now.UTC(),
	}}
	data, err := json.Marshal(&c.answer)
	if err != nil {
		return nil, err
	}
	keys := []string{s.answerKey(p.ID), s.lockKey(p.ID), s.key("answers"), s.key("rate"), s.rateKey(p.Server)}
	v, err := s.run(claimScript, keys, p.ID, c.owner, data, lockLife.Milliseconds(), countLife.Milliseconds(), s.pendingKey(p.Email), p.Server, state.Version, state.MaxRecord)
	if err != nil {
		return nil, err
	}
	if err := s.refused(p.ID, v); err != nil {
		return nil, err
	}
	return c, nil
}

// refused turns the script's reply into an error.
func (s *Store) refused(id string, v any) error {
	reply, _ := v.([]any)
	word := func(i int) string {
		if i >= len(reply) {
			return ""
		}
		text, _ := reply[i].(string)
		return text
	}
	switch word(0) {
	case "ok":
		return nil
	case "busy":
		return state.ErrBusy
	case "gone":
		return state.ErrGone
	case "newer":
		return newer(s.answerKey(id), []byte(word(1)))
	case "done":
		a, err := state.ParseAnswer([]byte(word(2)))
		if err != nil {
			s.damaged(s.answerKey(id), err)
			a = &state.Answer{ID: id, Phase: state.Phase(word(1)), Reason: "the answer cannot be read"}
		}
		return &state.DoneError{Answer: a.Abandoned()}
	}
	return fmt.Errorf("%s: the script for claims answered %v", s.name, v)
}

// Sending implements state.Claim.
func (c *claim) Sending() error {
	c.answer.Phase = state.Sending
	data, err := json.Marshal(&c.answer)
	if err != nil {
		return err
	}
	v, err := c.store.run(sendingScript, c.keys(), c.owner, data, lockLife.Milliseconds())
	return lost(v, err)
}

// Sent implements state.Claim.
func (c *claim) Sent(now time.Time) error { return c.end(state.Sent, "", now) }

// Failed implements state.Claim.
func (c *claim) Failed(reason string, now time.Time) error { return c.end(state.Failed, reason, now) }

// Unknown implements state.Claim.
func (c *claim) Unknown(reason string, now time.Time) error {
	return c.end(state.Unknown, reason, now)
}

func (c *claim) keys() []string {
	return []string{c.store.answerKey(c.answer.ID), c.store.lockKey(c.answer.ID)}
}

// end records the outcome. It must not lose a reply that was sent, so it retries for some
// seconds while Redis is away.
func (c *claim) end(phase state.Phase, reason string, now time.Time) error {
	c.answer.Phase, c.answer.Reason, c.answer.Ended = phase, reason, now.UTC()
	data, err := json.Marshal(&c.answer)
	if err != nil {
		return err
	}
	s := c.store
	return patiently(mailPatience, func() error {
		return lost(s.run(finishScript, append(c.keys(), s.key("answers")), c.owner, string(phase), data, c.answer.ID, s.key("answers")))
	})
}

// GiveBack implements state.Claim.
func (c *claim) GiveBack() error {
	s := c.store
	_, err := s.run(giveBackScript, append(c.keys(), s.key("rate"), s.rateKey(c.answer.Server)), c.owner)
	return err
}

// lost returns the error of a script that found another owner.
func lost(v any, err error) error {
	if err == nil && v != int64(1) {
		return state.ErrLost
	}
	return err
}
