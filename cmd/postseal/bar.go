package main

import (
	"fmt"
	"io"

	"github.com/schollz/progressbar/v3"
)

// bar is the progress of a batch on a terminal, in its last line. A nil bar does
// nothing. The voice guards it.
type bar struct {
	*progressbar.ProgressBar
	done, failed int
}

func newBar(w io.Writer, total int) *bar {
	return &bar{ProgressBar: progressbar.NewOptions(total,
		progressbar.OptionSetWriter(w), progressbar.OptionSetWidth(30), progressbar.OptionShowCount(),
		progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())}
}

// draw shows the bar as it stands. The terminal may be gone; the batch goes on.
func (b *bar) draw() {
	if b == nil {
		return
	}
	if b.failed > 0 {
		b.Describe(fmt.Sprintf("%d failed", b.failed))
	}
	_ = b.Set(b.done)
}

// clear makes room for a line.
func (b *bar) clear() {
	if b != nil {
		_ = b.Clear()
	}
}
