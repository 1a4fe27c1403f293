package issuer

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"postseal/internal/testca"
)

func (w *world) requests(n int) []Request {
	reqs := make([]Request, n)
	for k := range reqs {
		reqs[k] = w.request(fmt.Sprintf("user%04d@example.test", k))
		reqs[k].Timeout = 5 * time.Minute
	}
	return reqs
}

// A rate limit in the middle slows the batch down and fails nothing; another run
// has nothing left to do.
func TestBatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{Validate: testca.ValidateOnArrival, Faults: []testca.Fault{
		{Kind: "new-order", Type: testca.FaultRateLimit, Count: 3},
		{Kind: "finalize", Type: testca.FaultRateLimit, Count: 2},
	}})
	reqs := w.requests(20)
	count := func(i *Issuer) map[Kind]int {
		codes := map[Kind]int{}
		i.Batch(t.Context(), reqs, 8, func(n int, res *Result, err error) {
			codes[KindOf(err)]++
			if err == nil && res.Emails[0] != reqs[n].Emails[0] {
				t.Errorf("%v is the result of %v", res.Emails, reqs[n].Emails)
			}
		})
		return codes
	}
	if codes := count(w.issuer()); codes[None] != 20 {
		t.Errorf("%v\n%s", codes, w.transcript())
	}
	if codes := count(w.issuer()); codes[NotDue] != 20 {
		t.Errorf("again: %v", codes)
	}
	if c := w.ca.Counters(); c.Events[testca.EventOrder] != 20 || c.Events[testca.EventAccount] != 1 {
		t.Errorf("%+v", c.Events)
	}
}

// Without an account nothing can be ordered: the batch ends with the first.
func TestBatchWithoutAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{RequireEAB: true})
	asked := 0
	i := w.issuer(func(o *Options) {
		o.Account = AccountOptions{Ask: func(string) (bool, error) { asked++; return false, nil }}
	})
	failed := 0
	i.Batch(t.Context(), w.requests(30), 1, func(_ int, _ *Result, err error) {
		if KindOf(err) == Failed {
			failed++
		}
	})
	if asked != 1 || failed != 30 {
		t.Errorf("asked %d times, %d failed", asked, failed)
	}
}

func TestBatchInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{AlwaysReady: true})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	codes := map[Kind]int{}
	w.issuer().Batch(ctx, w.requests(30), 2, func(_ int, _ *Result, err error) {
		codes[KindOf(err)]++
		cancel()
	})
	if codes[None] < 1 || codes[None] > 3 || codes[Later] != 30-codes[None] {
		t.Errorf("%v", codes)
	}
}

// A wait that is longer than the timeout allows ends with exit status 75.
func TestRateLimitTooLong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{Faults: []testca.Fault{{Kind: "new-order", Type: testca.FaultRateLimit, Delay: time.Hour}}})
	_, err := w.issuer().Obtain(t.Context(), w.request(alice))
	if KindOf(err) != Later || len(w.entries("orders")) != 0 {
		t.Errorf("%v, %v", err, w.entries("orders"))
	}
}

// BenchmarkOrder goes from order to PKCS#12 with P-256 at a CA that validates on
// arrival.
func BenchmarkOrder(b *testing.B) {
	w := newWorld(b, testca.Config{Validate: testca.ValidateOnArrival})
	w.obtain(w.request("account@example.test"))
	n := 0
	for b.Loop() {
		req := w.request(fmt.Sprintf("bench%d@example.test", n))
		req.Settle = nil
		w.obtain(req)
		n++
	}
}

// BenchmarkBatch makes 1,000 certificates and tells the CPU time of the whole
// process, the test CA and the mail half included, beside the wall time.
func BenchmarkBatch(b *testing.B) {
	for _, keyType := range []string{"p256", "rsa2048"} {
		b.Run(keyType, func(b *testing.B) {
			for b.Loop() {
				w := newWorld(b, testca.Config{Validate: testca.ValidateOnArrival})
				reqs := w.requests(1000)
				for k := range reqs {
					reqs[k].KeyType = keyType
				}
				before, start := cpuTime(), time.Now()
				w.issuer().Batch(b.Context(), reqs, 32, func(_ int, _ *Result, err error) {
					if err != nil {
						b.Error(err)
					}
				})
				wall, cpu := time.Since(start), cpuTime()-before
				b.ReportMetric(wall.Seconds(), "wall-s")
				b.ReportMetric(cpu.Seconds(), "cpu-s")
				b.ReportMetric(wall.Seconds()*float64(runtime.GOMAXPROCS(0))/cpu.Seconds(), "wall×cores/cpu")
			}
		})
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
