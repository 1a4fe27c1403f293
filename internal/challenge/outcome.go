package challenge

import (
	"fmt"
	"log/slog"
)

// Verdict is the decision about one message.
type Verdict int

// The verdicts. When in doubt, postseal does not answer; the message is delivered in any
// case.
const (
	None     Verdict = iota // not a challenge that any order waits for
	Refused                 // a challenge for an order that waits, but not a valid one
	Later                   // no decision or reply now; the mail server should try again
	Answered                // the SMTP server accepted the reply
)

func (v Verdict) String() string {
	switch v {
	case None:
		return "none"
	case Refused:
		return "refused"
	case Later:
		return "later"
	case Answered:
		return "answered"
	}
	return fmt.Sprintf("Verdict(%d)", int(v))
}

// Outcome is a verdict with its details for an admin.
type Outcome struct {
	Verdict Verdict
	Reason  string // in words an admin can act on; one line
	Email   string // the address of the order, once a record matched
	Server  string // the CA's directory, once a record matched
	Order   string // the id of that record, which also names the answer
	ReplyID string // Message-ID of the reply, if there was one
	Checks  []Check
}

// Concerns reports whether the message was for an order that waits: only those deserve a line
// in the log.
func (o Outcome) Concerns() bool { return o.Verdict != None || o.Email != "" }

// Level returns the level of the outcome's line in the log: a challenge without an answer
// deserves a look.
func (o Outcome) Level() slog.Level {
	if o.Verdict == Refused || o.Verdict == Later {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// Check is the result of one check, for postseal-pipe --explain.
type Check struct {
	Name   string
	Result Result
	Text   string // the findings, or why it failed or was not made
}

// Result is the end of a check.
type Result int

// The results. A check that was not made, or cannot be made now, neither passed nor failed.
const (
	Passed Result = iota
	Failed
	NotMade
)

// refusal is the error of a check that a challenge fails for good.
type refusal struct{ reason string }

func (r *refusal) Error() string { return r.reason }

func refuse(format string, args ...any) error {
	return &refusal{fmt.Sprintf(format, args...)}
}

// unmade is the error of a check that an earlier failure prevents. It is never the first
// error of an exam; if it were, the message would be refused.
type unmade struct{ why string }

func (u *unmade) Error() string { return u.why }

// postponed is the error of a check that cannot be made now.
type postponed struct{ cause string }

func (p *postponed) Error() string { return p.cause }

func postpone(format string, args ...any) error {
	return &postponed{fmt.Sprintf(format, args...)}
}

// Attrs returns the outcome as attributes of a log line. They include the verdict for logs
// with fields; a text log has it in its message.
func (o Outcome) Attrs() []any {
	var attrs []any
	for _, a := range []struct{ key, value string }{
		{"verdict", o.Verdict.String()}, {"address", o.Email}, {"ca", o.Server}, {"order", o.Order},
		{"reply", o.ReplyID}, {"reason", o.Reason},
	} {
		if a.value != "" {
			attrs = append(attrs, a.key, a.value)
		}
	}
	return attrs
}
