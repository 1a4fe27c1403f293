package issuer

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"postseal/internal/failure"
	"postseal/internal/testca"
	"postseal/issuer/store"
	"postseal/state"
)

// Cancel gives up an order in flight: here at once, and also at the CA.
func TestCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	if _, err := w.issuer().Cancel(t.Context(), []string{alice}, nil, ""); failure.KindOf(err) != failure.KindNotDue {
		t.Errorf("nothing in flight: %v", err)
	}
	w.answerWith(func(*world, *state.Pending, string, string, string) error { return nil })
	w.leaveWaiting(w.request(alice, "bob@example.test"))
	w.leaveWaiting(w.request("carol@example.test"))
	if _, err := w.issuer().Cancel(t.Context(), []string{"nobody@example.test"}, nil, ""); failure.KindOf(err) != failure.KindNotDue {
		t.Errorf("an order of others: %v", err)
	}
	done, err := w.issuer().Cancel(t.Context(), []string{"BOB@example.test"}, nil, "")
	if err != nil || len(done) != 1 || done[0].Deactivated != 2 || done[0].Untold != "" || !slices.Equal(done[0].Emails, []string{alice, "bob@example.test"}) {
		t.Fatalf("%+v, %v", done, err)
	}
	if orders, pending := w.entries("orders"), w.entries("pending"); len(orders) != 1 || len(pending) != 1 {
		t.Errorf("left: %v, %v", orders, pending)
	}
	w.answerWith(nil)
	w.obtain(w.request(alice, "bob@example.test"))

	w.ca.Close()
	done, err = w.issuer().Cancel(t.Context(), []string{"carol@example.test"}, nil, "")
	if err != nil || len(done) != 1 || !strings.Contains(done[0].Untold, "cannot reach") {
		t.Errorf("the CA is away: %+v, %v", done, err)
	}
	if left := append(w.entries("orders"), w.entries("pending")...); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// A process that works on an order keeps it.
func TestCancelWhileRunning(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	came, held := make(chan struct{}), make(chan struct{})
	w.answerWith(func(w *world, p *state.Pending, part1, from, to string) error {
		close(came)
		<-held
		return sendReply(w, p, part1, from, to)
	})
	first := w.child(childJob{State: w.dir.Path(), Settings: w.request(alice).Settings, Timeout: time.Minute, KillAt: "none"})
	<-came
	if _, err := w.issuer().Cancel(t.Context(), []string{alice}, nil, ""); failure.KindOf(err) != failure.KindLater {
		t.Errorf("%v", err)
	}
	close(held)
	if err := first.Wait(); err != nil {
		t.Errorf("%v: %s", err, first.Stdout)
	}
}

// A CA refuses the CSR and shows the order as processing for ever: postseal reports, keeps
// and shows its words, and the order ends within bounds, in this run or a later one.
func TestRefusedAndProcessing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{FinalizeStuck: true, AlwaysReady: true})
	req := w.request(alice)
	const words = `the CA says "the CSR's subject is not to our liking" (badCSR)`
	interrupted := func() error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := w.issuer(func(o *Options) {
			record := o.OnStep
			o.OnStep = func(s Step) {
				record(s)
				if s.Kind == StepHTTP && w.said(StepNote, words) {
					cancel()
				}
			}
		}).Obtain(ctx, req)
		return err
	}
	err := interrupted()
	if failure.KindOf(err) != failure.KindLater || !strings.Contains(err.Error(), words) || !w.said(StepNote, words) {
		t.Errorf("exit %d: %v\n%s", failure.KindOf(err), err, w.transcript())
	}
	s, err := w.issuer().Status()
	if err != nil || len(s.Orders) != 1 || !strings.Contains(s.Orders[0].WaitingFor, words) {
		t.Errorf("status: %+v, %v", s, err)
	}
	impatient := func(o *Options) { o.Timing.Stuck = time.Second }
	req.Timeout = time.Minute
	_, err = w.issuer(impatient).Obtain(t.Context(), req)
	if failure.KindOf(err) != failure.KindFailed || !strings.Contains(err.Error(), words) || failure.HintOf(err) == "" || len(w.entries("orders")) != 0 {
		t.Errorf("exit %d: %v; hint %q; left %v", failure.KindOf(err), err, failure.HintOf(err), w.entries("orders"))
	}

	ctx, cancel := context.WithCancel(t.Context())
	w.onStep = func(s Step) {
		if s.Kind == StepNote && strings.Contains(s.Text, words) {
			cancel()
		}
	}
	if _, err := w.issuer().Obtain(ctx, req); failure.KindOf(err) != failure.KindLater {
		t.Error(err)
	}
	if done, err := w.issuer().Cancel(t.Context(), []string{alice}, nil, ""); err != nil || !done[0].Finalizing || len(w.entries("orders")) != 0 {
		t.Errorf("cancel: %+v, %v", done, err)
	}
}

// postseal reports "not now" in the CA's words, once, and waits as long as told; if the CA
// names no time, postseal does not claim that it did.
func TestNotNow(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault testca.Fault
		says  string
	}{
		"429, a time":        {testca.Fault{Kind: "new-order", Type: testca.FaultRateLimit, Count: 1}, `the CA says "too many requests of this kind; wait 1 s" (rateLimited); waiting 1s as it asks`},
		"429, none":          {testca.Fault{Kind: "new-order", Type: testca.FaultRateLimit, Count: 1, Delay: -1}, `the CA says "too many requests of this kind" (rateLimited); it names no time: trying again in 1s`},
		"503, a time":        {testca.Fault{Kind: "new-order", Type: testca.FaultDown, Count: 1}, `the CA says HTTP 503 Service Unavailable: "Service Unavailable"; waiting 1s as it asks`},
		"503 at directory":   {testca.Fault{Kind: "directory", Type: testca.FaultDown, Count: 1}, `waiting 1s as it asks`},
		"503 at account":     {testca.Fault{Kind: "new-account", Type: testca.FaultDown, Count: 1}, `making an account`},
		"503 at finalize":    {testca.Fault{Kind: "finalize", Type: testca.FaultDown, Count: 1}, `finalizing`},
		"503 at certificate": {testca.Fault{Kind: "certificate", Type: testca.FaultDown, Count: 1}, `downloading`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testca.Config{AlwaysReady: true, Faults: []testca.Fault{tc.fault}})
			w.obtain(w.request(alice))
			notes := 0
			for _, s := range w.steps {
				if s.Kind == StepNote {
					notes++
				}
			}
			if !w.said(StepNote, tc.says) || notes != 1 {
				t.Errorf("%d notes\n%s", notes, w.transcript())
			}
			tries := 0
			for _, s := range w.steps {
				if s.Kind == StepHTTP && (strings.Contains(s.Text, ": 503 ") || strings.Contains(s.Text, ": 429 ")) {
					tries++
				}
			}
			if tries != 1 {
				t.Errorf("%d requests\n%s", tries, w.transcript())
			}

			tc.fault.Count, tc.fault.Delay = 0, time.Hour
			w = newWorld(t, testca.Config{AlwaysReady: true, Faults: []testca.Fault{tc.fault}})
			_, err := w.issuer().Obtain(t.Context(), w.request(alice))
			if failure.KindOf(err) != failure.KindLater || !strings.Contains(err.Error(), "the CA says") || !strings.Contains(err.Error(), "it asks to wait 1h") {
				t.Errorf("an hour: exit %d: %v", failure.KindOf(err), err)
			}
		})
	}
}

// The certificate of an order whose hook failed is there: the CA need not know that nobody
// tries the hook again, and no key is lost.
func TestCancelStored(t *testing.T) {
	t.Parallel()
	i := newStore(t)
	o := store.Order{Version: store.Version, URL: "https://127.0.0.1:1/order", Finalizing: true, Stored: true, HookError: "no"}
	o.Emails, o.Server = []string{alice}, "https://127.0.0.1:1/directory"
	must(t, store.Write(i.disk.OrderPath(alice, false), o))
	done, err := i.Cancel(t.Context(), []string{alice}, nil, "")
	if err != nil || len(done) != 1 || done[0].Finalizing || done[0].Untold != "" || store.Exists(i.disk.OrderPath(alice, false)) {
		t.Errorf("%+v, %v", done, err)
	}
}
