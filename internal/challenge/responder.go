package challenge

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"time"

	"postseal/internal/submit"
	"postseal/state"
)

// defaultTokenWait is how long a challenge waits for the CA's answer to the order.
const defaultTokenWait = 10 * time.Second

// Responder answers challenges. State and LookupTXT must be set; Explain and Compose do not
// need Send.
type Responder struct {
	State      state.Store
	LookupTXT  func(ctx context.Context, name string) ([]string, error) // see Resolver
	Send       func(ctx context.Context, env submit.Envelope, raw []byte, beforeDot func() error) error
	Keys       []Key                          // to sign replies of these domains
	Roots      func() (*x509.CertPool, error) // of S/MIME signers; nil means the system's
	Log        *slog.Logger                   // for errors beside the verdict; nil is silent
	TokenWait  time.Duration                  // 0 means 10 s
	MaxAnswers Rate                           // none for the zero value
	Now        func() time.Time               // nil means time.Now
}

func (r *Responder) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}

func (r *Responder) tokenWait() time.Duration {
	if r.TokenWait == 0 {
		return defaultTokenWait
	}
	return r.TokenWait
}

func (r *Responder) roots() (*x509.CertPool, error) {
	if r.Roots == nil {
		return nil, nil
	}
	return r.Roots()
}

// Answer decides about a message and, if it is a genuine challenge that an order waits for,
// replies to it. It blocks for look-ups and the submission, at most about half a minute or
// until the context ends.
func (r *Responder) Answer(ctx context.Context, m Message) Outcome {
	out, x := r.examine(ctx, m, false)
	if x != nil {
		out = r.answer(ctx, x, out)
	}
	r.note(out)
	return out
}

// note tells the issuing half about a challenge that was refused or put off. If the SMTP
// server refused a reply, the answer says so instead.
func (r *Responder) note(out Outcome) {
	if out.Order == "" || out.Verdict != Later && (out.Verdict != Refused || out.ReplyID != "") {
		return
	}
	err := r.State.Note(&state.Pending{ID: out.Order}, out.Verdict.String(), out.Reason, r.now())
	if err != nil && !errors.Is(err, fs.ErrPermission) && r.Log != nil { // another user's note is there
		r.Log.Warn("cannot leave a note of the verdict", "address", out.Email, "error", err)
	}
}

// Explain decides about a message and returns the result of each check. It answers nothing,
// records nothing and waits for nothing but DNS.
func (r *Responder) Explain(ctx context.Context, m Message) Outcome {
	out, x := r.examine(ctx, m, true)
	if x == nil {
		return out
	}
	out.Verdict, out.Reason = Answered, "genuine, and would be answered"
	a, err := r.State.Answer(x.record.ID)
	if err == nil && a != nil && (a.Phase == state.Sent || a.Phase == state.Unknown) {
		return out.done(fingerprint(x.part1), &state.DoneError{Answer: a})
	}
	return out
}

// Compose decides about a message as Answer does, and returns the reply instead of sending
// it. It records nothing.
func (r *Responder) Compose(ctx context.Context, m Message) (Outcome, []byte) {
	out, x := r.examine(ctx, m, false)
	if x == nil {
		return out, nil
	}
	reply, raw, err := r.compose(x)
	if err != nil {
		return out.later(err), nil
	}
	out.Verdict, out.ReplyID, out.Reason = Answered, reply.id, "genuine; the reply is written and not sent"
	return out, raw
}

// examine returns the exam of a message that deserves an answer, nil for others.
func (r *Responder) examine(ctx context.Context, m Message, explain bool) (Outcome, *exam) {
	parsed, err := parse(m)
	if err != nil {
		return Outcome{Reason: err.Error()}, nil
	}
	x := &exam{r: r, ctx: ctx, m: parsed, explain: explain}
	if !parsed.isChallenge() {
		return Outcome{Reason: "the Subject is not that of a challenge"}, nil
	}
	if err := x.findPool(); err != nil {
		return Outcome{Verdict: Later, Reason: err.Error()}, nil
	}
	if len(x.pool) == 0 && !explain {
		return Outcome{Reason: "nobody waits for a challenge to this address"}, nil
	}
	checks, err := x.run()
	out := x.outcome(err)
	out.Checks = checks
	if err != nil {
		return out, nil
	}
	return out, x
}

func (m *message) isChallenge() bool {
	for _, subject := range m.values("subject") {
		if IsChallenge(subject) {
			return true
		}
	}
	return false
}

// outcome turns the error of an exam's checks into its outcome.
func (x *exam) outcome(err error) Outcome {
	var out Outcome
	if record := x.known(); record != nil {
		out.Email, out.Server, out.Order = record.Email, record.Server, record.ID
	}
	switch {
	case err == nil:
	case errors.As(err, new(*postponed)):
		out.Verdict, out.Reason = Later, err.Error()
	case len(x.pool) == 0:
		out.Reason = "nobody waits for a challenge to this address"
	default:
		out.Verdict, out.Reason = Refused, err.Error()
	}
	return out
}

// known returns the record that the message is for, if the exam got that far.
func (x *exam) known() *state.Pending {
	if x.record == nil && len(x.pool) > 0 {
		return x.pool[0]
	}
	return x.record
}

func (r *Responder) compose(x *exam) (*reply, []byte, error) {
	digest, err := x.record.Digest(x.part1)
	if err != nil {
		return nil, nil, err
	}
	reply := &reply{
		from: x.record.Email, to: x.replyTo, part1: x.part1, digest: digest,
		inReplyTo: echo(x.m.value("message-id")), id: newMessageID(x.record.Email), date: r.now(),
	}
	raw, err := sign(reply.bytes(), reply.from, r.Keys)
	return reply, raw, err
}

// sendingTime is what a submission should have left of the caller's patience: a submission
// that ends after the final dot is never repeated.
const sendingTime = 5 * time.Second

// answer claims the challenge, sends the reply and records the result.
func (r *Responder) answer(ctx context.Context, x *exam, out Outcome) Outcome {
	if end, ok := ctx.Deadline(); ok && time.Until(end) < sendingTime {
		return out.later(errors.New("too little time is left to send it"))
	}
	reply, raw, err := r.compose(x)
	if err != nil {
		return out.later(err)
	}
	record := *x.record
	record.Part1 = fingerprint(x.part1)
	claim, err := r.State.Claim(&record, reply.inReplyTo, reply.id, r.now())
	if err != nil {
		return r.unclaimed(out, &record, err)
	}
	out.ReplyID = reply.id
	if err = r.overRate(x.record.Server); err == nil {
		err = r.Send(ctx, submit.Envelope{From: reply.from, To: reply.to}, raw, claim.Sending)
	}
	out, err = r.settle(out, claim, err)
	if err != nil && r.Log != nil {
		r.Log.Error("cannot record the answer", "address", out.Email, "error", err)
	}
	return out
}

// settle records the end of a submission.
func (r *Responder) settle(out Outcome, claim state.Claim, err error) (Outcome, error) {
	if err == nil {
		out.Verdict, out.Reason = Answered, "the SMTP server took the reply"
		return out, claim.Sent(r.now())
	}
	var failed *submit.Error
	switch errors.As(err, &failed); {
	case failed != nil && failed.Class == submit.Unknown:
		out.Verdict = Refused
		out.Reason = "the connection broke after the reply was sent, so it is not sent again: " + printable(err.Error())
		return out, claim.Unknown(out.Reason, r.now())
	case failed != nil && failed.Class == submit.Failed:
		out.Verdict = Refused
		out.Reason = "the SMTP server refused the reply: " + printable(err.Error())
		return out, claim.Failed(printable(err.Error()), r.now())
	}
	return out.later(err), claim.GiveBack()
}

// later turns an outcome into one that asks the mail server to try again.
func (o Outcome) later(err error) Outcome {
	o.Verdict, o.Reason = Later, "the reply cannot be sent now: "+printable(err.Error())
	return o
}

// unclaimed returns the outcome of a failed claim: another process answers or has answered
// (RFC 8823, Section 3, item 6), or the store is broken.
func (r *Responder) unclaimed(o Outcome, p *state.Pending, err error) Outcome {
	var done *state.DoneError
	switch {
	case errors.As(err, &done):
		return o.done(p.Part1, done)
	case errors.Is(err, state.ErrBusy):
		// The other process may have ended meanwhile, or given its claim back.
		a, unread := r.State.Answer(p.ID)
		switch {
		case unread != nil || a == nil:
			o.Verdict, o.Reason = None, err.Error()
		case a.Phase == state.Sent || a.Phase == state.Unknown:
			return o.done(p.Part1, &state.DoneError{Answer: a})
		case a.Part1 != p.Part1:
			o.Verdict, o.Reason = Refused, "another challenge for this order is being answered"
		default:
			o.Verdict, o.Reason = None, err.Error()
		}
	case errors.Is(err, state.ErrGone):
		o.Verdict, o.Reason = None, err.Error()
	default:
		o.Verdict, o.Reason = Later, "the answer cannot be recorded: "+printable(err.Error())
	}
	return o
}

// done returns the outcome of a challenge for an order that has its answer. A copy of the
// answered challenge, by its token-part1, is answered too. Any other is refused, since it has
// no answer and must be delivered.
func (o Outcome) done(part1 string, err *state.DoneError) Outcome {
	o.Verdict, o.Reason = Refused, err.Error()
	switch copied := err.Answer.Part1 == part1; {
	case err.Answer.Phase == state.Sent && copied:
		o.Verdict, o.ReplyID = Answered, err.Answer.MessageIDs.Reply
	case !copied:
		o.Reason = "the order has had another challenge: " + err.Error()
	}
	return o
}

// fingerprint returns the stored form of a token-part1: nobody needs the token itself after
// its answer.
func fingerprint(part1 string) string {
	sum := sha256.Sum256([]byte(part1))
	return hex.EncodeToString(sum[:16])
}
