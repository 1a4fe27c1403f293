package milter

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Peers can cause at most perWindow lines of one text in a window. The texts are ours, and
// few.
const (
	perWindow = 5
	window    = time.Minute
)

// Limited returns a logger that drops lines beyond the quota of their text, and reports their
// number with the next line of the same text.
func Limited(l *slog.Logger) *slog.Logger {
	return slog.New(&limited{l.Handler(), &quota{windows: map[string]*count{}, now: time.Now}})
}

type limited struct {
	slog.Handler
	quota *quota
}

// Handle implements slog.Handler.
func (h *limited) Handle(ctx context.Context, r slog.Record) error {
	pass, dropped := h.quota.take(r.Message)
	if !pass {
		return nil
	}
	if dropped > 0 {
		r.AddAttrs(slog.Int("dropped-before", dropped))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *limited) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &limited{h.Handler.WithAttrs(attrs), h.quota}
}

// WithGroup implements slog.Handler.
func (h *limited) WithGroup(name string) slog.Handler {
	return &limited{h.Handler.WithGroup(name), h.quota}
}

// quota counts lines by their text.
type quota struct {
	mu      sync.Mutex
	windows map[string]*count
	now     func() time.Time
}

type count struct {
	start           time.Time
	passed, dropped int
}

func (q *quota) take(text string) (pass bool, dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	c, now := q.windows[text], q.now()
	if c == nil || now.Sub(c.start) >= window {
		if c != nil {
			dropped = c.dropped
		}
		q.windows[text] = &count{start: now, passed: 1}
		return true, dropped
	}
	if c.passed < perWindow {
		c.passed++
		return true, 0
	}
	c.dropped++
	return false, 0
}
