package milter

import (
	"strings"
	"testing"
	"time"
)

func TestLimited(t *testing.T) {
	out := new(logged)
	l := Limited(out.logger())
	now := time.Unix(0, 0)
	l.Handler().(*limited).quota.now = func() time.Time { return now }
	sub := l.With("a", 1).WithGroup("g")
	for range 100 {
		l.Warn("one")
		sub.Warn("two")
	}
	if n := out.lines(); n != 2*perWindow {
		t.Errorf("%d lines, want %d", n, 2*perWindow)
	}
	if n := strings.Count(out.String(), " a=1"); n != perWindow {
		t.Errorf("%d lines with the attribute, want %d", n, perWindow)
	}
	now = now.Add(window)
	l.Warn("one")
	if text := out.String(); !strings.Contains(text, "dropped-before=95") || out.lines() != 2*perWindow+1 {
		t.Errorf("after a window:\n%s", text)
	}
	now = now.Add(window)
	l.Warn("one")
	if text := out.String(); strings.Count(text, "dropped-before") != 1 {
		t.Errorf("after two windows:\n%s", text)
	}
}
