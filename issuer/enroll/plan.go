package enroll

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"postseal/internal/failure"
	"postseal/state"
)

// State is what there is of an address and kind.
type State int

// The states.
const (
	Certificate State = iota + 1 // valid, or due
	Expired                      // left to "renew" all the same
	Shared                       // a certificate that names other addresses, too; it is not revoked with one of them
	Revoked
	InFlight // an order, and no certificate
)

// Held is what an address has of one kind.
type Held struct {
	Kind  string
	State State
}

// Holdings is what addresses have, by their state.Key. What cannot be read counts as a
// Certificate: it must not be ordered twice. A renewal in flight stands behind its
// certificate.
type Holdings map[string][]Held

// Action is what a Step does.
type Action string

// The actions. The first ones are done; the others only say why nothing is.
const (
	ActionResume   Action = "resume" // an order
	ActionOrder    Action = "order"
	ActionRevoke   Action = "revoke"
	ActionCancel   Action = "cancel"   // an order of somebody who has left
	ActionLeave    Action = "leave"    // no longer renew; the memory says so, nothing else is to be done
	ActionWait     Action = "wait"     // for a later run
	ActionGone     Action = "gone"     // within the grace, or kept
	ActionLeft     Action = "left"     // in an earlier run
	ActionExcluded Action = "excluded" // by a pattern
	ActionHas      Action = "has"      // a certificate: left to "renew"
)

// actions has all, in the order of a plan.
var actions = []Action{ActionResume, ActionOrder, ActionRevoke, ActionCancel, ActionLeave, ActionWait, ActionGone, ActionLeft, ActionExcluded, ActionHas}

// Does reports whether there is something to be done, or done by the new memory.
func (a Action) Does() bool { return slices.Index(actions, a) <= slices.Index(actions, ActionLeave) }

// Step is what is done about an address and kind, and why.
type Step struct {
	Address string `json:"address"`
	Kind    string `json:"kind"`
	Action  Action `json:"action"`
	Why     string `json:"why"`
}

// AcceptGone is the advice, in words that belong to no program, where a source has lost too
// many addresses, or all.
const AcceptGone = "nothing of this table was changed: put its source right, or accept what is missing, once"

const reasonHas = "has a certificate, left to renew"

// early is how long before its time a failed order is tried again: a daily timer does not
// fire at the same second.
const early = time.Hour

// Plan says what a run does about a table that was checked, and returns the memory to be
// saved before the first step. accept accepts a list that has lost more than max-gone, or
// all. With an error (kind Failed) nothing of the table is changed. m is left as it is.
func Plan(now time.Time, t Table, accept bool, list Source, m Memory, have Holdings) (Memory, []Step, error) {
	if len(list.Addresses)+len(list.Excluded) == 0 && !accept {
		return m, nil, empty(t, list)
	}
	p := &plan{now: At(now), table: t, have: have, steps: make([]Step, 0, len(list.Addresses)*len(t.Kinds))}
	p.next = Memory{t.Domain, p.now, make([]Entry, 0, max(len(list.Addresses), len(m.Entries)))}
	p.merge(list, m)
	if !accept && !t.maxGone.allows(p.missing, p.before) {
		return m, nil, failure.Failed(AcceptGone, "source of %s: %d of the %d addresses of %s are missing, and max-gone is %s",
			t.Domain, p.missing, p.before, m.Accepted, t.MaxGone)
	}
	p.schedule()
	rank := func(s Step) int { return slices.Index(actions, s.Action) }
	slices.SortStableFunc(p.steps, func(a, b Step) int { return rank(a) - rank(b) })
	return p.next, p.steps, nil
}

func empty(t Table, list Source) error {
	has := "it is empty"
	if list.Lines > 0 {
		has = fmt.Sprintf("it has no address of this domain in %s (%s)", count(list.Lines, "line", "lines"), list.Counts)
	}
	return failure.Failed(AcceptGone, "source of %s: %s", t.Domain, has)
}

// plan is a plan as it is made.
type plan struct {
	now             Moment
	table           Table
	have            Holdings
	next            Memory
	before, missing int // addresses of the last accepted list, and those that are not in this one
	wanted          []want
	steps           []Step
}

// want is an address and kind to order for.
type want struct {
	addr, kind string
	since      Moment // it waits, or may be tried again
	try        Try
	revoked    bool
}

func (p *plan) step(addr, kind string, a Action, why string) {
	p.steps = append(p.steps, Step{addr, kind, a, why})
}

// merge goes through the list and the memory, both sorted, and decides on each address.
func (p *plan) merge(list Source, m Memory) {
	excluded := keysOf(list.Excluded)
	for _, addr := range list.Excluded {
		p.step(addr, "", ActionExcluded, "matches a pattern of exclude; what it has is left to renew")
	}
	rest := m.Entries
	for _, addr := range list.Addresses {
		key := state.Key(addr)
		for len(rest) > 0 && rest[0].Address < key {
			p.absent(rest[0], excluded)
			rest = rest[1:]
		}
		e := Entry{Address: key}
		if len(rest) > 0 && rest[0].Address == key {
			e, rest = rest[0], rest[1:]
			if e.Gone == 0 {
				p.before++
			}
		}
		p.present(addr, e)
	}
	for _, e := range rest {
		p.absent(e, excluded)
	}
}

func keysOf(addrs []string) map[string]bool {
	keys := make(map[string]bool, len(addrs))
	for _, addr := range addrs {
		keys[state.Key(addr)] = true
	}
	return keys
}

// present decides on an address that is in the list.
func (p *plan) present(addr string, e Entry) {
	if e.Left != 0 { // as if it were new
		e = Entry{Address: e.Address}
	}
	e.Gone = 0
	e.Tries = slices.Clone(e.Tries)
	e.lacks = 0
	for _, kind := range p.table.Kinds {
		switch what := p.have.state(e.Address, kind); what {
		case Certificate, Expired, Shared:
			e.forget(kind)
			p.step(addr, kind, ActionHas, reasonHas)
		case InFlight:
			e.lacks++
			p.resume(addr, kind, e.tried(kind))
		default:
			e.lacks++
			p.want(addr, kind, &e, what == Revoked)
		}
	}
	if e.lacks == 0 {
		e.Wanted = 0
	}
	e.Tries = slices.DeleteFunc(e.Tries, func(t Try) bool { return !slices.Contains(p.table.Kinds, t.Kind) })
	p.keep(e)
}

func (p *plan) want(addr, kind string, e *Entry, revoked bool) {
	e.Wanted = cmp.Or(e.Wanted, p.now)
	w := want{addr: addr, kind: kind, since: e.Wanted, revoked: revoked}
	if w.try = e.tried(kind); w.try.Failures > 0 {
		w.since = w.try.Next
	}
	if !p.putsOff(addr, kind, w.try) {
		p.wanted = append(p.wanted, w)
	}
}

// resume goes on with an order, but not at each run with one that has waited for days.
func (p *plan) resume(addr, kind string, t Try) {
	if !p.putsOff(addr, kind, t) {
		p.step(addr, kind, ActionResume, "its order is in flight")
	}
}

// putsOff reports whether the next try is for a later run, and then says so.
func (p *plan) putsOff(addr, kind string, t Try) bool {
	later := t.Next > p.now.Add(early)
	if later {
		p.step(addr, kind, ActionWait, fmt.Sprintf("failed %s, tried again on %s: %s", times(t.Failures), t.Next, t.Error))
	}
	return later
}

func (t Try) failed() string { return fmt.Sprintf("failed %s: %s", times(t.Failures), t.Error) }

func (p *plan) keep(e Entry) { p.next.Entries = append(p.next.Entries, e) }

// absent decides on an address that is remembered and not in the list.
func (p *plan) absent(e Entry, excluded map[string]bool) {
	switch {
	case !p.table.takes(domainOf(e.Address)): // it waits for its own table to take it
		p.keep(e)
	case excluded[e.Address], p.table.excludes(e.Address) && e.Left == 0:
		p.keep(Entry{Address: e.Address})
	case p.table.excludes(e.Address): // a pattern brings nobody back who has left
		p.keep(Entry{Address: e.Address, Gone: e.Gone, Left: e.Left})
	default:
		if e.Gone == 0 {
			p.before++
			p.missing++
			e.Gone = p.now
		}
		p.gone(e)
	}
}

// gone decides on an address that is gone, since now or before.
func (p *plan) gone(e Entry) {
	end := e.Gone.Add(p.table.grace)
	held := p.have[e.Address]
	switch {
	case len(held) == 0 && end <= p.now:
		return
	case p.table.Gone == goneKeep:
		if e.Left = 0; end <= p.now {
			e.Wanted, e.Tries = 0, nil
		}
		p.step(e.Address, "", ActionGone, fmt.Sprintf("gone since %s, kept", e.Gone))
	case p.now < end:
		e.Left = 0
		p.step(e.Address, "", ActionGone, fmt.Sprintf("gone since %s, %s from %s on", e.Gone, p.table.fate(), end))
	default:
		first := e.Left == 0
		if first {
			e.Left, e.Wanted, e.Tries = p.now, 0, nil
		}
		e.Tries = slices.Clone(e.Tries)
		for _, h := range held {
			p.left(&e, h, first)
		}
	}
	p.keep(e)
}

// fate is what becomes of the certificates of leavers.
func (t *Table) fate() string {
	if t.Gone == goneRevoke {
		return "revoked"
	}
	return "no longer renewed"
}

// left decides on what somebody has who has left.
func (p *plan) left(e *Entry, h Held, first bool) {
	since := "gone since " + e.Gone.String()
	action, why := ActionLeft, since+", no longer renewed"
	switch {
	case h.State == InFlight:
		action, why = ActionCancel, since
	case h.State == Certificate && p.table.Gone == goneRevoke:
		action, why = ActionRevoke, since
		if t := e.tried(h.Kind); t.Failures > 0 {
			why += ", " + t.failed()
		}
	case h.State == Revoked:
		why = since + ", revoked"
	case first:
		action = ActionLeave
	}
	if action == ActionLeft || action == ActionLeave {
		e.forget(h.Kind)
	}
	if h.State == Shared {
		why = since + "; its certificate names others, too"
	}
	p.step(e.Address, h.Kind, action, why)
}

// Add adds what an address has, its orders last: behind a certificate in force that is a
// renewal, and both outdo what is revoked.
func (h Holdings) Add(addr, kind string, what State) {
	key := state.Key(addr)
	for n, held := range h[key] {
		switch {
		case held.Kind != kind:
		case held.State == Revoked || what == held.State:
			h[key][n].State = what
			return
		case what != InFlight: // the first one that is in force counts
			return
		}
	}
	h[key] = append(h[key], Held{kind, what})
}

func (h Holdings) state(key, kind string) State {
	for _, held := range h[key] {
		if held.Kind == kind {
			return held.State
		}
	}
	return 0
}

// schedule makes steps of what is wanted: at most as many orders as a run may have.
//
// Who has waited longest comes first. Those that have failed come after those that never
// did, so that a thousand hopeless addresses hold up no newcomer; but a fifth of the run
// is theirs, so that a thousand newcomers a day do not starve them either. What one of the
// two does not need is the other's. A run of less than five orders cannot be split, and
// takes all by how long they have waited.
func (p *plan) schedule() {
	slices.SortStableFunc(p.wanted, func(a, b want) int {
		return cmp.Or(cmp.Compare(a.since, b.since), strings.Compare(a.addr, b.addr))
	})
	most := min(p.table.perRun, len(p.wanted))
	queue := p.wanted
	if p.table.perRun >= 5 {
		queue = split(p.wanted, most, p.table.perRun/5)
	}
	for _, w := range queue[:most] {
		p.step(w.addr, w.kind, ActionOrder, w.why())
	}
	for n, w := range queue[most:] {
		p.step(w.addr, w.kind, ActionWait, w.why()+", after "+count(most+n, "other", "others"))
	}
}

// split puts those that never failed before the others, but so that of the first most at
// least fifth have failed, if there are so many.
func split(all []want, most, fifth int) []want {
	var fresh, failed []want
	for _, w := range all {
		if w.try.Failures == 0 {
			fresh = append(fresh, w)
		} else {
			failed = append(failed, w)
		}
	}
	theirs := min(len(failed), fifth)
	n := min(most-theirs, len(fresh))
	return slices.Concat(fresh[:n], failed[:theirs], fresh[n:], failed[theirs:])
}

func (w want) why() string {
	switch {
	case w.try.Failures > 0:
		return w.try.failed()
	case w.revoked:
		return "its certificate is revoked"
	}
	return fmt.Sprintf("new, waits since %s", w.since)
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
