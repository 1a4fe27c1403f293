package testca

import (
	"encoding/base64"
	"net/http"
	"strings"
	"time"
)

// authz is an authorization (RFC 8555, Section 7.1.4) together with its only
// challenge, email-reply-00 (RFC 8823, Section 3), which shares its id. Its
// fields are guarded by CA.mu; those up to part1 never change.
type authz struct {
	id      string
	account *account
	ident   identifier
	from    string // whom the challenge mail is from
	token   string // token-part2
	part1   string // token-part1; goes by mail only

	status    string
	expires   time.Time
	validated time.Time
	problem   *problem
	mailed    bool
	messageID string // of the challenge mail; "" when it has none
	posted    bool   // POST {} was seen
	reply     *verdict
	timer     *time.Timer // ends the wait for a reply
}

// state is the authorization's status, by now perhaps expired.
func (a *authz) state() string {
	if a.status != statusInvalid && a.status != statusDeactivated && time.Now().After(a.expires) {
		return statusExpired
	}
	return a.status
}

type authzJSON struct {
	Identifier identifier      `json:"identifier"`
	Status     string          `json:"status"`
	Expires    time.Time       `json:"expires"`
	Challenges []challengeJSON `json:"challenges"`
}

type challengeJSON struct {
	Type      string     `json:"type"`
	URL       string     `json:"url"`
	Status    string     `json:"status"`
	From      string     `json:"from"`
	Token     string     `json:"token"`
	Validated *time.Time `json:"validated,omitempty"`
	Error     *problem   `json:"error,omitempty"`
}

func (ca *CA) authzJSON(a *authz) authzJSON {
	return authzJSON{a.ident, a.state(), a.expires, []challengeJSON{ca.challengeJSON(a)}}
}

// challengeJSON renders the challenge of RFC 8823, Section 3, item 3.
func (ca *CA) challengeJSON(a *authz) challengeJSON {
	c := challengeJSON{
		Type: "email-reply-00", URL: ca.url(kindChallenge, a.id),
		Status: ca.challengeStatus(a), From: a.from, Token: a.token,
	}
	if a.status == statusValid {
		c.Validated = &a.validated
	}
	if !ca.cfg.MuteErrors {
		c.Error = a.problem
	}
	return c
}

func (ca *CA) challengeStatus(a *authz) string {
	switch {
	case a.status == statusValid || a.status == statusInvalid:
		return a.status
	case a.posted && a.status == statusPending && ca.cfg.PostAnswer == "":
		return statusProcessing
	case a.posted && a.status == statusPending:
		return ca.cfg.PostAnswer
	}
	return statusPending
}

// authzFor makes the authorization of one identifier of a new order, or finds
// one to reuse. CA.mu is held.
func (ca *CA) authzFor(acct *account, id identifier) *authz {
	if old := acct.valid[id]; old != nil && ca.cfg.ReuseAuthz && old.state() == statusValid {
		return old
	}
	a := &authz{
		id: randomID(9), account: acct, ident: id, from: ca.fromAddress(),
		token: randomID(16), part1: ca.newPart1(),
		status: statusPending, expires: expiry(ca.cfg.AuthzLifetime),
	}
	if ca.cfg.AlwaysReady {
		a.status, a.validated = statusValid, expiry(0)
	}
	ca.authzs[a.id] = a
	ca.byPart1[a.part1] = a
	return a
}

// newPart1 makes a token-part1. The RFC's own example has padding, so some
// CAs send it.
func (ca *CA) newPart1() string {
	part1 := randomID(ca.cfg.Part1Bytes)
	if ca.cfg.PadPart1 {
		part1 += strings.Repeat("=", (4-len(part1)%4)%4)
	}
	return part1
}

func (ca *CA) fromAddress() string {
	if ca.cfg.SharedFrom {
		return "acme-challenge@" + ca.cfg.Domain
	}
	return "acme-challenge+" + strings.ToLower(randomAlnum(13)) + "@" + ca.cfg.Domain
}

// ownAuthz finds the authorization a URL names, for its owner. CA.mu is held.
func (ca *CA) ownAuthz(r *request) (*authz, error) {
	acct, err := ca.caller(r)
	if err != nil {
		return nil, err
	}
	a := ca.authzs[r.PathValue("id")]
	if a == nil {
		return nil, notFound("authorization")
	}
	if a.account != acct {
		return nil, unauthorized("this is another account's authorization")
	}
	return a, nil
}

// authzResource reads an authorization, which may set off the challenge mail
// (RFC 8823, Section 3, item 4), or deactivates it (RFC 8555, Section 7.5.2).
func (ca *CA) authzResource(r *request) (*answer, error) {
	var req struct {
		Status string `json:"status"`
	}
	if !r.postAsGet() {
		if err := r.decode(&req); err != nil {
			return nil, err
		}
		if req.Status != statusDeactivated {
			return nil, malformed("an authorization can only be made %q", statusDeactivated)
		}
	}
	ca.mu.Lock()
	a, err := ca.ownAuthz(r)
	if err != nil {
		ca.mu.Unlock()
		return nil, err
	}
	var mails []*challengeMail
	if req.Status != "" {
		ca.deactivate(a)
	} else if ca.cfg.MailTrigger == MailOnAuthz {
		mails = ca.mailOnce(a)
	}
	res := ca.pollAnswer(a, ok(ca.authzJSON(a)))
	ca.mu.Unlock()
	for _, m := range mails {
		ca.post(m)
	}
	return res, nil
}

// pollAnswer adds Retry-After while a validation is under way (RFC 8555,
// Section 7.5.1).
func (ca *CA) pollAnswer(a *authz, res *answer) *answer {
	if a.posted && a.status == statusPending && ca.cfg.RetryAfter > 0 {
		res.with("Retry-After", retryAfter(ca.cfg.RetryAfter))
	}
	return res
}

func (ca *CA) deactivate(a *authz) {
	ca.stopWaiting(a)
	if s := a.state(); s == statusPending || s == statusValid {
		a.status = statusDeactivated
	}
}

// challengeResource reads a challenge, or is told to look for the reply
// (RFC 8823, Section 3, item 7).
func (ca *CA) challengeResource(r *request) (*answer, error) {
	if !r.postAsGet() {
		if err := r.decode(&struct{}{}); err != nil {
			return nil, err
		}
	}
	ca.mu.Lock()
	a, err := ca.ownAuthz(r)
	if err != nil {
		ca.mu.Unlock()
		return nil, err
	}
	var after afterwards
	if !r.postAsGet() {
		after = ca.postChallenge(a)
	}
	body := ca.challengeJSON(a)
	if !r.postAsGet() && ca.cfg.PostAnswer != "" {
		body.Status, body.Validated, body.Error = ca.cfg.PostAnswer, nil, nil
	}
	res := ca.pollAnswer(a, ok(body)).with("Link", `<`+ca.url(kindAuthz, a.id)+`>;rel="up"`)
	ca.mu.Unlock()
	after.run(ca)
	return res, nil
}

// afterwards is what must be done without the lock: mails to post and events
// to tell.
type afterwards struct {
	mails  []*challengeMail
	events []Event
}

func (w afterwards) run(ca *CA) {
	for _, e := range w.events {
		ca.journal.emit(e)
	}
	for _, m := range w.mails {
		ca.post(m)
	}
}

// postChallenge notes a POST {} and looks for the reply. CA.mu is held.
func (ca *CA) postChallenge(a *authz) (after afterwards) {
	if a.state() != statusPending || a.posted {
		return after
	}
	a.posted = true
	after.events = []Event{{Kind: EventPosted, URL: ca.url(kindChallenge, a.id)}}
	if ca.cfg.MailTrigger == MailOnPost {
		after.mails = ca.mailOnce(a)
	}
	if ca.cfg.Serial {
		ca.loseOtherReplies(a)
	}
	after.events = append(after.events, ca.settle(a)...)
	return after
}

// loseOtherReplies is what a CA does that looks for one reply among all
// unread mail and leaves all of it marked as read. CA.mu is held.
func (ca *CA) loseOtherReplies(a *authz) {
	for other := range ca.unread {
		if other != a {
			other.reply = nil
			delete(ca.unread, other)
		}
	}
}

// settle draws the conclusion from the reply and the POST, as far as they are
// there. CA.mu is held.
func (ca *CA) settle(a *authz) []Event {
	if a.state() != statusPending {
		return nil
	}
	switch {
	case a.reply != nil && a.reply.kind == VerdictBad:
		return ca.invalidate(a, a.reply.reason)
	case a.reply != nil && (a.posted || ca.cfg.Validate == ValidateOnArrival):
		return ca.makeValid(a)
	case a.posted && ca.cfg.Validate == ValidateOnPost && a.timer == nil:
		a.timer = time.AfterFunc(ca.cfg.ReplyWait, func() { ca.giveUp(a) })
		ca.waiting[a] = struct{}{}
	}
	return nil
}

// giveUp ends the wait for a reply: the authorization is invalid for good.
func (ca *CA) giveUp(a *authz) {
	ca.mu.Lock()
	var events []Event
	if a.state() == statusPending && ca.ctx.Err() == nil {
		events = ca.invalidate(a, "no reply had arrived "+ca.cfg.ReplyWait.String()+" after the challenge was posted")
	}
	ca.mu.Unlock()
	afterwards{events: events}.run(ca)
}

// stopWaiting forgets a timer and an unread reply. CA.mu is held.
func (ca *CA) stopWaiting(a *authz) {
	if a.timer != nil {
		a.timer.Stop()
	}
	delete(ca.waiting, a)
	delete(ca.unread, a)
}

func (ca *CA) invalidate(a *authz, reason string) []Event {
	ca.stopWaiting(a)
	a.status = statusInvalid
	a.problem = problemf(http.StatusForbidden, "incorrectResponse", "%s", reason)
	return []Event{{Kind: EventInvalid, URL: ca.url(kindAuthz, a.id), Identifiers: []string{a.ident.Value}, Reason: reason}}
}

func (ca *CA) makeValid(a *authz) []Event {
	ca.stopWaiting(a)
	a.status, a.validated = statusValid, expiry(0)
	a.account.valid[a.ident] = a
	return []Event{{Kind: EventValidated, URL: ca.url(kindAuthz, a.id), Identifiers: []string{a.ident.Value}}}
}

func encode64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// decode64 reads base64url with or without padding; what is neither is empty.
func decode64(s string) []byte {
	b, _ := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	return b
}
