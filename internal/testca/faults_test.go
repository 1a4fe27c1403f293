package testca

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestFaults(t *testing.T) {
	tests := []struct {
		fault  string
		status int // 0: no answer at all
		kind   string
	}{
		{"new-nonce:429:1:3s", 429, "rateLimited"},
		{"new-nonce:500:1", 500, "serverInternal"},
		{"*:503:1", 503, ""},
		{"new-nonce:html:1", 200, ""},
		{"new-nonce:drop:1", 0, ""},
		{"new-nonce:slow:1:1ms", 204, ""},
	}
	for _, test := range tests {
		t.Run(test.fault, func(t *testing.T) {
			f, err := ParseFault(test.fault)
			if err != nil {
				t.Fatal(err)
			}
			ca := start(t, Config{Faults: []Fault{f}})
			checkFault(t, ca, test.status, test.kind, f)
			res, err := httpClient(t, ca).Get(ca.url(kindNewNonce, ""))
			if err != nil || res.StatusCode != 204 {
				t.Fatalf("the fault does not end: %v, %v", res, err)
			}
			res.Body.Close()
			if n := ca.Counters().Failed; n != 1 {
				t.Errorf("%d faults counted", n)
			}
		})
	}
}

func checkFault(t *testing.T, ca *CA, status int, kind string, f Fault) {
	t.Helper()
	// POST: net/http itself repeats a GET whose connection broke.
	method := http.MethodGet
	if f.Type == FaultDrop {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(t.Context(), method, ca.url(kindNewNonce, ""), nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := httpClient(t, ca).Do(req)
	if status == 0 {
		if err == nil {
			t.Errorf("an answer came: %v", res)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != status {
		t.Errorf("%d %s, %v", res.StatusCode, body, err)
	}
	if kind != "" {
		wantProblem(t, res, body, status, kind)
	}
	if wait := res.Header.Get("Retry-After"); f.Type == FaultRateLimit && wait != "3" || f.Type == FaultDown && wait != "1" {
		t.Errorf("Retry-After is %q", wait)
	}
	if f.Type == FaultHTML && !strings.Contains(string(body), "<title>") {
		t.Errorf("the page is %q", body)
	}
}

func TestFaultElsewhere(t *testing.T) {
	ca := start(t, Config{})
	if err := ca.AddFault(Fault{Kind: kindNewOrder, Type: FaultError}); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, ca) // other resources are well
	_, err := c.NewOrder(t.Context(), c.acct, orderFor(alice))
	wantACME(t, err, 500, "serverInternal")
	if err := ca.AddFault(Fault{Type: "flood"}); err == nil {
		t.Error("an unknown fault is accepted")
	}
}

func TestParseFault(t *testing.T) {
	f, err := ParseFault("finalize:slow:3:2s")
	if err != nil || f != (Fault{Kind: "finalize", Type: FaultSlow, Count: 3, Delay: 2 * time.Second}) {
		t.Errorf("%+v, %v", f, err)
	}
	for _, s := range []string{"", "finalize", "finalize:slow:x", "finalize:slow:1:x", "finalize:slow:1:1s:1", "x:slow", "finalize:x"} {
		if f, err := ParseFault(s); err == nil {
			t.Errorf("%q is read as %+v", s, f)
		}
	}
}

// The same seed meets the same requests.
func TestChance(t *testing.T) {
	draw := func(seed uint64, p float64) (hits int) {
		f, err := newFaults(Config{Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		for range 10000 {
			if f.chance(p) {
				hits++
			}
		}
		return hits
	}
	if a, b := draw(7, 0.1), draw(7, 0.1); a != b || a < 800 || a > 1200 {
		t.Errorf("%d and %d of 10000 at 10 %%", a, b)
	}
	if draw(1, 0) != 0 || draw(1, 1) != 10000 {
		t.Error("0 or 1 is not certain")
	}
}

// A good nonce is refused as a bad one is: with a fresh one beside it.
func TestBadNonce(t *testing.T) {
	ca := start(t, Config{BadNonce: 1})
	c := newJWSClient(t, ca)
	res, body := c.post(ca.url(kindNewAccount, ""), "{}", parts{})
	wantProblem(t, res, body, 400, "badNonce")
	if n := ca.Counters().BadNonce; n != 1 {
		t.Errorf("%d nonces refused", n)
	}
}

// A client that does as RFC 8555, Section 6.5, says gets through all the same.
func TestSomeBadNonces(t *testing.T) {
	box := newMailbox(t)
	ca := start(t, Config{Relay: box.addr, BadNonce: 0.3, Seed: 2})
	newClient(t, ca).obtain(ca, box, alice)
	if ca.Counters().BadNonce == 0 {
		t.Error("no nonce was refused")
	}
}

func TestFail(t *testing.T) {
	box := newMailbox(t)
	ca := start(t, Config{Relay: box.addr, Fail: 0.15, Seed: 1})
	newClient(t, ca).obtain(ca, box, alice)
	if ca.Counters().Failed == 0 {
		t.Error("no request failed")
	}
}
