package testca

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// FaultType is what goes wrong.
type FaultType string

const (
	FaultRateLimit FaultType = "429"  // rateLimited, with Retry-After
	FaultError     FaultType = "500"  // serverInternal
	FaultDown      FaultType = "503"  // no problem document, Retry-After
	FaultHTML      FaultType = "html" // a page with status 200
	FaultDrop      FaultType = "drop" // the connection breaks
	FaultSlow      FaultType = "slow" // the answer is late by Delay
)

// Fault makes requests go wrong.
type Fault struct {
	Kind  string // the resource, such as "new-order" or "finalize"; "" for all
	Type  FaultType
	Count int           // how many requests; 0 for all
	Delay time.Duration // of FaultSlow, and in Retry-After; default 1s; below 0 without Retry-After
}

// ParseFault reads KIND:TYPE[:COUNT[:DELAY]], KIND "*" being all.
func ParseFault(s string) (Fault, error) {
	parts := strings.Split(s, ":")
	if len(parts) < 2 || len(parts) > 4 {
		return Fault{}, fmt.Errorf("fault %q is not KIND:TYPE[:COUNT[:DELAY]]", s)
	}
	f := Fault{Kind: strings.TrimPrefix(parts[0], "*"), Type: FaultType(parts[1])}
	var err error
	if len(parts) > 2 {
		if f.Count, err = strconv.Atoi(parts[2]); err != nil {
			return Fault{}, fmt.Errorf("fault %q: the count %q is not a number", s, parts[2])
		}
	}
	if len(parts) > 3 {
		if f.Delay, err = time.ParseDuration(parts[3]); err != nil {
			return Fault{}, fmt.Errorf("fault %q: %w", s, err)
		}
	}
	return f, f.check()
}

func (f Fault) check() error {
	if !oneOf(f.Type, FaultRateLimit, FaultError, FaultDown, FaultHTML, FaultDrop, FaultSlow) {
		return fmt.Errorf("unknown fault %q: want 429, 500, 503, html, drop or slow", f.Type)
	}
	if !oneOf(f.Kind, "", kindDirectory, kindNewNonce, kindNewAccount, kindAccount, kindOrders,
		kindKeyChange, kindNewOrder, kindOrder, kindFinalize, kindAuthz, kindChallenge,
		kindCertificate, kindRevoke, kindRenewalInfo) {
		return fmt.Errorf("unknown resource %q for a fault", f.Kind)
	}
	return nil
}

// faults decides which requests go wrong.
type faults struct {
	mu   sync.Mutex
	rand *rand.Rand
	list []Fault
}

func newFaults(cfg Config) (*faults, error) {
	f := &faults{}
	for _, one := range cfg.Faults {
		if err := f.add(one); err != nil {
			return nil, err
		}
	}
	seed := cfg.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	f.rand = rand.New(rand.NewPCG(seed, 0))
	return f, nil
}

func (f *faults) add(one Fault) error {
	if err := one.check(); err != nil {
		return err
	}
	or(&one.Delay, time.Second)
	or(&one.Count, -1) // never used up
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, one)
	return nil
}

// AddFault makes requests go wrong from now on.
func (ca *CA) AddFault(one Fault) error { return ca.faults.add(one) }

// chance is true with probability p.
func (f *faults) chance(p float64) bool {
	if p <= 0 {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rand.Float64() < p
}

// take returns the fault a request of this kind meets, if any, and uses one
// of its count up.
func (f *faults) take(kind string) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.list {
		one := &f.list[i]
		if one.Count != 0 && (one.Kind == "" || one.Kind == kind) {
			one.Count--
			return *one, true
		}
	}
	return Fault{}, false
}

// injectFault lets a request meet its fault; true means it was answered.
// Nothing was done for the request by then, its nonce included.
func (ca *CA) injectFault(w http.ResponseWriter, r *http.Request, kind string) bool {
	f, met := ca.faults.take(kind)
	if !met && ca.faults.chance(ca.cfg.Fail) {
		f, met = Fault{Type: FaultError}, true
	}
	if !met {
		return false
	}
	ca.journal.count(func(c *Counters) { c.Failed++ })
	switch f.Type {
	case FaultSlow:
		ca.delay(r, f.Delay)
		return false
	case FaultDrop:
		panic(http.ErrAbortHandler) // net/http breaks the connection, quietly
	case FaultHTML:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, "<!DOCTYPE html><title>Maintenance</title><p>We will be back soon.\n")
	case FaultDown:
		if f.Delay > 0 {
			w.Header().Set("Retry-After", retryAfter(f.Delay))
		}
		http.Error(w, "Service Unavailable", http.StatusServiceUnavailable)
	case FaultRateLimit:
		writeProblem(w, rateLimited(f.Delay))
	default:
		writeProblem(w, problemf(http.StatusInternalServerError, "serverInternal", "a failure was asked for; try again"))
	}
	return true
}

func rateLimited(wait time.Duration) *problem {
	if wait < 0 {
		return problemf(http.StatusTooManyRequests, "rateLimited", "too many requests of this kind")
	}
	return problemf(http.StatusTooManyRequests, "rateLimited", "too many requests of this kind; wait %s s", retryAfter(wait)).
		with("Retry-After", retryAfter(wait))
}

// delay returns after d, or when the client or the CA is gone.
func (ca *CA) delay(r *http.Request, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	case <-ca.ctx.Done():
	}
}
