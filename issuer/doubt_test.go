package issuer

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"postseal/internal/failure"
	"postseal/internal/testca"
	"postseal/issuer/store"
	"postseal/state"
)

// losingFirst is a mail half that dies after the final dot of its first reply, which
// never arrives.
func losingFirst() func(w *world, p *state.Pending, part1, from, to string) error {
	lost := make(chan struct{}, 1)
	lost <- struct{}{}
	return func(w *world, p *state.Pending, part1, from, to string) error {
		select {
		case <-lost:
		default:
			return sendReply(w, p, part1, from, to)
		}
		claim, err := w.dir.Claim(p, "<c@ca>", "<r@us>", time.Now())
		if err != nil {
			return err
		}
		return errors.Join(claim.Sending(), claim.Unknown("connection lost", time.Now()))
	}
}

// However short --timeout is, a run gives up a lost reply early enough for another order.
func TestDoubtFitsTimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{Validate: testca.ValidateOnArrival})
	w.answerWith(losingFirst())
	req := w.request(alice)
	req.Timeout = 12 * time.Second // far below Timing.Doubt
	w.obtain(req)
	if got := w.ca.Counters().Events[testca.EventOrder]; got != 2 {
		t.Errorf("%d orders, want 2\n%s", got, w.transcript())
	}
}

// A run whose replies are all lost ends: after three orders nobody hopes for a fourth.
func TestDoubtEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{Validate: testca.ValidateOnArrival})
	w.answerWith(func(w *world, p *state.Pending, _, _, _ string) error { return losingFirst()(w, p, "", "", "") })
	i := w.issuer(func(o *Options) { o.Timing.Doubt = 10 * time.Millisecond })
	_, err := i.Obtain(t.Context(), w.request(alice))
	if failure.KindOf(err) != failure.KindFailed || !strings.Contains(err.Error(), "was lost: connection lost") {
		t.Errorf("exit %d: %v", failure.KindOf(err), err)
	}
	if got := w.ca.Counters().Events[testca.EventOrder]; got != maxOrders {
		t.Errorf("%d orders", got)
	}
	if left := slices.Concat(w.entries("orders"), w.entries("pending")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// The patience with a reply in doubt counts from the POST, whichever run made that, and does
// not restart with each run. After it the run asks the CA once more before another order.
func TestDoubtResumed(t *testing.T) {
	t.Parallel()
	for name, orders := range map[string]int{"lost": 2, "arrived late": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testca.Config{Validate: testca.ValidateOnArrival})
			lose, deliver := losingFirst(), make(chan func() error, 1)
			w.answerWith(func(w *world, p *state.Pending, part1, from, to string) error {
				select {
				case deliver <- func() error { return w.mailReply(p, part1, from, to) }:
				default:
				}
				return lose(w, p, part1, from, to)
			})
			if !w.killedAt(StepPost, w.request(alice)) {
				t.Fatal("was not killed")
			}
			path := w.dir.Path("orders", alice+".json")
			o, err := store.ReadOrder(path)
			if err != nil {
				t.Fatal(err)
			}
			o.Challenges[0].Posted = time.Now().Add(-time.Hour)
			if err := store.Write(path, o); err != nil {
				t.Fatal(err)
			}
			late := <-deliver
			if orders == 1 {
				w.onStep = func(s Step) {
					if s.Kind == StepWait { // read and found pending: now the mail arrives
						if err := late(); err != nil {
							t.Error(err)
						}
					}
				}
			}
			req := w.request(alice)
			req.Timeout = 45 * time.Second // below Timing.Doubt, far more than the order needs
			w.obtain(req)
			if got := w.ca.Counters().Events[testca.EventOrder]; got != orders {
				t.Errorf("%d orders, want %d\n%s", got, orders, w.transcript())
			}
		})
	}
}
