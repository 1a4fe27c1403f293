package issuer

import (
	"fmt"
	"testing"
	"time"

	"postseal/internal/testca"
	"postseal/issuer/store"
	"postseal/state"
)

// Each moment at which a CA mails, and at which it looks, with each trigger, join and
// workaround. Only the impossible is left out: "reply" at a CA that mails only after the POST
// waits for ever.
func TestMatrix(t *testing.T) {
	for _, mails := range []testca.MailTrigger{testca.MailOnOrder, testca.MailOnAuthz, testca.MailOnPost} {
		for _, looks := range []testca.Validate{testca.ValidateOnArrival, testca.ValidateOnPost} {
			for _, trigger := range []string{"auto", "reply", "post"} {
				for _, compat := range []string{"", "certbot", "serial"} {
					if mails == testca.MailOnPost && trigger == "reply" {
						continue
					}
					t.Run(fmt.Sprintf("mail %s, look %s, trigger %s, %s", mails, looks, trigger, compat), func(t *testing.T) {
						t.Parallel()
						w := newWorld(t, testca.Config{MailTrigger: mails, Validate: looks, Certbot: compat == "certbot", Serial: compat == "serial", Join: testca.JoinBytes})
						req := w.request(alice, "bob@example.test")
						req.Trigger, req.TokenJoin = trigger, "bytes"
						if compat != "" {
							req.Compat = []string{compat}
						}
						i := w.issuer(func(o *Options) { o.Timing = Timing{Post: time.Second} })
						if _, err := i.Obtain(t.Context(), req); err != nil {
							t.Errorf("%v\n%s", err, w.transcript())
						}
					})
				}
			}
		}
	}
}

// Greylisting on either side: the mail, or the reply, is late, and the order waits without
// many requests.
func TestGreylisting(t *testing.T) {
	t.Parallel()
	t.Run("mail", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, testca.Config{MailDelay: 700 * time.Millisecond})
		i := w.issuer(func(o *Options) { o.Timing = Timing{Hint: 100 * time.Millisecond} })
		if _, err := i.Obtain(t.Context(), w.request(alice)); err != nil {
			t.Fatal(err)
		}
		if !w.said(StepNote, "no challenge mail for alice@example.test after 100ms") {
			t.Errorf("nothing said:\n%s", w.transcript())
		}
		if n := w.ca.Counters().Requests["authz"]; n > 4 {
			t.Errorf("the CA was asked %d times", n)
		}
	})
	t.Run("reply", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, testca.Config{Validate: testca.ValidateOnArrival, RefuseMail: 1})
		w.answerWith(func(w *world, p *state.Pending, part1, from, to string) error {
			claim, err := w.dir.Claim(p, "<c@ca>", "<r@us>", time.Now())
			if err != nil {
				return nil //nolint:nilerr // another one has it
			}
			if err := claim.Sending(); err != nil {
				return err
			}
			if err := claim.Sent(time.Now()); err != nil { // our own server has it
				return err
			}
			for w.mailReply(p, part1, from, to) != nil { // the CA's server does not accept it at once
				if t.Context().Err() != nil {
					return t.Context().Err()
				}
			}
			return nil
		})
		req := w.request(alice)
		settle := store.Duration(time.Hour)
		req.Settle = &settle // longer than the order lives, unless a valid authorization cuts it short
		w.obtain(req)
	})
}

// A reply that somebody sent by hand shows only at the CA.
func TestAnsweredElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{Validate: testca.ValidateOnArrival})
	w.answerWith(func(w *world, p *state.Pending, part1, from, to string) error {
		return w.mailReply(p, part1, from, to) // as postseal-pipe --print writes it
	})
	i := w.issuer(func(o *Options) { o.Timing = Timing{Slow: 50 * time.Millisecond} })
	if _, err := i.Obtain(t.Context(), w.request(alice)); err != nil {
		t.Fatal(err)
	}
}

// Two processes at the same CA, both with --compat serial: one after the other.
func TestSerialOrders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{Serial: true})
	reqs := w.requests(4)
	for n := range reqs {
		reqs[n].Compat = []string{"serial"}
	}
	w.issuer().Batch(t.Context(), reqs, 4, func(n int, _ *Result, err error) {
		if err != nil {
			t.Errorf("%v: %v", reqs[n].Emails, err)
		}
	})
}
