package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"golang.org/x/term"

	"postseal/internal/cli"
	"postseal/issuer"
)

// voice is what the program says while it works: on stderr, a line at a time.
type voice struct {
	verbose  bool
	json     bool
	terminal bool

	mu   sync.Mutex
	bar  *bar // nil unless a batch runs on a terminal
	many bool // a batch: its results say enough
}

func newVoice(verbose, asJSON bool) *voice {
	return &voice{verbose: verbose, json: asJSON, terminal: term.IsTerminal(int(os.Stderr.Fd()))}
}

// step tells of a step of an order. What went wrong is always told; what is
// waited for, to people; the rest on demand.
func (v *voice) step(s issuer.Step) {
	switch s.Kind {
	case issuer.StepHint:
		v.say("postseal: hint: " + s.Text)
	case issuer.StepNote:
		v.say("postseal: " + s.Text)
	case issuer.StepWait:
		if v.verbose || v.terminal && !v.many {
			v.say("postseal: " + s.Text)
		}
	default:
		if v.verbose {
			v.say("postseal: " + s.Text)
		}
	}
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

// printJSON writes one JSON document.
func printJSON(value any) error {
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(value)
}
