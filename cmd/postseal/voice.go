package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"golang.org/x/term"

	"postseal/internal/cli"
	"postseal/internal/printable"
	"postseal/issuer"
)

// voice is what the program says while it works: on stderr, a line at a time.
type voice struct {
	verbose  bool
	json     bool
	terminal bool         // somebody watches
	screen   bool         // that can show more than lines
	journal  *slog.Logger // instead of lines, where stderr is that of a service; else nil

	mu   sync.Mutex
	bar  *bar // nil unless a batch runs on a terminal
	many bool // a batch: its results say enough
}

func newVoice(verbose, asJSON bool) *voice {
	v := &voice{verbose: verbose, json: asJSON, terminal: term.IsTerminal(int(os.Stderr.Fd())), screen: onScreen(os.Stderr)}
	if cli.ToJournal() {
		v.journal = slog.New(cli.NewLogHandler())
	}
	return v
}

// step tells of a step of an order. Failures are always told; what is
// waited for, to people; the rest on demand.
func (v *voice) step(s issuer.Step) {
	s.Text = typed(s.Text)
	switch s.Kind {
	case issuer.StepHint, issuer.StepNote:
	case issuer.StepWait:
		if !v.verbose && (!v.terminal || v.many) {
			return
		}
	default:
		if !v.verbose {
			return
		}
	}
	switch {
	case v.journal != nil:
		v.record(s)
	case s.Kind == issuer.StepHint:
		v.say("postseal: hint: " + s.Text)
	default:
		v.say("postseal: " + s.Text)
	}
}

// record makes an entry of the journal of a step.
func (v *voice) record(s issuer.Step) {
	level := slog.LevelInfo
	if s.Kind == issuer.StepNote {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{slog.String("step", string(s.Kind))}
	for _, a := range []slog.Attr{slog.String("certificate", s.Name), slog.String("address", s.Email)} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	v.journal.LogAttrs(context.Background(), level, s.Text, attrs...)
}

func (v *voice) damaged(path string, err error) {
	v.say(fmt.Sprintf("postseal: %s is left out: %v", path, err))
}

func (v *voice) say(line string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.bar.clear()
	fmt.Fprintln(os.Stderr, cli.OneLine(line))
	v.bar.draw()
}

func (v *voice) done() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.bar.clear()
	v.bar = nil
}

// printJSON writes one JSON document, in which all is printable.
func printJSON(value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err == nil {
		_, err = os.Stdout.Write(append(printable.JSON(text), '\n'))
	}
	return err
}
