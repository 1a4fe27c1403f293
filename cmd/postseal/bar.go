package main

import (
	"fmt"
	"os"
	"strings"
)

// bar is the progress of a batch on a terminal, in its last line. A nil bar does
// nothing. The voice guards it.
type bar struct {
	done, failed, total int
	drawn               bool
}

const barWidth = 30

func (b *bar) line() string {
	full := 0
	if b.total > 0 {
		full = barWidth * b.done / b.total
	}
	line := fmt.Sprintf("[%s%s] %d/%d", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), b.done, b.total)
	if b.failed > 0 {
		line += fmt.Sprintf(", %d failed", b.failed)
	}
	return line
}

func (b *bar) draw() {
	if b == nil {
		return
	}
	fmt.Fprint(os.Stderr, "\r\x1b[K"+b.line())
	b.drawn = true
}

func (b *bar) clear() {
	if b == nil || !b.drawn {
		return
	}
	fmt.Fprint(os.Stderr, "\r\x1b[K")
	b.drawn = false
}
