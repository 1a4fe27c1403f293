package challenge

import (
	"context"
	"strings"
	"testing"
	"time"
)

// Between the order and the mail the clock is an hour wrong, or somebody corrects it. The
// CA's clock is right: its mail is dated now.
func TestClockSteps(t *testing.T) {
	for _, c := range []struct {
		name          string
		ordered, mail time.Duration // how far our clock is ahead
		verdict       Verdict
		reason        string
	}{
		{"right", 0, 0, Answered, ""},
		{"forward after the order", 0, time.Hour, Answered, ""},
		{"was slow, put right", -time.Hour, 0, Answered, ""},
		{"was fast, put right", time.Hour, 0, Answered, ""},
		{"fast all the time", time.Hour, time.Hour, Refused, "before the order"},
		{"back after the order", 0, -time.Hour, Refused, "future"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			p := pending()
			p.Created, p.Expires = now.Add(c.ordered), now.Add(c.ordered+24*time.Hour)
			s.put(t, p)
			mail := Message{Raw: signedBy(t, "ca.example", challengeMail())}
			s.Now = func() time.Time { return now.Add(c.mail) }
			if out := s.Answer(context.Background(), mail); out.Verdict != c.verdict || !strings.Contains(out.Reason, c.reason) {
				t.Errorf("got %v (%s), want %v with %q", out.Verdict, out.Reason, c.verdict, c.reason)
			}
			s.Now = func() time.Time { return now }
			s.Answer(context.Background(), mail)
			if len(s.out.sent) > 1 {
				t.Errorf("%d replies", len(s.out.sent))
			}
		})
	}
}
