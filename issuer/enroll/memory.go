package enroll

import (
	"slices"
	"strings"
	"time"

	"postseal/internal/printable"
	"postseal/state"
)

// Moment is a time in whole seconds since 1970 in UTC; 0 is never.
type Moment int64

// At returns the moment of a time.
func At(t time.Time) Moment { return Moment(t.Unix()) }

// Time returns the moment as a time in UTC.
func (m Moment) Time() time.Time { return time.Unix(int64(m), 0).UTC() }

// Add returns the moment that is so much later.
func (m Moment) Add(d time.Duration) Moment { return m + Moment(d/time.Second) }

// String returns the day, as in 2026-11-29.
func (m Moment) String() string { return m.Time().Format(time.DateOnly) }

// MarshalText implements encoding.TextMarshaler.
func (m Moment) MarshalText() ([]byte, error) { return m.Time().MarshalText() }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Moment) UnmarshalText(text []byte) error {
	var t time.Time
	err := t.UnmarshalText(text)
	*m = At(t)
	return err
}

// Memory is what is remembered of the addresses of a table.
type Memory struct {
	Domain   string  // of the table
	Accepted Moment  // when the list of the source was last accepted
	Entries  []Entry // sorted by Address, each once
}

// Entry is an address that was in an accepted list. It is in the last one unless it is
// gone.
type Entry struct {
	Address string `json:"address"`                // its state.Key
	Wanted  Moment `json:"wanted_since,omitempty"` // without a certificate of some kind
	Gone    Moment `json:"gone_since,omitempty"`
	Left    Moment `json:"left_since,omitempty"` // gone for the grace: not renewed any more
	Tries   []Try  `json:"tries,omitempty"`
	lacks   int    // of how many kinds it has no certificate, in the run that planned
}

// Try is what came of the orders for an address and kind, or of its revocation, until one
// succeeds.
type Try struct {
	Kind     string `json:"kind,omitempty"`
	Failures int    `json:"failures"`
	Error    string `json:"error"` // of the last one; one printable line
	Next     Moment `json:"next"`  // when it is tried again
}

// pauses are the days until the next try; the last holds for all after it.
var pauses = []int{1, 2, 4, 8, 16, 30}

// Failed notes that an order for an address and kind has failed for good, or a revocation;
// one that is still in flight has not. now is when the run began: were it later, a daily
// run would come too early for the next try.
func (m *Memory) Failed(addr, kind string, err error, now time.Time) {
	n, ok := m.find(state.Key(addr))
	if !ok {
		return
	}
	e := &m.Entries[n]
	k := e.try(kind)
	if k < 0 {
		k = len(e.Tries)
		e.Tries = append(e.Tries, Try{Kind: kind})
	}
	try := &e.Tries[k]
	try.Failures++
	try.Error = printable.Line(strings.Join(strings.Fields(err.Error()), " "), maxError)
	try.Next = At(now.AddDate(0, 0, pauses[min(try.Failures, len(pauses))-1]))
}

// Succeeded notes that an order for an address and kind has succeeded, or its revocation.
func (m *Memory) Succeeded(addr, kind string) {
	n, ok := m.find(state.Key(addr))
	if !ok {
		return
	}
	e := &m.Entries[n]
	e.forget(kind)
	if e.lacks--; e.lacks == 0 {
		e.Wanted = 0
	}
}

func (m *Memory) find(key string) (n int, ok bool) {
	return slices.BinarySearchFunc(m.Entries, key, func(e Entry, key string) int { return strings.Compare(e.Address, key) })
}

// try returns the number of the Try of a kind, -1 if there is none.
func (e *Entry) try(kind string) int {
	return slices.IndexFunc(e.Tries, func(t Try) bool { return t.Kind == kind })
}

// tried returns what came of a kind, nothing if it never failed.
func (e *Entry) tried(kind string) Try {
	if n := e.try(kind); n >= 0 {
		return e.Tries[n]
	}
	return Try{}
}

func (e *Entry) forget(kind string) {
	e.Tries = slices.DeleteFunc(e.Tries, func(t Try) bool { return t.Kind == kind })
}
