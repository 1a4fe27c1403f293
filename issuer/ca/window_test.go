package ca

import (
	"testing"
	"time"

	"postseal/issuer/store"
)

func FuzzParseWindow(f *testing.F) {
	f.Add([]byte(`{"suggestedWindow":{"start":"2026-03-01T00:00:00Z","end":"2026-03-02T00:00:00Z"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		w, err := parseWindow(data)
		if err == nil && (w.At.Add(time.Second).Before(w.Start) || w.At.After(w.End)) {
			t.Errorf("%+v", w)
		}
	})
}

func TestParseWindow(t *testing.T) {
	good := `{"suggestedWindow":{"start":"2026-03-01T00:00:00Z","end":"2026-03-02T00:00:00Z"},"explanationURL":"https://ca.example/why"}`
	seen := map[time.Time]bool{}
	for range 50 {
		w, err := parseWindow([]byte(good))
		if err != nil {
			t.Fatal(err)
		}
		if w.At.Before(w.Start) || !w.At.Before(w.End) || w.Why == "" {
			t.Fatalf("%+v", w)
		}
		seen[w.At] = true
	}
	if len(seen) < 40 {
		t.Errorf("only %d moments in 50", len(seen))
	}
	for _, bad := range []string{``, `{}`, `[]`, `{"suggestedWindow":{"start":"2026-03-02T00:00:00Z","end":"2026-03-01T00:00:00Z"}}`,
		`{"suggestedWindow":{"start":"2026-03-02T00:00:00Z","end":"9999-12-31T23:59:59-23:59"}}`,
		`{"suggestedWindow":{"start":"0000-01-01T00:00:00+23:59","end":"2026-03-01T00:00:00Z"}}`} {
		if w, err := parseWindow([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", bad, w)
		}
	}
}

// Retry-After is at least a minute and at most a day, we never ask before it, and
// certificates of the same minute are not asked for in the same minute.
func TestAskAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for again, least := range map[time.Duration]time.Duration{0: windowAge, time.Second: minWindowAge, 300 * day: store.MaxAskAfter, 6 * time.Hour: 6 * time.Hour} {
		seen := map[time.Time]bool{}
		for range 100 {
			at := askAfter(now, again)
			if wait := at.Sub(now); wait < least || wait > min(least+least/10, store.MaxAskAfter) {
				t.Errorf("Retry-After %s: asks after %s", again, wait)
			}
			seen[at] = true
		}
		if spread := len(seen) > 50; spread != (least >= time.Hour && least < store.MaxAskAfter) {
			t.Errorf("Retry-After %s: %d moments in 100", again, len(seen))
		}
	}
}

const day = 24 * time.Hour
