package testca

import (
	"context"
	"maps"
	"sync"
	"time"
)

// Kind is what an Event is about.
type Kind string

const (
	EventAccount    Kind = "account"     // made; URL
	EventOrder      Kind = "order"       // made; URL, Identifiers
	EventMailSent   Kind = "mail-sent"   // the relay took it; From, To, Subject
	EventMailRetry  Kind = "mail-retry"  // it did not, for now; Reason
	EventMailFailed Kind = "mail-failed" // nor will it be tried again; Reason
	EventPosted     Kind = "posted"      // POST {} to a challenge; URL
	EventReply      Kind = "reply"       // received; From, Verdict, Reason
	EventValidated  Kind = "validated"   // an authorization is valid
	EventInvalid    Kind = "invalid"     // or will never be; Reason
	EventIssued     Kind = "issued"      // a certificate; Serial, Identifiers
	EventRevoked    Kind = "revoked"     // Serial
)

// Verdict is what became of a reply.
type Verdict string

const (
	VerdictGood      Verdict = "good"
	VerdictBad       Verdict = "bad"       // kills its authorization
	VerdictDuplicate Verdict = "duplicate" // of a challenge already answered
	VerdictUnknown   Verdict = "unknown"   // belongs to no challenge
	VerdictLater     Verdict = "later"     // its DKIM key cannot be had now; SMTP 451
)

// Event is something that happened at the CA. Fields a kind does not mention
// may be empty.
type Event struct {
	Kind        Kind      `json:"kind"`
	Time        time.Time `json:"time"`
	URL         string    `json:"url,omitempty"` // of the account, order, authorization or challenge
	Identifiers []string  `json:"identifiers,omitempty"`
	From        string    `json:"from,omitempty"`
	To          string    `json:"to,omitempty"`
	Subject     string    `json:"subject,omitempty"`
	Verdict     Verdict   `json:"verdict,omitempty"`
	Reason      string    `json:"reason,omitempty"`
	Serial      string    `json:"serial,omitempty"`
}

// Counters are totals since the start.
type Counters struct {
	Events   map[Kind]int    // how many of each kind
	Verdicts map[Verdict]int // how the replies were judged
	Requests map[string]int  // by kind of resource, as in Fault.Kind
	BadNonce int             // nonces refused, good ones included
	Failed   int             // requests answered with an injected fault
}

// journal counts events, tells the callback, and wakes those who wait.
type journal struct {
	onEvent func(Event)

	mu      sync.Mutex
	total   Counters
	changed chan struct{} // closed and replaced at each change
}

func newJournal(onEvent func(Event)) *journal {
	return &journal{
		onEvent: onEvent,
		changed: make(chan struct{}),
		total: Counters{
			Events:   map[Kind]int{},
			Verdicts: map[Verdict]int{},
			Requests: map[string]int{},
		},
	}
}

// count changes the totals and wakes the waiters.
func (j *journal) count(change func(*Counters)) {
	j.mu.Lock()
	change(&j.total)
	close(j.changed)
	j.changed = make(chan struct{})
	j.mu.Unlock()
}

func (j *journal) emit(e Event) {
	e.Time = time.Now()
	j.count(func(c *Counters) {
		c.Events[e.Kind]++
		if e.Verdict != "" {
			c.Verdicts[e.Verdict]++
		}
	})
	if j.onEvent != nil {
		j.onEvent(e)
	}
}

func (j *journal) snapshot() (Counters, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := j.total
	c.Events = maps.Clone(c.Events)
	c.Verdicts = maps.Clone(c.Verdicts)
	c.Requests = maps.Clone(c.Requests)
	return c, j.changed
}

// Counters returns the totals so far.
func (ca *CA) Counters() Counters {
	c, _ := ca.journal.snapshot()
	return c
}

// Wait returns when cond holds of the counters, or the context's error.
func (ca *CA) Wait(ctx context.Context, cond func(Counters) bool) error {
	for {
		c, changed := ca.journal.snapshot()
		if cond(c) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
