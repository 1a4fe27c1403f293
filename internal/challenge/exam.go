package challenge

import (
	"context"
	"errors"
	"net/mail"
	"slices"
	"strings"
	"time"

	"postseal/state"
)

// grace allows for clocks that differ.
const grace = 5 * time.Minute

// exam is the examination of one message with a challenge's Subject. Each check adds its
// findings; none relies on a check after it.
type exam struct {
	r       *Responder
	ctx     context.Context
	m       *message
	explain bool // run every check, wait for nothing

	pool    []*state.Pending // the orders that wait at the addresses of the message
	record  *state.Pending   // the order that waits for this one
	from    string
	to      string
	replyTo string // where the reply goes
	part1   string

	signatures []*signature // by the domain of From
	others     []string     // the domains of all other signatures

	cover   coverage
	detail  string // findings of the current check
	skipped bool   // the current check was not made, and detail says why
}

// check is one rule of the package. The cheapest come first, and DNS comes only after all
// that need none.
type check struct {
	name string
	run  func(*exam) error
}

var checks = []check{
	{"size", (*exam).checkSize},
	{"header fields", (*exam).checkHeader},
	{"To", (*exam).checkTo},
	{"From", (*exam).checkFrom},
	{"token-part1", (*exam).checkSubject},
	{"pending order", (*exam).checkRecord},
	{"signature", (*exam).checkGenuine},
	{"Reply-To", (*exam).checkReplyTo},
	{"Date", (*exam).checkDate},
	{"Auto-Submitted", (*exam).checkAutoSubmitted},
}

// run makes the checks. It returns the first error; it makes the other checks only for
// --explain.
func (x *exam) run() (results []Check, first error) {
	for _, c := range checks {
		x.detail, x.skipped = "", false
		err := c.run(x)
		results = append(results, x.result(c.name, err))
		if first == nil {
			first = err
		}
		if err != nil && !x.explain {
			break
		}
	}
	return results, first
}

func (x *exam) result(name string, err error) Check {
	switch {
	case err == nil && x.skipped:
		return Check{name, NotMade, x.detail}
	case err == nil:
		return Check{name, Passed, x.detail}
	case errors.As(err, new(*unmade)), errors.As(err, new(*postponed)):
		return Check{name, NotMade, err.Error()}
	}
	return Check{name, Failed, err.Error()}
}

// skip records why the exam does not make an optional check.
func (x *exam) skip(why string) error {
	x.detail, x.skipped = why, true
	return nil
}

// findPool finds the orders that wait at the addresses in To. It ignores the envelope: a
// stranger writes that, and could have a challenge to his own address answered in place of
// ours (RFC 8823, Section 3.1, item 3).
func (x *exam) findPool() error {
	to := slices.DeleteFunc(x.toAddresses(), func(addr string) bool { return !legalAddress(addr) })
	pool, err := x.r.State.PendingAny(to, x.r.now())
	if err != nil {
		return postpone("the state cannot be read: %v", err)
	}
	x.pool = pool
	return nil
}

func (x *exam) toAddresses() []string {
	var all []string
	for _, value := range x.m.values("to") {
		list, _ := mailboxes(value) // checkTo refuses anything that is not an address
		all = append(all, list...)
	}
	return all[:min(len(all), maxMailboxes)]
}

func (x *exam) checkSize() error {
	if x.m.tooLarge() {
		return refuse("the message is larger than %d bytes", MaxMessage)
	}
	return nil
}

func (x *exam) checkHeader() error { return x.m.checkFields() }

// checkTo enforces RFC 8823, Section 3.1, item 3, as far as the message alone shows.
func (x *exam) checkTo() (err error) {
	x.to, err = x.mailbox("To")
	return err
}

func (x *exam) checkFrom() (err error) {
	x.from, err = x.mailbox("From")
	return err
}

func (x *exam) mailbox(name string) (addr string, err error) {
	if !x.m.has(strings.ToLower(name)) {
		return "", &unmade{"the header has none"} // an earlier check says so
	}
	addr, err = oneMailbox(name, x.m.value(strings.ToLower(name)))
	x.detail = addr
	return addr, err
}

func (x *exam) checkSubject() (err error) {
	x.part1, err = tokenPart1(x.m.value("subject"))
	if err == nil {
		x.detail = x.part1
	}
	return err
}

// checkRecord finds the one order to which this challenge belongs, by the From that the CA
// announced (RFC 8823, Section 3.1, item 2).
func (x *exam) checkRecord() error {
	switch {
	case x.from == "":
		return &unmade{"From is not known"}
	case x.to == "" && len(x.pool) == 0:
		return &unmade{"To is not known"}
	}
	err := x.matchFrom()
	if !errors.As(err, new(*postponed)) || x.explain {
		return err
	}
	if err := x.waitToken(); err != nil {
		return err
	}
	return x.matchFrom()
}

func (x *exam) matchFrom() error {
	var match []*state.Pending
	ordering := false
	for _, p := range x.pool {
		ordering = ordering || p.Ordering()
		if !p.Ordering() && state.Key(p.From) == state.Key(x.from) {
			match = append(match, p)
		}
	}
	switch {
	case len(match) == 1:
		return x.accept(match[0])
	case len(match) > 1:
		return refuse("%d orders wait for a challenge from %s to %s and cannot be told apart", len(match), x.from, x.to)
	case ordering:
		return postpone("the order has not been answered by the CA yet")
	case len(x.pool) == 0:
		return refuse("nobody waits for a challenge to %s", x.to)
	}
	return refuse("From is %s, but the challenge must come from %s", x.from, x.pool[0].From)
}

// accept takes a record if an answer is possible at all. It refuses any other, which would
// otherwise be put off for ever.
func (x *exam) accept(p *state.Pending) error {
	x.record = p
	x.detail = p.Email + " at " + p.Server
	if !legalAddress(p.Email) {
		return refuse("%s is not an address that mail can come from", printable(p.Email))
	}
	if _, err := p.Digest(x.part1); err != nil {
		return refuse("%v", err)
	}
	return nil
}

// waitToken waits while the issuing half reads the authorizations: a CA may mail the
// challenge before it answers the order.
func (x *exam) waitToken() error {
	ctx, cancel := context.WithTimeout(x.ctx, x.r.tokenWait())
	defer cancel()
	pool, err := x.r.State.WaitToken(ctx, []string{x.to}, x.r.now)
	if err != nil {
		return postpone("the order has not been answered by the CA yet")
	}
	x.pool = pool
	return nil
}

// checkReplyTo enforces RFC 8823, Section 3.2, item 3, and rule 6: a reply that leaves the
// CA's domain is a reply to somebody else.
func (x *exam) checkReplyTo() (err error) {
	x.replyTo = x.from
	if !x.m.has("reply-to") {
		x.detail = "absent"
		return nil
	}
	if x.cover.by == "" {
		return errUnsigned
	}
	if err := x.cover.need("reply-to"); err != nil {
		return err
	}
	if x.replyTo, err = oneMailbox("Reply-To", x.m.value("reply-to")); err != nil {
		return err
	}
	x.detail = x.replyTo
	if !within(domainOf(x.replyTo), domainOf(x.from)) {
		return refuse("Reply-To %s is outside the domain of From", x.replyTo)
	}
	return nil
}

// errUnsigned is the error of a check of a field that no signature covers.
var errUnsigned = &unmade{"no signature vouches for it"}

// checkDate refuses the challenge of an earlier order. A date that is unsigned or unreadable
// counts as absent.
func (x *exam) checkDate() error {
	value := x.value("date")
	date, err := mail.ParseDate(value)
	switch {
	case value == "":
		return x.skip("absent")
	case x.cover.by == "":
		return errUnsigned
	case err != nil:
		return x.skip("unreadable, which counts as absent")
	case !x.cover.has("date"):
		return x.skip("not signed, which counts as absent")
	case x.record == nil:
		return &unmade{"there is no order to compare it with"}
	}
	x.detail = date.Format(time.RFC3339)
	created := x.record.Created
	if now := x.r.now(); now.Before(created) {
		created = now // somebody has set the clock back since
	}
	if date.Before(created.Add(-grace)) {
		return refuse("the challenge is dated %s, before the order of %s",
			date.UTC().Format(time.RFC3339), x.record.Created.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkAutoSubmitted enforces RFC 8823, Section 3.1, item 5.
func (x *exam) checkAutoSubmitted() error {
	if x.policy().AutoSubmitted == "ignore" {
		return x.skip("the policy of this CA does not ask for it")
	}
	value := x.value("auto-submitted")
	x.detail = printable(value)
	switch {
	case value == "":
		return refuse("the message has no Auto-Submitted")
	case x.cover.by == "" && autoGenerated(value):
		return errUnsigned
	case x.cover.by != "" && !x.cover.has("auto-submitted"):
		return refuse("%s does not cover Auto-Submitted", x.cover.by)
	case !autoGenerated(value):
		return refuse("Auto-Submitted is %q, not auto-generated", printable(value))
	}
	return nil
}

// autoGenerated reads the keyword in front of the parameters (RFC 3834, Section 5).
func autoGenerated(value string) bool {
	value, ok := plain(value)
	keyword, _, _ := strings.Cut(value, ";")
	return ok && strings.EqualFold(strings.TrimSpace(keyword), "auto-generated")
}

// policy returns the order's policy, or the default until an order is found.
func (x *exam) policy() state.Policy {
	if x.record == nil {
		return state.Policy{}
	}
	return x.record.Policy
}
