package challenge

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postseal/internal/submit"
	"postseal/state"
)

func TestAnswerGenuine(t *testing.T) {
	s := newSite(t)
	out := s.Answer(context.Background(), Message{Raw: signedBy(t, "ca.example", challengeMail())})
	if out.Verdict != Answered {
		t.Fatalf("got %v (%s), want answered", out.Verdict, out.Reason)
	}
	want := strings.ReplaceAll(`From: alice@example.test
To: acme-challenge+1@ca.example
Subject: Re: ACME: V4nE8NhYh6edBpfQTg5qqQ
Date: `+now.Format("Mon, 2 Jan 2006 15:04:05 -0700")+`
Message-ID: `+out.ReplyID+`
In-Reply-To: <challenge-1@ca.example>
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii
Content-Transfer-Encoding: 7bit

-----BEGIN ACME RESPONSE-----
gtzugYfQ1gO_Pi-ripWZTUtKP_xzPoQe-brDkSOvX5c
-----END ACME RESPONSE-----
`, "\n", "\r\n")
	if len(s.out.sent) != 1 || s.out.sent[0] != want {
		t.Errorf("sent %q, want %q", s.out.sent, want)
	}
	if env := s.out.env[0]; env != (submit.Envelope{From: alice, To: caFrom}) {
		t.Errorf("envelope %v", env)
	}
	if a, err := s.State.Answer("order-1"); err != nil || a.Phase != state.Sent || a.MessageIDs.Reply != out.ReplyID {
		t.Errorf("answer on disk is %+v, %v", a, err)
	}
}

// The reply is dated in 24 hours, with the zone of this host.
func TestReplyDate(t *testing.T) {
	r := &reply{date: time.Date(2026, 6, 1, 17, 4, 5, 0, time.FixedZone("", -(3*60+30)*60))}
	if text := string(r.bytes()); !strings.Contains(text, "\r\nDate: Mon, 1 Jun 2026 17:04:05 -0330\r\n") {
		t.Error(text)
	}
}

// RFC 8823, Section 3, item 6: never answer twice.
func TestAnswerOnce(t *testing.T) {
	s := newSite(t)
	mail := signedBy(t, "ca.example", challengeMail())
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if out := s.Answer(context.Background(), Message{Raw: mail}); out.Verdict != Answered && out.Verdict != None {
				t.Errorf("got %v (%s)", out.Verdict, out.Reason)
			}
		})
	}
	wg.Wait()
	if len(s.out.sent) != 1 {
		t.Errorf("%d replies, want 1", len(s.out.sent))
	}
}

// otherPart1 belongs to another challenge that the CA has sent for the same order, or for a
// stranger's order for the same address.
const otherPart1 = "Zm9yIGFub3RoZXIgb3JkZXI"

func otherMail(t *testing.T) Message {
	return Message{Raw: signedBy(t, "ca.example", strings.Replace(challengeMail(), part1, otherPart1, 1))}
}

// A copy of the answered challenge is answered. Nobody has answered another, equally genuine
// one, so it is refused and delivered.
func TestAnotherChallenge(t *testing.T) {
	s := newSite(t)
	mail := Message{Raw: signedBy(t, "ca.example", challengeMail())}
	first := s.Answer(context.Background(), mail)
	if first.Verdict != Answered {
		t.Fatalf("got %v (%s), want answered", first.Verdict, first.Reason)
	}
	folded := Message{Raw: signedBy(t, "ca.example", strings.Replace(challengeMail(), "ACME: V4", "ACME:\r\n V4", 1))}
	for _, copied := range []Message{mail, folded} {
		if out := s.Answer(context.Background(), copied); out.Verdict != Answered || out.ReplyID != first.ReplyID {
			t.Errorf("a copy: %v (%s), reply %s", out.Verdict, out.Reason, out.ReplyID)
		}
	}
	if out := s.Answer(context.Background(), otherMail(t)); out.Verdict != Refused || out.ReplyID != "" || !strings.Contains(out.Reason, "another challenge") {
		t.Errorf("another challenge: %v (%s), reply %s", out.Verdict, out.Reason, out.ReplyID)
	}
	for _, c := range []struct {
		mail Message
		want Verdict
	}{{mail, Answered}, {otherMail(t), Refused}} {
		if out := s.Explain(context.Background(), c.mail); out.Verdict != c.want || strings.Contains(out.Reason, "would be") {
			t.Errorf("explained as %v (%s), want %v", out.Verdict, out.Reason, c.want)
		}
	}
	if len(s.out.sent) != 1 {
		t.Errorf("%d replies, want 1", len(s.out.sent))
	}
}

// The first challenge's result decides whether another one may be answered.
func TestAnotherChallengeAfterTrouble(t *testing.T) {
	for _, c := range []struct {
		name string
		fail error
		want Verdict
	}{
		{"temporary", &submit.Error{Err: errors.New("450 4.2.0 greylisted")}, Answered},
		{"permanent", &submit.Error{Class: submit.Failed, Err: errors.New("550 5.7.26 not authenticated")}, Answered},
		{"in doubt", &submit.Error{Class: submit.Unknown, Err: errors.New("connection reset")}, Refused},
	} {
		s := newSite(t)
		s.out.fail = c.fail
		s.Answer(context.Background(), Message{Raw: signedBy(t, "ca.example", challengeMail())})
		s.out.fail = nil
		if out := s.Answer(context.Background(), otherMail(t)); out.Verdict != c.want {
			t.Errorf("%s: %v (%s), want %v", c.name, out.Verdict, out.Reason, c.want)
		}
	}
}

// While the first one's reply is on its way: its copy is left to it, but another challenge
// does not pass for it.
func TestAnotherChallengeAtOnce(t *testing.T) {
	s := newSite(t)
	sending, goOn := make(chan bool), make(chan bool)
	s.Send = func(_ context.Context, _ submit.Envelope, _ []byte, beforeDot func() error) error {
		sending <- true
		<-goOn
		return beforeDot()
	}
	first := make(chan Outcome)
	mail := Message{Raw: signedBy(t, "ca.example", challengeMail())}
	go func() { first <- s.Answer(context.Background(), mail) }()
	<-sending
	for name, c := range map[string]struct {
		mail Message
		want Verdict
	}{"a copy": {mail, None}, "another": {otherMail(t), Refused}} {
		if out := s.Answer(context.Background(), c.mail); out.Verdict != c.want || out.ReplyID != "" {
			t.Errorf("%s: %v (%s), reply %q, want %v", name, out.Verdict, out.Reason, out.ReplyID, c.want)
		}
	}
	close(goOn)
	if out := <-first; out.Verdict != Answered {
		t.Errorf("the first: %v (%s)", out.Verdict, out.Reason)
	}
}

// taken is a store whose claims fail, and what became of the one that came first.
type taken struct {
	state.Store
	claim  error
	answer *state.Answer
	unread error
}

func (s taken) Claim(*state.Pending, string, string, time.Time) (state.Claim, error) {
	return nil, s.claim
}

func (s taken) Answer(string) (*state.Answer, error) { return s.answer, s.unread }

// Between a failed claim and the question why it failed, the process that had it may end.
func TestTaken(t *testing.T) {
	answer := func(phase state.Phase, part1 string) *state.Answer {
		return &state.Answer{Phase: phase, Part1: fingerprint(part1), MessageIDs: state.MessageIDs{Reply: "<r>"}}
	}
	for name, c := range map[string]struct {
		store taken
		want  Verdict
		reply string
	}{
		"at work on it":       {taken{claim: state.ErrBusy, answer: answer(state.Sending, part1)}, None, ""},
		"at work on another":  {taken{claim: state.ErrBusy, answer: answer(state.Claimed, otherPart1)}, Refused, ""},
		"given back":          {taken{claim: state.ErrBusy}, None, ""},
		"not known":           {taken{claim: state.ErrBusy, unread: errors.New("no route to host")}, None, ""},
		"answered it":         {taken{claim: state.ErrBusy, answer: answer(state.Sent, part1)}, Answered, "<r>"},
		"answered another":    {taken{claim: state.ErrBusy, answer: answer(state.Sent, otherPart1)}, Refused, ""},
		"died after the dot":  {taken{claim: state.ErrBusy, answer: answer(state.Unknown, part1)}, Refused, ""},
		"the order has ended": {taken{claim: state.ErrGone}, None, ""},
	} {
		s := newSite(t)
		c.store.Store = s.State
		s.State = c.store
		out := s.Answer(context.Background(), Message{Raw: signedBy(t, "ca.example", challengeMail())})
		if out.Verdict != c.want || out.ReplyID != c.reply || len(s.out.sent) != 0 {
			t.Errorf("%s: %v (%s), reply %q, want %v", name, out.Verdict, out.Reason, out.ReplyID, c.want)
		}
	}
}

// The SMTP server's reply decides what is recorded and whether a later delivery of the same
// challenge is answered.
func TestAnswerSMTPTrouble(t *testing.T) {
	for _, c := range []struct {
		name    string
		fail    error
		verdict Verdict
		phase   state.Phase // "" means that the claim was given back
		again   Verdict     // of a second delivery, when the server works again
	}{
		{"temporary", &submit.Error{Err: errors.New("450 4.2.0 greylisted")}, Later, "", Answered},
		{"permanent", &submit.Error{Class: submit.Failed, Err: errors.New("550 5.7.26 not authenticated")}, Refused, state.Failed, Answered},
		{"in doubt", &submit.Error{Class: submit.Unknown, Err: errors.New("connection reset")}, Refused, state.Unknown, Refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.out.fail = c.fail
			mail := Message{Raw: signedBy(t, "ca.example", challengeMail())}
			out := s.Answer(context.Background(), mail)
			if out.Verdict != c.verdict || !strings.Contains(out.Reason, c.fail.Error()) {
				t.Errorf("got %v (%s), want %v with the server's words", out.Verdict, out.Reason, c.verdict)
			}
			var phase state.Phase
			if a, err := s.State.Answer("order-1"); err != nil {
				t.Fatal(err)
			} else if a != nil {
				phase = a.Phase
			}
			if phase != c.phase {
				t.Errorf("phase %q, want %q", phase, c.phase)
			}
			// The answer tells the issuing half what the server said, so a note does not.
			if notes, err := s.State.Notes([]string{"order-1"}); err != nil || (len(notes) == 1) != (c.phase == "") {
				t.Errorf("notes %+v, %v", notes, err)
			}
			s.out.fail = nil
			if out := s.Explain(context.Background(), mail); out.Verdict != c.again {
				t.Errorf("explained as %v (%s), want %v", out.Verdict, out.Reason, c.again)
			}
			if out := s.Answer(context.Background(), mail); out.Verdict != c.again {
				t.Errorf("second delivery: %v (%s), want %v", out.Verdict, out.Reason, c.again)
			}
		})
	}
}

// A submission ends with the mail server's patience.
func TestSendEndsInTime(t *testing.T) {
	s := newSite(t)
	ctx, cancel := context.WithCancel(context.Background())
	s.Send = func(ctx context.Context, _ submit.Envelope, _ []byte, _ func() error) error {
		cancel()
		return ctx.Err()
	}
	if out := s.Answer(ctx, Message{Raw: signedBy(t, "ca.example", challengeMail())}); out.Verdict != Later {
		t.Errorf("got %v (%s), want later", out.Verdict, out.Reason)
	}
}

// A CA may mail the challenge before it answers the order.
func TestAnswerWaitsForToken(t *testing.T) {
	s := newSite(t)
	full := pending()
	ordering := pending()
	ordering.Token, ordering.From = "", ""
	s.put(t, ordering)
	mail := Message{Raw: signedBy(t, "ca.example", challengeMail())}

	out := s.Answer(context.Background(), mail)
	if out.Verdict != Later {
		t.Fatalf("got %v (%s), want later while the order is not answered", out.Verdict, out.Reason)
	}
	s.TokenWait = time.Minute
	done := make(chan Outcome)
	go func() { done <- s.Answer(context.Background(), mail) }()
	s.put(t, full)
	if out := <-done; out.Verdict != Answered {
		t.Errorf("got %v (%s), want answered once the token is there", out.Verdict, out.Reason)
	}
}

// impatient is a store whose caller does not wait for tokens.
type impatient struct {
	state.Store
	t *testing.T
}

func (s impatient) WaitToken(ctx context.Context, _ []string, _ func() time.Time) ([]*state.Pending, error) {
	if ctx.Err() == nil {
		s.t.Error("the responder waits")
	}
	return nil, context.Canceled
}

// Nobody waits for a token to explain a verdict, or once the mail server has given up.
func TestNoWaitForToken(t *testing.T) {
	s := newSite(t)
	ordering := pending()
	ordering.Token, ordering.From = "", ""
	s.put(t, ordering)
	s.State = impatient{s.State, t}
	mail := Message{Raw: signedBy(t, "ca.example", challengeMail())}
	if out := s.Explain(context.Background(), mail); out.Verdict != Later {
		t.Errorf("explained as %v (%s)", out.Verdict, out.Reason)
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if out := s.Answer(gone, mail); out.Verdict != Later {
		t.Errorf("got %v (%s)", out.Verdict, out.Reason)
	}
}

// The bounds of a message, to the byte. A part of a message is never answered, even if its CA
// need not sign.
func TestBounds(t *testing.T) {
	unsigned := pending()
	unsigned.Policy.Unsigned = "allow"
	// sized returns a challenge with a header and a message of a number of bytes.
	sized := func(header, message int) Message {
		head, body, _ := strings.Cut(challengeMail(), "\r\n\r\n")
		if header > 0 {
			head += "\r\nX: " + strings.Repeat("x", header-len(head)-len("\r\nX: \r\n\r\n"))
		}
		m := head + "\r\n\r\n" + body
		return Message{Raw: []byte(m + strings.Repeat("x", max(0, message-len(m))))}
	}
	part, lf := sized(0, 0), sized(MaxHeader, 0)
	part.Truncated = true
	lf.Raw = []byte(strings.Replace(toLF(string(lf.Raw)), "X: ", "X: xxxxx", 1)) // fits as it comes, and not as it is signed
	for name, c := range map[string]struct {
		m    Message
		want Verdict
	}{
		"largest header":      {sized(MaxHeader, 0), Answered},
		"too large a header":  {sized(MaxHeader+1, 0), None},
		"a header of LF":      {lf, None},
		"largest message":     {sized(0, MaxMessage), Answered},
		"too large a message": {sized(0, MaxMessage+1), Refused},
		"a part of a message": {part, Refused},
		"the whole of it":     {sized(0, 0), Answered},
	} {
		s := newSite(t)
		s.put(t, unsigned)
		if out := s.Answer(context.Background(), c.m); out.Verdict != c.want {
			t.Errorf("%s: %v (%s), want %v", name, out.Verdict, out.Reason, c.want)
		}
	}
}

// mute is a store that takes no notes, and forgets how a submission ended.
type mute struct {
	state.Store
	err error
}

func (s mute) Note(*state.Pending, string, string, time.Time) error { return s.err }

func (s mute) Claim(p *state.Pending, challengeID, replyID string, now time.Time) (state.Claim, error) {
	c, err := s.Store.Claim(p, challengeID, replyID, now)
	return muteClaim{c, s.err}, err
}

type muteClaim struct {
	state.Claim
	err error
}

func (c muteClaim) Sent(time.Time) error { return c.err }

// A store that cannot be written changes no verdict, and is named in the log; a note of
// another user does not matter.
func TestTroubleBesideTheVerdict(t *testing.T) {
	genuine := signedBy(t, "ca.example", challengeMail())
	for _, c := range []struct {
		raw  []byte
		err  error
		want Verdict
		log  string
	}{
		{append(genuine, "altered"...), errors.New("disk full"), Refused, "cannot leave a note"},
		{append(genuine, "altered"...), fs.ErrPermission, Refused, ""},
		{genuine, errors.New("disk full"), Answered, "cannot record the answer"},
	} {
		s := newSite(t)
		var log strings.Builder
		s.State, s.Log = mute{s.State, c.err}, slog.New(slog.NewTextHandler(&log, nil))
		if out := s.Answer(context.Background(), Message{Raw: c.raw}); out.Verdict != c.want {
			t.Errorf("%v (%s), want %v", out.Verdict, out.Reason, c.want)
		}
		if got := log.String(); !strings.Contains(got, c.log) || (got == "") != (c.log == "") {
			t.Errorf("%v: log %q, want %q", c.err, got, c.log)
		}
	}
}

// Without the roots that the admin has named, the system's do not take their place.
func TestRootsUnreadable(t *testing.T) {
	g, err := parseGolden(corpusCase{smime: &smimeSig{}, sign: unsigned}.file())
	if err != nil {
		t.Fatal(err)
	}
	r := g.responder(t)
	r.Roots = func() (*x509.CertPool, error) { return nil, errors.New("roots.pem: no certificate") }
	if out := r.Answer(context.Background(), Message{Raw: g.msg}); out.Verdict != Refused || !strings.Contains(out.Reason, "S/MIME: roots.pem: no certificate") {
		t.Errorf("got %v (%s)", out.Verdict, out.Reason)
	}
}

// What cannot be decided now is put off, not lost.
func TestLater(t *testing.T) {
	mail := Message{Raw: signedBy(t, "ca.example", challengeMail())}
	soon, cancel := context.WithTimeout(context.Background(), sendingTime-time.Second)
	defer cancel()
	for name, c := range map[string]struct {
		ctx    context.Context
		change func(*site)
		reason string
	}{
		"no state":     {context.Background(), func(s *site) { s.State = state.Open(t.TempDir() + "/none") }, "the state cannot be read"},
		"no time":      {soon, func(*site) {}, "too little time is left"},
		"no claims":    {context.Background(), func(s *site) { s.State = unclaimable{s.State} }, "the answer cannot be recorded: disk full"},
		"no signature": {context.Background(), func(s *site) { s.Keys = []Key{{"example.test", "s1", nil}} }, "the reply cannot be sent now: dkim"},
		"no counts":    {context.Background(), func(s *site) { s.State, s.MaxAnswers = uncountable{s.State}, Rate{Total: 1} }, "the counters are lost"},
	} {
		s := newSite(t)
		before := s.State
		c.change(s)
		if out := s.Answer(c.ctx, mail); out.Verdict != Later || !strings.Contains(out.Reason, c.reason) || len(s.out.sent) != 0 {
			t.Errorf("%s: %v (%s), %d replies", name, out.Verdict, out.Reason, len(s.out.sent))
		}
		if out, raw := s.Compose(c.ctx, mail); s.Keys != nil && (out.Verdict != Later || raw != nil) {
			t.Errorf("%s, composed: %v (%s), %q", name, out.Verdict, out.Reason, raw)
		}
		s.State, s.MaxAnswers, s.Keys = before, Rate{}, nil
		if out := s.Answer(context.Background(), mail); out.Verdict != Answered {
			t.Errorf("%s, and again: %v (%s)", name, out.Verdict, out.Reason)
		}
	}
}

type unclaimable struct{ state.Store }

func (unclaimable) Claim(*state.Pending, string, string, time.Time) (state.Claim, error) {
	return nil, errors.New("disk full")
}

type uncountable struct{ state.Store }

func (uncountable) AnswersWithin(time.Duration, string, time.Time) (all, toCA int, err error) {
	return 0, 0, errors.New("the counters are lost")
}

// Ordinary mail, and challenges nobody waits for, cost no look-up in the DNS.
func TestNoneCostsNoLookup(t *testing.T) {
	s := newSite(t)
	for name, mail := range map[string]string{
		"ordinary":       strings.Replace(challengeMail(), "ACME:", "Hello", 1),
		"reply":          strings.Replace(challengeMail(), "ACME:", "Re: ACME:", 1),
		"nobody waits":   strings.Replace(challengeMail(), alice, "bob@example.test", 1),
		"other case":     strings.Replace(challengeMail(), "ACME:", "acme:", 1),
		"header flood":   strings.Repeat("X-A: b\r\n", MaxFields) + challengeMail(),
		"header of 1 MB": "X-A: " + strings.Repeat("a", 1<<20) + "\r\n" + challengeMail(),
	} {
		out := s.Answer(context.Background(), Message{Raw: signedBy(t, "ca.example", mail)})
		if out.Verdict != None {
			t.Errorf("%s: got %v (%s), want none", name, out.Verdict, out.Reason)
		}
	}
	if s.dns.lookups != 0 {
		t.Errorf("%d look-ups", s.dns.lookups)
	}
}

// A check that was not made, because an earlier one failed or the DNS is down, has neither
// passed nor failed, and says why.
func TestExplainNotMade(t *testing.T) {
	reply := strings.Replace(challengeMail(), "Date:", "Reply-To: r@ca.example\r\nDate:", 1)
	altered := strings.Replace(string(signedBy(t, "ca.example", reply)), "\r\n\r\n", "\r\n\r\nAltered.\r\n", 1)
	for _, c := range []struct {
		name, mail string
		want       map[string]Result
	}{
		{"altered body", altered, map[string]Result{
			"To": Passed, "From": Passed, "signature": Failed, "Reply-To": NotMade, "Date": NotMade, "Auto-Submitted": NotMade,
		}},
		{"unsigned", reply, map[string]Result{"signature": Failed, "Reply-To": NotMade, "Date": NotMade, "Auto-Submitted": NotMade}},
		{"unsigned reply", strings.Replace(reply, "auto-generated", "auto-replied", 1), map[string]Result{"Auto-Submitted": Failed}},
		{"no From", strings.Replace(reply, "From:", "X:", 1), map[string]Result{
			"header fields": Failed, "From": NotMade, "pending order": NotMade, "signature": NotMade, "Auto-Submitted": NotMade,
		}},
		{"nobody waits", strings.Replace(challengeMail(), alice, "bob@example.test", 1), map[string]Result{
			"To": Passed, "pending order": Failed, "signature": Failed,
		}},
		{"two mailboxes", strings.Replace(challengeMail(), "To: ", "To: bob@example.test, ", 1), map[string]Result{
			"To": Failed, "pending order": Passed, "signature": Failed,
		}},
		{"no To", strings.Replace(reply, "To:", "X:", 1), map[string]Result{"header fields": Failed, "To": NotMade, "pending order": NotMade}},
		{"too large", reply + strings.Repeat("x", MaxMessage), map[string]Result{"size": Failed, "signature": NotMade}},
		{"genuine", string(signedBy(t, "ca.example", reply)), map[string]Result{
			"size": Passed, "signature": Passed, "Reply-To": Passed, "Date": Passed, "Auto-Submitted": Passed,
		}},
	} {
		out := newSite(t).Explain(context.Background(), Message{Raw: []byte(c.mail)})
		for name, want := range c.want {
			i := slices.IndexFunc(out.Checks, func(check Check) bool { return check.Name == name })
			if i < 0 {
				t.Errorf("%s: no check %q", c.name, name)
			} else if check := out.Checks[i]; check.Result != want || want == NotMade && check.Text == "" {
				t.Errorf("%s: %s is %d, %q; want %d", c.name, check.Name, check.Result, check.Text, want)
			}
		}
	}
}
