package issuer

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"postseal/internal/failure"
	"postseal/internal/printable"
	"postseal/issuer/cert"
	"postseal/issuer/store"
)

// maxReason bounds the reason of an event, in bytes.
const maxReason = 500

// tell records the result of an order, for "status": only this writes to the histories.
// Orders do not depend on them.
func (i *Issuer) tell(name string, e store.Event) {
	e.Time = i.Now().UTC().Truncate(time.Second)
	e.Reason = printable.Line(strings.Join(strings.Fields(e.Reason), " "), maxReason)
	if err := i.disk.Record(name, e); err != nil {
		i.step(StepNote, name, "", "the history could not be written down: "+err.Error())
	}
}

func (r *run) tell(what, serial, reason string) {
	if r.req.DryRun {
		return
	}
	r.i.tell(r.name, store.Event{What: what, Emails: r.req.Emails, Server: r.req.Server, Serial: serial, Reason: reason})
}

// giveUp ends an order that no run will resume. If its certificate is stored, it has ended
// before.
func (r *run) giveUp(reason string) {
	if !r.order.Stored && !r.order.DryRun {
		r.i.tell(r.name, store.Event{What: store.EventGivenUp, Emails: r.order.Emails, Server: r.order.Server, Reason: reason})
	}
	r.forget()
}

// tellFailure records that an order failed, still waits after a day, or was never made. It
// leaves out mistakes of the caller.
func (r *run) tellFailure(res *Result, err error) {
	kind := failure.KindOf(err)
	if r.begun && res == nil && (kind == failure.KindFailed || kind == failure.KindConfig) {
		r.tell(store.EventFailed, "", err.Error())
	}
}

// HistoryStatus is the result of an order.
type HistoryStatus struct {
	Name   string    `json:"name"`
	Emails []string  `json:"emails"`
	Kind   string    `json:"kind"`
	Server string    `json:"server"`
	Time   time.Time `json:"time"`
	Event  string    `json:"event"`
	Serial string    `json:"serial,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// FailedStatus is a set of addresses whose last order failed.
type FailedStatus struct {
	Name   string    `json:"name"`
	Emails []string  `json:"emails"`
	Kind   string    `json:"kind"`
	Server string    `json:"server"`
	Time   time.Time `json:"time"`
	Since  time.Time `json:"since"` // time of the first failure after the last success, if known
	Reason string    `json:"reason"`
}

func (i *Issuer) historyStatus(s *Status) {
	for name, h := range i.disk.Histories(i.leftOut) {
		failed, kind := map[string]*FailedStatus{}, store.KindOf(name)
		for _, e := range h.Events {
			s.History = append(s.History, HistoryStatus{name, e.Emails, kind, e.Server, e.Time, e.What, e.Serial, e.Reason})
			set := strings.Join(cert.AddressKeys(e.Emails), " ")
			switch e.What {
			case store.EventFailed:
				f := &FailedStatus{name, e.Emails, kind, e.Server, e.Time, e.Time, e.Reason}
				if before := failed[set]; before != nil {
					f.Since = before.Since
				}
				failed[set] = f
			case store.EventIssued, store.EventRevoked, store.EventGivenUp:
				delete(failed, set)
			}
		}
		for _, f := range failed {
			s.Failed = append(s.Failed, *f)
		}
	}
	slices.SortStableFunc(s.History, func(a, b HistoryStatus) int { return a.Time.Compare(b.Time) })
	slices.SortFunc(s.Failed, func(a, b FailedStatus) int { return cmp.Or(strings.Compare(a.Name, b.Name), a.Time.Compare(b.Time)) })
}
