package store

import (
	"testing"
	"time"
)

const day = 24 * time.Hour

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
