package state

import (
	"context"
	"time"
)

// Store is where the two halves meet: a directory (Dir), or Redis for several MX hosts
// (package redis). The promises of a method hold for all processes that use the same store,
// on any host.
type Store interface {
	// Put writes the record of a challenge that an order waits for. It replaces the record
	// of the same address and CA. Once it returns, no Index says that nobody waits.
	Put(p *Pending) error

	// Take is Put, unless another order for the same address and CA has a record: then it
	// changes nothing and returns that record, expired or not.
	Take(p *Pending) (other *Pending, err error)

	// Remove removes the record for an address and CA, if any, with its note. If id is not
	// "", the record of another order stays.
	Remove(addr, server, id string) error

	// Purge removes expired records, for the issuing half: a killed order leaves its record
	// behind.
	Purge(now time.Time) error

	// Pending returns the unexpired records for an address. An error means that the store
	// cannot say now.
	Pending(addr string, now time.Time) ([]*Pending, error)

	// PendingAny returns the records for several addresses, each once.
	PendingAny(addrs []string, now time.Time) ([]*Pending, error)

	// All returns every readable pending record that has not expired.
	All(now time.Time) ([]*Pending, error)

	// CountPending returns how many records wait, as far as it can tell without reading
	// them: damaged ones may count, and several CAs for one address may count as one.
	CountPending() (int, error)

	// WaitToken waits until none of the records for the addresses is still ordering, and
	// returns them: by then the client has read the authorizations.
	WaitToken(ctx context.Context, addrs []string, now func() time.Time) ([]*Pending, error)

	// Claim claims the challenge of p. Of any number of processes that try at the same time
	// exactly one succeeds. The others get ErrBusy, or a *DoneError once the challenge was
	// answered. The error is ErrGone if the record is gone and the store can tell.
	Claim(p *Pending, challengeID, replyID string, now time.Time) (Claim, error)

	// AnswersWithin returns how many claims were made within age before now and not given
	// back: in all, and for one CA.
	AnswersWithin(age time.Duration, server string, now time.Time) (all, toCA int, err error)

	// Answer returns the last attempt to answer a challenge, nil if there was none. It
	// returns an attempt whose process died after "sending" as Unknown; one whose process
	// died before that does not count, since a new delivery may claim it.
	Answer(id string) (*Answer, error)

	// Answers returns the latest answers, at most most of them, each by its last attempt.
	Answers(most int) ([]*Answer, error)

	// WaitAnswer waits for an answer whose phase is Sent, Failed or Unknown and that differs
	// from seen, which is nil or an answer that the caller knows already: after a failure, a
	// later delivery may try again.
	WaitAnswer(ctx context.Context, id string, seen *Answer) (*Answer, error)

	// Note records that the mail half refused a challenge or put it off, at most once a
	// minute for each record. A stranger can cause it. A note that another user wrote may
	// stay.
	Note(p *Pending, verdict, reason string, now time.Time) error

	// Notes returns the notes about some records.
	Notes(ids []string) ([]*Note, error)

	// WaitNote waits for a note about a record that differs from seen, which may be nil.
	WaitNote(ctx context.Context, id string, seen *Note) (*Note, error)

	// Alive records that a mail half runs on a host.
	Alive(host string, now time.Time) error

	// MailHalves returns the hosts on which mail halves said that they run, the latest
	// first, at most a hundred.
	MailHalves() ([]MailHalf, error)

	// Forget removes answers whose last attempt ended more than age ago, for the issuing
	// half. It reports a file that it cannot remove as damaged.
	Forget(age time.Duration, now time.Time) error

	// Index returns an index of the pending records. It works, more slowly, while the store
	// cannot be reached.
	Index() Index

	// String says where the store is, for people; never with a password.
	String() string
}

// Claim is the right to answer one challenge. It lasts until its owner calls Sent, Failed,
// Unknown or GiveBack, or dies.
type Claim interface {
	// Sending records that the final dot is about to leave. After it nobody answers the
	// challenge again unless GiveBack or Failed says that the reply was not sent. If it
	// returns an error, the caller must not send the dot: another process may have the right
	// by now.
	Sending() error

	// Sent records that the SMTP server accepted the reply.
	Sent(now time.Time) error

	// Failed records that the SMTP server refused the reply for good, in the server's words.
	Failed(reason string, now time.Time) error

	// Unknown records that the connection broke after the final dot.
	Unknown(reason string, now time.Time) error

	// GiveBack ends the claim as if it had never existed: the reply was not sent.
	GiveBack() error
}

// Index knows from memory whether anybody waits for a challenge, for a daemon that must
// neither read files nor ask a server about ordinary mail.
type Index interface {
	// Any reports whether anybody waits. It never misses a record that was put before,
	// however little before; when in doubt, it returns true. The error says why nothing can
	// be known; the caller should then look at each message.
	Any() (bool, error)

	// Close ends the index. Nobody may call Any after it.
	Close()
}

// UnreachableError means that a store cannot be used now but perhaps later. The request is
// not at fault.
type UnreachableError struct {
	Store string // as its String method says
	Err   error
}

func (e *UnreachableError) Error() string { return e.Store + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }
