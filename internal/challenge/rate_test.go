package challenge

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock sets the clock to a time after the start.
func (s *site) clock(after time.Duration) {
	s.Now = func() time.Time { return now.Add(after) }
}

// order puts a record of order n at a CA, and returns its challenge.
func (s *site) order(t *testing.T, n int, server string) Message {
	t.Helper()
	p := pending()
	p.Expires = now.Add(24 * time.Hour)
	p.ID, p.Email, p.Server = fmt.Sprintf("order-%d-%d", n, len(server)), fmt.Sprintf("user%d@example.test", n), server
	s.put(t, p)
	return Message{Raw: signedBy(t, "ca.example", strings.Replace(challengeMail(), alice, p.Email, 1))}
}

func (s *site) wantAnswer(t *testing.T, m Message, verdict Verdict, reason string) {
	t.Helper()
	if out := s.Answer(context.Background(), m); out.Verdict != verdict || !strings.Contains(out.Reason, reason) {
		t.Errorf("got %v (%s), want %v with %q", out.Verdict, out.Reason, verdict, reason)
	}
}

// Over the limit a challenge is neither answered nor lost.
func TestRate(t *testing.T) {
	s := newSite(t)
	s.MaxAnswers = Rate{PerCA: 2, Total: 3}
	const other = server + "/other"
	s.wantAnswer(t, s.order(t, 1, server), Answered, "")
	s.wantAnswer(t, s.order(t, 2, server), Answered, "")
	third := s.order(t, 3, server)
	s.wantAnswer(t, third, Later, "2 replies were sent to this CA within an hour")
	s.wantAnswer(t, s.order(t, 4, other), Answered, "")
	s.wantAnswer(t, s.order(t, 5, other), Later, "3 replies were sent within an hour")
	if all, err := s.State.Answers(100); err != nil || len(all) != 3 || len(s.out.sent) != 3 {
		t.Errorf("%d replies, answers %v, %v", len(s.out.sent), all, err)
	}
	s.clock(58 * time.Minute)
	s.wantAnswer(t, third, Later, "--max-answers")
	s.clock(62 * time.Minute)
	s.wantAnswer(t, third, Answered, "")

	// Somebody sets the clock back by an hour: earlier replies seem to be in the future, and
	// count; nobody exceeds the limit by that, and later it passes.
	s.clock(0)
	s.MaxAnswers = Rate{PerCA: 3, Total: 10}
	s.wantAnswer(t, s.order(t, 6, server), Later, "3 replies were sent to this CA")
}

// Without a limit nobody counts, so a counter in trouble stops no reply.
func TestNoRate(t *testing.T) {
	s := newSite(t)
	s.State = uncountable{s.State}
	s.wantAnswer(t, s.order(t, 1, server), Answered, "")
}

// Many at the limit at once: not one too many.
func TestRateAtOnce(t *testing.T) {
	s := newSite(t)
	s.MaxAnswers = Rate{PerCA: 5, Total: 100}
	var wg sync.WaitGroup
	for n := range 20 {
		m := s.order(t, n, server)
		wg.Go(func() { s.Answer(context.Background(), m) })
	}
	wg.Wait()
	if len(s.out.sent) > 5 {
		t.Errorf("%d replies, the limit is 5", len(s.out.sent))
	}
}

// A challenge that was put off or refused leaves a note, once a minute however many mails
// arrive; one that was answered or concerns nobody leaves none.
func TestNotes(t *testing.T) {
	s := newSite(t)
	s.MaxAnswers = Rate{PerCA: 1, Total: 1}
	s.wantAnswer(t, s.order(t, 1, server), Answered, "")
	second := s.order(t, 2, server)
	for range 3 {
		s.wantAnswer(t, second, Later, "--max-answers")
	}
	forged := s.order(t, 3, server)
	forged.Raw = append(forged.Raw, "altered\r\n"...)
	s.wantAnswer(t, forged, Refused, "")
	all, err := s.State.All(s.Responder.now())
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, p := range all {
		ids = append(ids, p.ID)
	}
	notes, err := s.State.Notes(ids)
	if err != nil || len(notes) != 2 {
		t.Fatalf("notes %+v, %v", notes, err)
	}
	for _, n := range notes {
		if n.Count != 1 || n.Reason == "" || (n.Verdict != "later" && n.Verdict != "refused") {
			t.Errorf("got %+v", n)
		}
	}
	if notes[0].Verdict == notes[1].Verdict {
		t.Errorf("both are %s", notes[0].Verdict)
	}
}
