package issuer

import (
	"time"

	"postseal/state"
)

// learned is what a CA has taught us about itself. RFC 8823 leaves open when the
// challenge mail is sent, and posting too early is fatal at some CAs.
type learned struct {
	// MailAfterPost: the mail comes only after POST {} to the challenge.
	MailAfterPost bool `json:"mail-after-post,omitempty"`
	// Settle is the pause between reply and POST, longer than the default after
	// an authorization that turned invalid at once.
	Settle Duration `json:"settle,omitempty"`
}

const (
	maxSettle = 2 * time.Minute
	// tooSoon: an authorization that turns invalid so soon after the POST was
	// looked at before the reply had arrived.
	tooSoon = 30 * time.Second
)

func (a *account) learned() learned {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.file.Learned
}

// learn changes what is known and writes it down. That it cannot be written is
// no reason to fail an order.
func (i *Issuer) learn(a *account, change func(*learned)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.file.Learned
	change(&a.file.Learned)
	if a.file.Learned == before {
		return
	}
	if err := a.save(); err != nil {
		i.step(StepNote, "", "", "what this CA taught could not be written down: "+err.Error())
	}
}

// learnValid: no mail came for long, then we posted, then it came. One that was
// posted to at once teaches nothing: the mail might have come all the same.
func (r *run) learnValid(c *challenge, a *state.Answer) {
	if a == nil || c.Posted.IsZero() || !a.Claimed.After(c.Posted) || c.Posted.Sub(r.order.Created) < r.i.Timing.Hint {
		return
	}
	r.i.learn(r.ca.current(), func(l *learned) { l.MailAfterPost = true })
}

// learnInvalid: either the mail had not to be asked for by posting, or the CA
// looked for the reply before it arrived.
func (r *run) learnInvalid(c *challenge, a *state.Answer, settle time.Duration) {
	if a == nil || c.Posted.IsZero() {
		return
	}
	r.i.learn(r.ca.current(), func(l *learned) {
		switch {
		case a.Claimed.After(c.Posted):
			l.MailAfterPost = false
		case r.i.now().Sub(c.Posted) < tooSoon:
			l.Settle = Duration(min(max(2*settle, defaultSettle), maxSettle))
		}
	})
}
