package store

import (
	"testing"
	"time"
)

const day = 24 * time.Hour

func TestInForce(t *testing.T) {
	end := time.Unix(1_800_000_000, 0)
	for name, tc := range map[string]struct {
		r       Renewal
		at      time.Duration
		inForce bool
	}{
		"before the end": {Renewal{NotAfter: end}, -time.Second, true}, "at the end": {Renewal{NotAfter: end}, 0, false},
		"revoked": {Renewal{NotAfter: end, Revoked: end.Add(-day)}, -time.Second, false},
	} {
		if got := tc.r.InForce(end.Add(tc.at)); got != tc.inForce {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// The moment that was chosen in a window stays as long as the CA's answer does.
func TestSameWindow(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	w := &Window{Start: start, End: start.Add(day), At: start}
	for name, tc := range map[string]struct {
		other *Window
		same  bool
	}{
		"same": {&Window{Start: start.UTC(), End: start.Add(day), At: start.Add(time.Hour)}, true}, "none": {nil, false},
		"another start": {&Window{Start: start.Add(-day), End: start.Add(day)}, false}, "another end": {&Window{Start: start, End: start.Add(2 * day)}, false},
	} {
		if got := w.Same(tc.other); got != tc.same || tc.other.Same(w) != tc.same {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestDue(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r := Renewal{NotBefore: start, NotAfter: start.Add(90 * day)}
	suggest := func(from, at, to int) *Window {
		return &Window{Start: start.Add(time.Duration(from) * day), At: start.Add(time.Duration(at) * day), End: start.Add(time.Duration(to) * day)}
	}
	tests := []struct {
		name     string
		window   *Window
		after    int // days from the start to Retry-After's end
		day      int
		due, ask bool
	}{
		{"never asked", nil, 0, 10, false, true},
		{"no window, asked a moment ago", nil, 11, 10, false, false},
		{"before the last third", nil, 0, 59, false, true},
		{"last third", nil, 0, 60, true, true},
		{"expired", nil, 0, 100, true, true},
		{"early window", suggest(5, 7, 9), 1, 8, true, true},
		{"early window ahead", suggest(20, 21, 22), 1, 10, false, true},
		{"a recall on the second day", suggest(-5, -4, -3), 3, 2, true, false},
		{"late window", suggest(70, 75, 80), 1, 65, false, true},
		{"asked a moment ago", suggest(70, 75, 80), 66, 65, false, false},
		{"asked by a clock that was a year ahead", suggest(70, 75, 80), 400, 10, false, true},
		{"window after the end", suggest(95, 99, 100), 1, 61, true, true},
	}
	for _, tc := range tests {
		now := start.Add(time.Duration(tc.day) * day)
		c := r
		c.Window, c.AskAfter = tc.window, start.Add(time.Duration(tc.after)*day)
		if got := c.Due(now); got != tc.due {
			t.Errorf("%s: due %v", tc.name, got)
		}
		if got := c.AskDue(now); got != tc.ask {
			t.Errorf("%s: asks %v", tc.name, got)
		}
	}
}
