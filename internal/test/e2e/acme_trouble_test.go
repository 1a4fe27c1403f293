package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"postseal/internal/testca"
)

// acmeRow is how the CA's ACME server fails; said is what "postseal cert" tells of it
// where it gives up for now.
type acmeRow struct {
	name  string
	cfg   testca.Config
	after []testca.Fault // met once the account is there
	said  string
}

var acmeRows = []acmeRow{
	{"500 at every fifth request", testca.Config{Fail: 0.2, Seed: 11}, nil, ""},
	{"bad nonces, 10 %", testca.Config{BadNonce: 0.1, Seed: 7}, nil, ""},
	{"drops connections", testca.Config{}, each(testca.FaultDrop, 3, 0), "cannot reach"},
	{"slow", testca.Config{}, []testca.Fault{{Type: testca.FaultSlow, Delay: 200 * time.Millisecond}}, ""},
	{"HTML with status 200", testca.Config{}, each(testca.FaultHTML, 2, 0), "like an ACME server"},
	{"503 and Retry-After", testca.Config{}, each(testca.FaultDown, 2, time.Second), ""},
	{"429 and Retry-After", testca.Config{}, each(testca.FaultRateLimit, 1, time.Second), ""},
}

// each has each kind of request of an order go wrong some times.
func each(what testca.FaultType, times int, delay time.Duration) (faults []testca.Fault) {
	for _, kind := range []string{"directory", "new-nonce", "new-order", "authz", "challenge", "order", "finalize", "certificate"} {
		faults = append(faults, testca.Fault{Kind: kind, Type: what, Count: times, Delay: delay})
	}
	return faults
}

const ordersOfRow = 4

// An ACME server that fails in every way: each order comes to its certificate, by the
// same command run again where that is what it says, with one reply for each challenge.
func TestACMETrouble(t *testing.T) {
	t.Parallel()
	for _, row := range acmeRows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			row.cfg.Strict, row.cfg.Validate = true, testca.ValidateOnArrival
			y := newYard(t, row.cfg)
			y.startMilter(y.dir)
			for _, f := range row.after {
				y.must(y.ca.AddFault(f))
			}
			var said strings.Builder
			var mu sync.Mutex
			runs := 0
			var orders sync.WaitGroup
			for n := range ordersOfRow {
				orders.Go(func() {
					out, tried := y.untilIssued(fmt.Sprintf("user%d@%s", n, domain))
					mu.Lock()
					defer mu.Unlock()
					runs += tried
					said.WriteString(out)
				})
			}
			orders.Wait()
			y.wantOrdinaryMail()
			replies, doubles := repliesOf(t, y.ca)
			c := y.ca.Counters()
			t.Logf("ACME, %s: %d requests failed, %d nonces refused; %d orders in %d runs, %d certificates; replies sent %d, doubles %d, orders lost 0",
				row.name, c.Failed, c.BadNonce, c.Events[testca.EventOrder], runs, c.Events[testca.EventIssued], replies, doubles)
			if c.Failed+c.BadNonce == 0 {
				t.Error("nothing went wrong: this says nothing")
			}
			if runs > ordersOfRow && !strings.Contains(said.String(), row.said) {
				t.Errorf("nothing about %q was said:\n%s", row.said, &said)
			}
		})
	}
}

// untilIssued runs the same command until there is a certificate. Each run that fails
// says why.
func (y *yard) untilIssued(addr string) (said string, runs int) {
	const most = 20
	for runs = 1; runs <= most; runs++ {
		cmd := y.certCommand(addr)
		out, err := cmd.CombinedOutput()
		said += string(out)
		if err == nil || cmd.ProcessState.ExitCode() == 2 { // 2: an earlier run came to the end
			return said, runs
		}
		if status := cmd.ProcessState.ExitCode(); status != 75 && status != 1 || !strings.Contains(string(out), "postseal: error: ") {
			y.t.Errorf("exit %d\n%s", status, out)
		}
	}
	y.t.Errorf("%s: no certificate after %d runs:\n%s", addr, most, said)
	return said, runs
}
