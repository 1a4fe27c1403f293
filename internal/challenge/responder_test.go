package challenge

import (
	"context"
	"errors"
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
			s.out.fail = nil
			if out := s.Answer(context.Background(), mail); out.Verdict != c.again {
				t.Errorf("second delivery: %v (%s), want %v", out.Verdict, out.Reason, c.again)
			}
		})
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
		{"too large", reply + strings.Repeat("x", MaxMessage), map[string]Result{"size": Failed, "signature": NotMade}},
		{"genuine", string(signedBy(t, "ca.example", reply)), map[string]Result{
			"size": Passed, "signature": Passed, "Reply-To": Passed, "Date": Passed, "Auto-Submitted": Passed,
		}},
	} {
		out := newSite(t).Explain(context.Background(), Message{Raw: []byte(c.mail)})
		for _, check := range out.Checks {
			if want, ok := c.want[check.Name]; ok && (check.Result != want || want == NotMade && check.Text == "") {
				t.Errorf("%s: %s is %d, %q; want %d", c.name, check.Name, check.Result, check.Text, want)
			}
		}
	}
}
