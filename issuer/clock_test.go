package issuer

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postseal/internal/failure"
	"postseal/internal/testca"
	"postseal/issuer/ca"
	"postseal/issuer/store"
	"postseal/state"
)

// clock is the clock of a machine, for both halves; the CA's is right. It cannot be the
// system's clock here: everybody shares that one, a time namespace does not change it
// (time_namespaces(7)), and a static Go program loads no libfaketime.
type clock struct{ ahead atomic.Int64 }

func (c *clock) step(to time.Duration) { c.ahead.Store(int64(to)) }

// now has no monotonic part, so that no interval across a step is right by luck.
func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())).Round(0) }

// stepped makes an issuer and a mail half with that clock, which changes to "to" as soon as
// an order reaches a step.
func (w *world) stepped(c *clock, at StepKind, to time.Duration) *Issuer {
	w.now = c.now
	return w.issuer(func(o *Options) {
		record := o.OnStep
		o.Now = c.now
		o.OnStep = func(s Step) {
			record(s)
			if s.Kind == at {
				c.step(to)
			}
		}
	})
}

// The clock moves an hour forward or back at any step of an order, or is wrong from its
// start: the order ends with a certificate, without a second order or reply. If the clock is
// behind the certificate's first second, the order ends once the clock is right.
func TestClockStepsInAnOrder(t *testing.T) {
	steps := []StepKind{"", StepAccount, StepOrder, StepChallenge, StepWait, StepAnswer, StepPost, StepValid, StepFinalize, StepIssued}
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		for _, at := range steps {
			t.Run(by.String()+" at "+string(at), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, testca.Config{MailTrigger: testca.MailOnOrder})
				c := new(clock)
				if at == "" {
					c.step(by)
				}
				i := w.stepped(c, at, by)
				res, err := i.Obtain(t.Context(), w.request(alice))
				if by < 0 && at != StepIssued {
					if failure.KindOf(err) != failure.KindLater || !strings.Contains(err.Error(), "clock") || len(w.entries("orders")) != 1 {
						t.Errorf("exit %d: %v; orders %v", failure.KindOf(err), err, w.entries("orders"))
					}
					c.step(0)
					res, err = w.stepped(c, "none", 0).Obtain(t.Context(), w.request(alice))
				}
				if err != nil || res.P12 == "" {
					t.Fatalf("%v\n%s", err, w.transcript())
				}
				w.wantOnce(i)
			})
		}
	}
}

// wantOnce expects one order with one good reply, and that nothing was learned from it.
func (w *world) wantOnce(i *Issuer) {
	w.t.Helper()
	c := w.ca.Counters()
	if c.Events[testca.EventOrder] != 1 || c.Verdicts[testca.VerdictGood] != 1 || len(c.Verdicts) != 1 {
		w.t.Errorf("orders %d, replies %v\n%s", c.Events[testca.EventOrder], c.Verdicts, w.transcript())
	}
	info, err := w.account().Show(w.t.Context())
	if err != nil || info.Learned != (ca.LearnedInfo{}) {
		w.t.Errorf("learned from the clock: %+v, %v", info, err)
	}
	if left := append(w.entries("orders"), w.entries("pending")...); len(left) != 0 {
		w.t.Errorf("left over: %v", left)
	}
}

// An order waits, the clock moves an hour either way, another order starts (which removes
// expired records), and the first one resumes: the mail half could see its record all the
// time.
func TestClockStepsBeforeResume(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testca.Config{MailTrigger: testca.MailOnAuthz, Validate: testca.ValidateOnArrival})
			c := new(clock)
			late := make(chan func() error, 1)
			w.answerWith(func(w *world, p *state.Pending, part1, from, to string) error {
				late <- func() error { return sendReply(w, p, part1, from, to) }
				return nil
			})
			w.stepped(c, "none", 0)
			w.leaveWaiting(w.request(alice))
			reply := <-late
			w.answerWith(nil)
			c.step(by)
			bob := w.request("bob@example.test")
			bob.Server = "https://127.0.0.1:1/directory" // fails after removing expired records
			if _, err := w.stepped(c, "none", by).Obtain(t.Context(), bob); err == nil {
				t.Error("an order at no CA")
			}
			if waiting, err := w.dir.Pending(alice, c.now()); err != nil || len(waiting) != 1 {
				t.Fatalf("records of %s: %v, %v", alice, waiting, err)
			}
			if err := reply(); err != nil {
				t.Fatal(err)
			}
			c.step(0) // for the certificate
			i := w.stepped(c, "none", 0)
			if _, err := i.Obtain(t.Context(), w.request(alice)); err != nil {
				t.Fatalf("%v\n%s", err, w.transcript())
			}
			w.wantOnce(i)
		})
	}
}

// The CA's authorizations live for half an hour, and our clock is an hour ahead: the record
// waits as long as the CA.
func TestClockAheadOfAuthorization(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{AuthzLifetime: 30 * time.Minute})
	c := new(clock)
	c.step(time.Hour)
	i := w.stepped(c, "none", 0)
	if _, err := i.Obtain(t.Context(), w.request(alice)); err != nil {
		t.Fatalf("%v\n%s", err, w.transcript())
	}
	w.wantOnce(i)
}

// A certificate is due by the present clock; one that was renewed while the clock was an hour
// fast or slow is neither renewed twice nor forgotten.
func TestClockStepsInRenewal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{AlwaysReady: true, NoARI: true, Lifetime: 90 * day})
	c := new(clock)
	i := w.stepped(c, "none", 0)
	first, err := i.Obtain(t.Context(), w.request(alice))
	if err != nil {
		t.Fatal(err)
	}
	r, err := store.ReadRenewal(first.Dir)
	if err != nil {
		t.Fatal(err)
	}
	due := time.Until(r.RenewAt())
	for _, tc := range []struct {
		name  string
		ahead time.Duration
		want  int
	}{
		{"half an hour too early", due - 30*time.Minute, 0},
		{"an hour fast", due + 30*time.Minute, 1},
		{"put right", due - 30*time.Minute, 0},
		{"long expired", 91 * day, 1},
	} {
		c.step(tc.ahead)
		reqs, err := i.DueRequests(context.Background(), Renewal{})
		if err != nil || len(reqs) != tc.want {
			t.Errorf("%s: %d due, %v; want %d", tc.name, len(reqs), err, tc.want)
		}
	}
	c.step(due + 30*time.Minute)
	if n := w.renew(i, Renewal{}); n != 1 {
		t.Fatalf("%d renewed\n%s", n, w.transcript())
	}
	for _, ahead := range []time.Duration{0, time.Hour, -time.Hour} {
		c.step(ahead)
		if n := w.renew(i, Renewal{}); n != 0 {
			t.Errorf("%v ahead: %d renewed a second time", ahead, n)
		}
	}
	if orders := w.ca.Counters().Events[testca.EventOrder]; orders != 2 {
		t.Errorf("%d orders, want 2", orders)
	}
}
