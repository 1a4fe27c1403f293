package issuer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postseal/internal/failure"
	"postseal/internal/test/mta"
	"postseal/internal/testca"
	"postseal/issuer/ca"
	"postseal/issuer/store"
)

func (w *world) requests(n int) []Request {
	reqs := make([]Request, n)
	for k := range reqs {
		reqs[k] = w.request(fmt.Sprintf("user%04d@example.test", k))
		reqs[k].Timeout = 5 * time.Minute
	}
	return reqs
}

// A rate limit in the middle slows the batch down but fails nothing; another run finds
// nothing to do.
func TestBatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{Validate: testca.ValidateOnArrival, Faults: []testca.Fault{
		{Kind: "new-order", Type: testca.FaultRateLimit, Count: 3},
		{Kind: "finalize", Type: testca.FaultRateLimit, Count: 2},
	}})
	reqs := w.requests(20)
	count := func(i *Issuer) map[failure.Kind]int {
		codes := map[failure.Kind]int{}
		i.Batch(t.Context(), reqs, 8, func(n int, res *Result, err error) {
			codes[failure.KindOf(err)]++
			if err == nil && res.Emails[0] != reqs[n].Emails[0] {
				t.Errorf("%v is the result of %v", res.Emails, reqs[n].Emails)
			}
		})
		return codes
	}
	if codes := count(w.issuer()); codes[failure.KindNone] != 20 {
		t.Errorf("%v\n%s", codes, w.transcript())
	}
	if codes := count(w.issuer()); codes[failure.KindNotDue] != 20 {
		t.Errorf("again: %v", codes)
	}
	if c := w.ca.Counters(); c.Events[testca.EventOrder] != 20 || c.Events[testca.EventAccount] != 1 {
		t.Errorf("%+v", c.Events)
	}
}

// Without an account no order is possible: the batch ends with the first.
func TestBatchWithoutAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{RequireEAB: true})
	asked := 0
	i := w.issuer(func(o *Options) {
		o.Account = ca.AccountOptions{Ask: func(string) (bool, error) { asked++; return false, nil }}
	})
	failed := 0
	i.Batch(t.Context(), w.requests(30), 1, func(_ int, _ *Result, err error) {
		if failure.KindOf(err) == failure.KindFailed {
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
	codes := map[failure.Kind]int{}
	w.issuer().Batch(ctx, w.requests(30), 2, func(_ int, _ *Result, err error) {
		codes[failure.KindOf(err)]++
		cancel()
	})
	if codes[failure.KindNone] < 1 || codes[failure.KindNone] > 3 || codes[failure.KindLater] != 30-codes[failure.KindNone] {
		t.Errorf("%v", codes)
	}
}

// A wait that is longer than the timeout allows ends with exit status 75.
func TestRateLimitTooLong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{Faults: []testca.Fault{{Kind: "new-order", Type: testca.FaultRateLimit, Delay: time.Hour}}})
	_, err := w.issuer().Obtain(t.Context(), w.request(alice))
	if failure.KindOf(err) != failure.KindLater || len(w.entries("orders")) != 0 {
		t.Errorf("%v, %v", err, w.entries("orders"))
	}
}

// BenchmarkOrder measures from order to PKCS#12 with P-256 at a CA that validates on arrival.
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

// BenchmarkBatch makes 1,000 certificates and reports the CPU time of the whole process,
// including the test CA and the mail half, beside the wall time.
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

// silentPort takes connections and never answers.
func silentPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
		}
	}()
	return "https://" + l.Addr().String() + "/directory"
}

// Of five CAs one is dead, one untrusted, one silent and one slow: a failure stays with its
// CA, in cert --each and in renew, whichever is first.
func TestOneCALeavesTheOthersAlone(t *testing.T) {
	mta.NotShort(t)
	t.Parallel()
	w := newWorld(t, testca.Config{ARIDue: true})
	start := func(cfg testca.Config) *testca.CA {
		cfg.Dir, cfg.AlwaysReady, cfg.ARIDue = t.TempDir(), true, true
		ca, err := testca.Start(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ca.Close() })
		return ca
	}
	slow, untrusted := start(testca.Config{Faults: []testca.Fault{{Type: testca.FaultSlow, Delay: 100 * time.Millisecond}}}), start(testca.Config{})
	good := map[string]string{w.ca.DirectoryURL: w.bundle, slow.DirectoryURL: slow.RootFile}
	servers := []string{"https://127.0.0.1:1/directory", untrusted.DirectoryURL, silentPort(t), slow.DirectoryURL, w.ca.DirectoryURL}
	var reqs []Request
	for n, server := range servers {
		for k := range 5 {
			req := w.request(fmt.Sprintf("user%d%d@example.test", n, k))
			req.Server, req.CABundle, req.Timeout = server, cmp.Or(good[server], w.bundle), time.Minute
			reqs = append(reqs, req)
		}
	}
	check := func(what string, reqs []Request) {
		issued := 0
		w.issuer().Batch(t.Context(), reqs, 2, func(n int, res *Result, err error) {
			if _, ok := good[reqs[n].Server]; ok && err != nil || !ok && failure.KindOf(err) != failure.KindFailed {
				t.Errorf("%s at %s: exit %d: %v", what, reqs[n].Server, failure.KindOf(err), err)
			}
			if err == nil {
				issued++
			}
		})
		if issued != 10 || len(reqs) != 25 {
			t.Errorf("%s: %d of %d issued", what, issued, len(reqs))
		}
	}
	check("cert", reqs)
	for _, req := range reqs { // as if all had been issued before their CAs disappeared
		if _, ok := good[req.Server]; ok {
			continue
		}
		r, err := store.ReadRenewal(w.dir.Path("certs", "user40@example.test"))
		if err != nil {
			t.Fatal(err)
		}
		r.Settings, r.AskAfter = req.Settings, time.Time{}
		dir := w.dir.Path("certs", req.Emails[0])
		if err := errors.Join(os.Mkdir(dir, 0o700), store.Write(filepath.Join(dir, store.RenewalFile), r)); err != nil {
			t.Fatal(err)
		}
	}
	due, err := w.issuer().DueRequests(t.Context(), Renewal{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	check("renew", due)
}

// One CA's rate limit, with more of its orders than there are workers, does not delay orders
// at another CA.
func TestRateLimitHoldsNoOtherCA(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{AlwaysReady: true})
	limited := newWorld(t, testca.Config{Faults: []testca.Fault{{Kind: "new-order", Type: testca.FaultRateLimit, Delay: time.Hour}}})
	var reqs []Request
	for n := range 6 {
		req := w.request(fmt.Sprintf("limited%d@example.test", n))
		req.Server, req.CABundle, req.Timeout = limited.ca.DirectoryURL, limited.bundle, 2*time.Hour
		reqs = append(reqs, req)
	}
	reqs = append(reqs, w.requests(4)...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const note = `the CA says "too many requests of this kind; wait 3600 s" (rateLimited); waiting 1h as it asks`
	told := make(chan struct{})
	tell := sync.OnceFunc(func() { close(told) })
	w.onStep = func(s Step) {
		if s.Kind == StepNote && strings.Contains(s.Text, note) {
			tell()
		}
	}
	issued := 0
	w.issuer().Batch(ctx, reqs, 2, func(n int, _ *Result, err error) {
		if err == nil {
			issued++
		}
		if issued == 4 && err == nil {
			select {
			case <-told:
			case <-time.After(time.Minute):
				t.Errorf("the limit is not told: %s", w.transcript())
			}
			cancel() // nobody waits the hour
		}
	})
	if issued != 4 {
		t.Errorf("%d issued", issued)
	}
}

// If a CA accepts no more orders for hours, a thousand orders do not all ask it: the first
// refusal ends new orders, and several in a row end those that were told to wait.
func TestRateLimitIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	for name, newcomer := range map[string]bool{"newcomers": true, "others": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testca.Config{Faults: []testca.Fault{{Kind: "new-order", Type: testca.FaultRateLimit, Delay: 3 * time.Hour}}})
			var asked atomic.Int32
			w.onStep = func(s Step) {
				if s.Kind == StepHTTP && strings.Contains(s.Text, ": 429 ") {
					asked.Add(1)
				}
			}
			reqs := w.requests(40)
			for n := range reqs {
				reqs[n].Newcomer = newcomer
			}
			w.issuer().Batch(t.Context(), reqs, 1, func(_ int, _ *Result, err error) {
				if failure.KindOf(err) != failure.KindLater || !strings.Contains(err.Error(), "too many requests") || FailedItself(err) {
					t.Errorf("%v", err)
				}
			})
			if n := asked.Load(); n > 8 || newcomer && n != 1 {
				t.Errorf("asked %d times", n)
			}
			if left := append(w.entries("orders"), w.entries("pending")...); len(left) != 0 {
				t.Errorf("left over: %v", left)
			}
		})
	}
}
