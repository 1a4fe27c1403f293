package issuer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postseal/internal/printable"
	"postseal/internal/testca"
	"postseal/state"
)

func (w *world) status() *Status {
	w.t.Helper()
	s, err := w.issuer().Status()
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// told returns the events of a NAME.
func (w *world) told(name string) (events []string) {
	w.t.Helper()
	for _, h := range w.status().History {
		if h.Name == name {
			events = append(events, h.Event)
		}
	}
	return events
}

// The life of an address: its order fails, is cancelled, succeeds, and is revoked.
func TestHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	bad := w.request(alice)
	bad.Profile = "no\u202esuch"
	for n := range 2 {
		late := func(o *Options) { o.Now = func() time.Time { return time.Now().Add(time.Duration(n-2) * time.Hour) } }
		if _, err := w.issuer(late).Obtain(t.Context(), bad); err == nil {
			t.Fatal("an unknown profile is taken")
		}
	}
	s := w.status()
	if len(s.Failed) != 1 || !slices.Equal(s.Failed[0].Emails, []string{alice}) || !strings.Contains(s.Failed[0].Reason, "profile") ||
		!printable.Text(s.Failed[0].Reason) || !s.Failed[0].Since.Before(s.Failed[0].Time) || !s.Failed[0].Since.Equal(s.History[0].Time) {
		t.Fatalf("%+v", s.Failed)
	}

	w.answerWith(func(*world, *state.Pending, string, string, string) error { return nil })
	w.leaveWaiting(w.request(alice))
	if len(w.status().Failed) != 1 {
		t.Error("an order that waits has not succeeded yet")
	}
	dry := w.request(alice)
	dry.DryRun = true
	w.leaveWaiting(dry)
	if _, err := w.issuer().Cancel(t.Context(), []string{alice}, nil, ""); err != nil {
		t.Fatal(err)
	}
	w.answerWith(nil)
	res := w.obtain(w.request(alice))
	w.obtain(w.request("bob@example.test"))
	for range 2 {
		if _, err := w.issuer().Revoke(t.Context(), Revocation{CertPath: res.Cert, Reason: "superseded"}); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := w.told(res.Name), []string{"failed", "failed", "ordered", "given up", "ordered", "issued", "revoked"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	s = w.status()
	s.Only([]string{"ALICE@example.test"})
	last := s.History[len(s.History)-1]
	if len(s.Failed) != 0 || len(s.History) != 7 || last.Serial != res.Serial || last.Reason != "superseded" || len(s.Certificates) != 1 {
		t.Errorf("%+v", s)
	}
}

// A history has only orders: no dry run, and no mistake of the caller.
func TestHistoryOfOrdersAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	w.obtain(w.request(alice))
	again := w.request(alice)
	if _, err := w.issuer().Obtain(t.Context(), again); err == nil {
		t.Error("something was due")
	}
	again.KeyType, again.Asked = "p384", []string{"key-type"}
	if _, err := w.issuer().Obtain(t.Context(), again); err == nil {
		t.Error("a certificate of another kind was replaced")
	}
	dry := w.request(alice)
	dry.DryRun = true
	w.obtain(dry)
	if got := w.told(alice); !slices.Equal(got, []string{"ordered", "issued"}) {
		t.Errorf("%q", got)
	}
}

// An order succeeds even if its history cannot be written.
func TestHistoryNotWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	if err := os.MkdirAll(w.dir.Path("certs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir.Path("certs"), ".history"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.obtain(w.request(alice))
	if !w.said(StepNote, "the history could not be written down") {
		t.Error(w.transcript())
	}
}
