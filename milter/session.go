package milter

import (
	"context"
	"net/textproto"

	"github.com/emersion/go-milter"

	"postseal/internal/challenge"
)

// session is what go-milter calls for the commands of one connection. Header
// fields and body chunks have gone round go-milter into the message already.
type session struct {
	milter.NoOpMilter
	*conn
}

// laterReply is generic; the log has the cause (RFC 3463: 4.7.1 is "delivery not
// authorized", a matter of policy that may change).
var laterReply = milter.NewResponseStr(byte(milter.ActReplyCode),
	"451 4.7.1 cannot verify the challenge now, try again later")

// MailFrom starts a message.
func (s *session) MailFrom(string, *milter.Modifier) (milter.Response, error) {
	if !s.server.mail(&s.message) {
		return s.done(milter.RespAccept)
	}
	s.setBusy(true)
	return milter.RespContinue, nil
}

// RcptTo comes only from servers that cannot leave it out.
func (s *session) RcptTo(string, *milter.Modifier) (milter.Response, error) {
	if s.options.has(milter.OptNoRcptReply) {
		return nil, nil
	}
	return milter.RespContinue, nil
}

// Headers is the end of the header.
func (s *session) Headers(textproto.MIMEHeader, *milter.Modifier) (milter.Response, error) {
	if s.server.endOfHeader(&s.message) {
		return milter.RespContinue, nil
	}
	return s.done(milter.RespAccept)
}

// Body is the end of the message. A server that goes on with a message that was
// accepted is told so again.
func (s *session) Body(*milter.Modifier) (milter.Response, error) {
	if s.message.phase != inBody {
		return s.done(milter.RespAccept)
	}
	return s.done(s.decide())
}

// Abort ends a message without a reply: the client went away, or another filter
// refused it.
func (s *session) Abort(*milter.Modifier) error {
	_, err := s.done(nil)
	return err
}

// done forgets the message.
func (s *session) done(r milter.Response) (milter.Response, error) {
	s.message.reset()
	s.setBusy(false)
	return r, nil
}

func (s *session) decide() milter.Response {
	s.server.stats.Decided.Add(1)
	outcome := s.answer()
	s.server.logOutcome(outcome, &s.message)
	switch outcome.Verdict {
	case challenge.Later:
		return laterReply
	case challenge.Answered:
		if s.server.config.OnAnswered == Discard {
			return milter.RespDiscard
		}
	}
	return milter.RespAccept
}

func (s *session) answer() challenge.Outcome {
	m := &s.message
	if m.lost {
		s.server.stats.OutOfMemory.Add(1)
		return challenge.Outcome{Verdict: challenge.Later, Reason: "too many large messages at once"}
	}
	ctx, cancel := context.WithTimeout(s.server.answering, s.server.config.AnswerTimeout)
	defer cancel()
	return s.server.config.Answer(ctx, challenge.Message{Raw: m.raw, Truncated: m.truncated})
}
