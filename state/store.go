package state

import (
	"context"
	"time"
)

// Store is where the two halves meet: a directory (Dir), or Redis for several MX
// hosts (package redis). The promises of a method hold for all processes that use
// the same store, on whatever host.
type Store interface {
	// Put writes the record of a challenge that is waited for. It replaces that of
	// the same address and CA. When it returns, no Index says any more that nobody
	// waits.
	Put(p *Pending) error

	// Take is Put, but where the record of another order for the same address and CA is
	// there: then it changes nothing and returns that, expired or not.
	Take(p *Pending) (other *Pending, err error)

	// Remove removes the record for an address and CA, if there is one, with its note. If
	// id is not "", the record of another order stays.
	Remove(addr, server, id string) error

	// Purge removes the records that expired, for the issuing half: an order that
	// was killed leaves its record behind.
	Purge(now time.Time) error

	// Pending returns the records of those who wait for a challenge at an address
	// and have not expired. The error means that it cannot be known now.
	Pending(addr string, now time.Time) ([]*Pending, error)

	// PendingAny returns the records for several addresses, each once.
	PendingAny(addrs []string, now time.Time) ([]*Pending, error)

	// All returns every pending record that can be read and has not expired.
	All(now time.Time) ([]*Pending, error)

	// CountPending returns how much waits, as far as that can be told without
	// reading records: damaged ones may count, and several CAs for one address may
	// count as one.
	CountPending() (int, error)

	// WaitToken waits until none of the records for the addresses is still ordering,
	// and returns them: the client has then read the authorizations.
	WaitToken(ctx context.Context, addrs []string, now func() time.Time) ([]*Pending, error)

	// Claim claims the challenge of p. Of any number of processes that try at the
	// same time exactly one succeeds. The others get ErrBusy, or a *DoneError once
	// the challenge was answered. ErrGone where the record has gone meanwhile and
	// the store can tell.
	Claim(p *Pending, challengeID, replyID string, now time.Time) (Claim, error)

	// AnswersWithin returns how many claims were made within a time before now and
	// not given back: in all, and to one CA.
	AnswersWithin(age time.Duration, server string, now time.Time) (all, toCA int, err error)

	// Answer returns the last attempt to answer a challenge, nil if there was none.
	// An attempt whose process died after "sending" is returned as Unknown; one whose
	// process died before is not an attempt, since a new delivery may claim it.
	Answer(id string) (*Answer, error)

	// Answers returns the last attempts of at most that many answers, the latest.
	Answers(most int) ([]*Answer, error)

	// WaitAnswer waits until a challenge was answered or failed to be: it returns an
	// answer whose phase is Sent, Failed or Unknown and that differs from seen, which
	// is nil or an answer that the caller knows already: after a failure, a later
	// delivery may try again.
	WaitAnswer(ctx context.Context, id string, seen *Answer) (*Answer, error)

	// Note notes that a challenge was refused or put off, at most once a minute for each
	// record. A stranger can cause it. A note that another user left may stay.
	Note(p *Pending, verdict, reason string, now time.Time) error

	// Notes returns the notes about some records.
	Notes(ids []string) ([]*Note, error)

	// WaitNote waits until there is a note about a record that says something else than
	// seen, which may be nil.
	WaitNote(ctx context.Context, id string, seen *Note) (*Note, error)

	// Alive says that a mail half runs on a host.
	Alive(host string, now time.Time) error

	// MailHalves returns where mail halves said that they run, the latest first and at
	// most a hundred.
	MailHalves() ([]MailHalf, error)

	// Forget removes answers whose last attempt ended more than age ago, for the
	// issuing half. A file that cannot be removed is reported as damaged.
	Forget(age time.Duration, now time.Time) error

	// Index returns an index of what is pending. It works, slower, while the store
	// cannot be reached.
	Index() Index

	// String says where the store is, for people; never with a password.
	String() string
}

// Claim is the right to answer one challenge. It lasts until one of Sent, Failed,
// Unknown and GiveBack is called, or its process has died.
type Claim interface {
	// Sending records that the final dot is about to be sent. After it the challenge
	// is never answered again unless GiveBack or Failed says that it was not. After
	// an error the dot must not be sent: the right may be somebody else's by now.
	Sending() error

	// Sent records that the SMTP server accepted the reply.
	Sent(now time.Time) error

	// Failed records that the SMTP server refused the reply for good, in its words.
	Failed(reason string, now time.Time) error

	// Unknown records that the connection broke after the final dot.
	Unknown(reason string, now time.Time) error

	// GiveBack ends the claim as if it had never been: the reply was not sent.
	GiveBack() error
}

// Index knows from memory whether anybody waits for a challenge, for a daemon that
// must neither read files nor ask a server for ordinary mail.
type Index interface {
	// Any reports whether anybody waits. A record that was put before is never missed,
	// however little before; where that is not certain, it says true. The error says
	// why nothing can be known; the caller should then look at each message.
	Any() (bool, error)

	// Close ends the index. Any must not be called after it.
	Close()
}

// UnreachableError means that a store cannot be used now and may be usable later.
// The question is not at fault.
type UnreachableError struct {
	Store string // as its String says
	Err   error
}

func (e *UnreachableError) Error() string { return e.Store + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }
