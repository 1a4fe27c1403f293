package issuer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"postseal/internal/failure"
	"postseal/internal/printable"
	"postseal/issuer/ca"
	"postseal/issuer/store"
	"postseal/state"
)

// watcher is the wait for one authorization to become valid: for the mail half's answer, for
// the time to POST, and for the CA.
type watcher struct {
	r       *run
	c       *store.Challenge
	trigger string
	pace    ca.Pace

	settle      time.Duration
	settleGiven bool   // it is a setting
	waited      bool   // the whole pause has passed
	endTrial    func() // nil unless the pause is shorter than the known one

	answer *state.Answer // the last one; nil until the mail arrives
	told   int           // reports of the mail half so far

	// Timers; nil ones do not run.
	poll    <-chan time.Time // look at the CA
	alone   <-chan time.Time // no mail half ever seen: say so
	nag     <-chan time.Time // no mail yet: say so
	early   <-chan time.Time // no mail for a long time: POST
	settled <-chan time.Time // the reply had time to arrive: POST
	doubt   <-chan time.Time // the reply probably never left: give up
}

// watch returns when the authorization is valid or dead, or the context ends.
func (r *run) watch(ctx context.Context, c *store.Challenge) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	v := &watcher{r: r, c: c, trigger: r.ca.Trigger(r.req.Trigger)}
	v.settle, v.settleGiven = r.ca.Settle(r.req.Settle)
	defer func() {
		if v.endTrial != nil {
			v.endTrial()
		}
	}()
	v.startTimers()
	r.announce(c)
	answers := make(chan *state.Answer)
	failed := make(chan error, 1)
	go func() { failed <- r.answers(ctx, c, answers) }()
	notes := make(chan *state.Note)
	if r.req.Interactive == nil { // reports of refusals and delays; the wait does not need them
		go follow(ctx, c.ID, r.i.Store.WaitNote, notes, func(*state.Note) bool { return false })
	}
	if v.trigger == "post" && c.Posted.IsZero() {
		if err := v.post(ctx); err != nil {
			return err
		}
	}
	return v.loop(ctx, answers, notes, failed)
}

func (r *run) announce(c *store.Challenge) {
	what := fmt.Sprintf("the challenge mail from %s to %s", c.From, c.Email)
	r.waitFor(what)
	if r.req.Interactive == nil {
		r.step(StepWait, c.Email, "waiting for %s; up to %s", what, store.Duration(r.req.Timeout))
	}
}

func (v *watcher) startTimers() {
	t := v.r.i.Timing
	v.poll = time.After(t.Slow)
	if !v.c.Posted.IsZero() || v.r.req.Interactive != nil {
		return
	}
	v.alone, v.nag = time.After(t.Alone), time.After(t.Hint)
	if v.trigger == "auto" {
		v.early = time.After(v.untilEarly())
	}
}

// afterResume is the least time before a run POSTs without a mail: it reads an answer that
// arrived between two runs.
const afterResume = time.Second

// untilEarly counts the patience from the order, so that it does not restart with each run of
// a command with a shorter timeout.
func (v *watcher) untilEarly() time.Duration {
	waited := max(0, v.r.i.Now().Sub(v.r.order.Created))
	return max(afterResume, v.r.i.Timing.Post-waited)
}

func (v *watcher) loop(ctx context.Context, answers <-chan *state.Answer, notes <-chan *state.Note, failed <-chan error) error {
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err = <-failed:
			if err == nil {
				failed = nil
			}
		case a := <-answers:
			v.answered(ctx, a)
		case n := <-notes:
			v.noted(n)
		case <-v.alone:
			v.missHalf()
		case <-v.nag:
			v.complain()
		case <-v.early:
			v.r.note(v.c.Email, "no challenge mail so far: telling the CA that it may look, since some mail only then")
			err = v.post(ctx)
		case <-v.settled:
			v.waited = true
			err = v.post(ctx)
		case <-v.doubt:
			return v.giveUp(ctx)
		case <-v.poll:
			var done bool
			if done, err = v.look(ctx); done {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// answers passes on the answers of the mail half, or of the person at the terminal.
func (r *run) answers(ctx context.Context, c *store.Challenge, to chan<- *state.Answer) error {
	if r.req.Interactive != nil {
		return r.askPerson(ctx, c, to)
	}
	err := follow(ctx, c.ID, r.i.Store.WaitAnswer, to, func(a *state.Answer) bool { return a.Phase == state.Sent })
	if state.Newer(err) != nil {
		return r.i.storeError(err)
	}
	return err
}

// follow passes on each change in what the mail half writes about a challenge, to the last.
func follow[T any](ctx context.Context, id string, wait func(context.Context, string, *T) (*T, error),
	to chan<- *T, last func(*T) bool) error {
	var seen *T
	for {
		said, err := wait(ctx, id, seen)
		if err != nil {
			return err
		}
		select {
		case to <- said:
		case <-ctx.Done():
			return ctx.Err()
		}
		if last(said) {
			return nil
		}
		seen = said
	}
}

// answered continues after the mail half's answer. It reports a failure at once, but goes on
// waiting, since a later delivery may try again.
func (v *watcher) answered(ctx context.Context, a *state.Answer) {
	switch a.Phase {
	case state.Failed:
		if v.enough() {
			return
		}
		v.r.note(v.c.Email, fmt.Sprintf("the reply for %s was refused by the mail server: %s", v.c.Email, a.Reason))
		v.r.hint(v.c.Email, "put that right; a repeated challenge mail is answered again")
		return
	case state.Unknown:
		v.r.note(v.c.Email, fmt.Sprintf("whether the reply for %s was sent is not known (%s): asking the CA", v.c.Email, a.Reason))
	default:
		v.r.step(StepAnswer, v.c.Email, "the reply for %s was sent", v.c.Email)
	}
	v.answer = a
	v.r.waitFor("the CA to look at the reply for " + v.c.Email)
	v.alone, v.nag, v.early = nil, nil, nil
	v.hurry()
	switch {
	case v.c.Posted.IsZero():
		v.tryShorter()
		v.settled = time.After(v.settle)
	case a.Phase == state.Unknown:
		v.doubtUntil(ctx, v.c.Posted)
	}
}

// tryShorter tries half of a pause that was long enough before.
func (v *watcher) tryShorter() {
	if v.settleGiven || v.answer.Phase != state.Sent {
		return
	}
	if pause, end := v.r.ca.Trial(); end != nil {
		v.endTrial, v.settle = end, pause
	}
}

// noted reports a mail that was refused or put off. Anybody may have sent it.
func (v *watcher) noted(n *state.Note) {
	if v.answer != nil {
		return
	}
	v.alone = nil
	if v.enough() {
		return
	}
	if n.Verdict == "later" {
		v.r.note(v.c.Email, fmt.Sprintf("a challenge mail for %s was put off: %s", v.c.Email, n.Reason))
		v.r.hint(v.c.Email, "put that right; the mail is delivered again after some minutes")
		return
	}
	v.r.note(v.c.Email, fmt.Sprintf("a challenge mail for %s was not answered but delivered: %s", v.c.Email, n.Reason))
	v.r.hint(v.c.Email, failure.AnswerByHand)
}

// mostTold bounds the reports of the mail half, which somebody may have taken over, about one
// challenge.
const mostTold = 20

// enough counts the reports, and says once that it drops further ones.
func (v *watcher) enough() bool {
	if v.told++; v.told == mostTold+1 {
		v.r.note(v.c.Email, fmt.Sprintf("more than %d mails for %s were not answered: the others are not told", mostTold, v.c.Email))
	}
	return v.told > mostTold
}

// missHalf reports, once for all orders, that no mail half was ever seen.
func (v *watcher) missHalf() {
	store := v.r.i.Store
	halves, err := store.MailHalves()
	if err != nil || len(halves) > 0 {
		return
	}
	if answers, err := store.Answers(1); err != nil || len(answers) > 0 {
		return
	}
	if notes, err := store.Notes(v.r.challengeIDs()); err != nil || len(notes) > 0 {
		return
	}
	v.r.i.alone.Do(func() {
		v.r.note(v.c.Email, "nothing that could answer was ever seen here: no postseal-milter runs with this state, and postseal-pipe had no challenge yet")
		v.r.hint(v.c.Email, failure.CheckMailHalf)
	})
}

func (r *run) challengeIDs() (ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.order.Challenges {
		ids = append(ids, c.ID)
	}
	return ids
}

// hurry starts to look at the CA often.
func (v *watcher) hurry() {
	v.pace = ca.Pace{}
	v.poll = time.After(v.pace.Next(0))
}

func (v *watcher) complain() {
	v.r.note(v.c.Email, fmt.Sprintf("no challenge mail for %s after %s", v.c.Email, store.Duration(v.r.i.Timing.Hint)))
	v.r.hint(v.c.Email, failure.TriggerPost)
}

// post tells the CA to look (RFC 8823, Section 3, item 7), once.
func (v *watcher) post(ctx context.Context) error {
	if !v.c.Posted.IsZero() {
		return nil
	}
	v.early = nil
	posted := v.r.i.Now().UTC() // before: the mail may arrive before the CA's answer
	err := v.r.ca.Accept(ctx, v.c.URL)
	if p, ok := ca.ProblemOf(err); ok && p.Status < 500 {
		// It may be valid or invalid already, as the next look shows.
		v.r.note(v.c.Email, "the CA did not take the POST: "+ca.Describe(p))
		err = nil
	}
	if err != nil {
		return err
	}
	v.r.step(StepPost, v.c.Email, "told the CA to look at the reply for %s", v.c.Email)
	if v.answer != nil {
		v.hurry()
		if v.answer.Phase == state.Unknown {
			v.doubtUntil(ctx, posted)
		}
	}
	return v.r.update(func(*store.Order) { v.c.Posted = posted })
}

// look asks the CA for the state of the authorization.
func (v *watcher) look(ctx context.Context) (done bool, err error) {
	authz, after, err := v.r.ca.Look(ctx, v.c.Authz)
	v.poll = time.After(v.nextLook(after))
	switch {
	case err != nil:
		return true, err
	case authz.Status == acme.StatusPending:
		return false, nil
	case authz.Status == acme.StatusValid:
		return true, v.valid()
	}
	reason := ""
	if problem, said := ca.Problem(authz); said {
		reason = ca.Describe(problem)
	}
	tooEarly := v.learn(false, reason)
	err = v.r.authzError(v.c, authz)
	if dead, ok := errors.AsType[*deadOrder](err); ok && v.answer != nil && (v.answer.Phase == state.Unknown || v.endTrial != nil && tooEarly) {
		dead.again = true // the reply never arrived, or we POSTed early on purpose
	}
	return true, err
}

// nextLook returns the next pause. Until a mail arrives there is no hurry; a reply that
// somebody sent by hand shows only at the CA.
func (v *watcher) nextLook(after time.Duration) time.Duration {
	if v.answer == nil {
		return max(v.r.i.Timing.Slow, after)
	}
	return v.pace.Next(after)
}

func (v *watcher) valid() error {
	v.learn(true, "")
	v.r.step(StepValid, v.c.Email, "the CA accepted the reply for %s", v.c.Email)
	v.r.mu.Lock()
	defer v.r.mu.Unlock()
	v.c.Valid = true
	v.r.unrecord(v.c)
	return nil
}

// doubtShare is the part of the remaining time that a reply in doubt may take: another order,
// with its mail, has to fit into the rest.
const doubtShare = 3

// doubtUntil gives a reply that may never have left some time to arrive, counted from the
// POST, whichever run made that.
func (v *watcher) doubtUntil(ctx context.Context, posted time.Time) {
	patience := v.r.i.Timing.Doubt - max(0, v.r.i.Now().Sub(posted))
	if end, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(end)/doubtShare)
	}
	v.doubt = time.After(patience)
}

// giveUp ends an order whose reply has not arrived, unless the CA now says that it has.
func (v *watcher) giveUp(ctx context.Context) error {
	if done, err := v.look(ctx); done || err != nil {
		return err
	}
	return &deadOrder{fmt.Errorf("the reply for %s was lost: %s", v.c.Email, v.answer.Reason), true}
}

// learn records the end of an authorization with the CA's account, and reports whether the CA
// looked too early. An error in recording it does not fail an order.
func (v *watcher) learn(valid bool, reason string) (tooEarly bool) {
	r := v.r
	o := ca.Outcome{
		Valid: valid, Reason: reason, Ordered: r.order.Created, Posted: v.c.Posted, Ended: r.i.Now(),
		Settle: -1, Given: v.settleGiven, Join: r.ca.Join(r.req.TokenJoin), Patience: r.i.Timing.Post,
	}
	if v.answer != nil {
		o.Mailed = v.answer.Claimed
	}
	if v.waited {
		o.Settle = v.settle
	}
	tooEarly, err := r.ca.Learn(o)
	if err != nil {
		r.note("", fmt.Sprintf("what this CA taught could not be written down: %v", err))
	}
	return tooEarly
}

// authzError returns the error of a failed authorization.
func (r *run) authzError(c *store.Challenge, authz acme.Authorization) error {
	if authz.Status != acme.StatusInvalid {
		return &deadOrder{fmt.Errorf("the authorization for %s is %s", c.Email, printable.Line(authz.Status, ca.MaxWord)), true}
	}
	says := "the CA does not say why"
	problem, said := ca.Problem(authz)
	if said {
		says = "the CA says " + ca.Describe(problem)
	}
	return &deadOrder{failure.Failed(r.authzHint(c, problem), "the authorization for %s is invalid: %s", c.Email, says), false}
}

// authzHint returns the next step for the CA's reason; "" if we know none.
func (r *run) authzHint(c *store.Challenge, p acme.Problem) string {
	a, err := r.i.Store.Answer(c.ID)
	known := err == nil && a != nil
	answered := known && a.Phase == state.Sent || r.req.Interactive != nil
	tooEarly := p.Detail == "" || ca.SawNoReply(p.Detail)
	switch {
	case ca.BlamesSignature(p.Detail):
		return failure.CheckSignature
	case tooEarly && r.ca.Trigger(r.req.Trigger) == "post" && (!known || a.Claimed.After(c.Posted)):
		return failure.TriggerReply
	case !answered:
		return failure.SeeWhatCame
	case ca.SawNoReply(p.Detail):
		return "the reply may have been late: order again, and the wait before the CA is told is longer"
	case p.Detail == "" || ca.BlamesDigest(p.Detail):
		if r.ca.Join(r.req.TokenJoin) == "bytes" {
			return failure.JoinString
		}
		return failure.JoinBytes
	}
	return ca.Hint(p)
}
