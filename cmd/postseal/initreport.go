package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"postseal/internal/failure"
	"postseal/internal/setup"
)

// What became of a step of init.
const (
	stepMade  = "made"
	stepWould = "would make" // with --dry-run
	stepKept  = "kept"
)

// initJSON is the JSON document of init. The names are stable.
type initJSON struct {
	Found    []string      `json:"found"`
	Via      string        `json:"via"`
	Signer   string        `json:"signer"` // of replies: a name, "postseal", or "" if none is known
	DryRun   bool          `json:"dry_run"`
	Steps    []initStep    `json:"steps"`
	Lines    []setup.Lines `json:"lines"`    // to add by hand
	Commands []string      `json:"commands"` // to run when they are added
	Notes    []string      `json:"notes"`
}

type initStep struct {
	What   string `json:"what"`
	Status string `json:"status"`
	Detail string `json:"detail"`
	Text   string `json:"text,omitempty"` // of the configuration that would be written
}

// initReport does the steps and tells of them.
type initReport struct {
	*session
	machine *setup.Machine
	o       setup.Options
	plan    *setup.Plan
	dryRun  bool
	address string
}

func (r *initReport) run() error {
	doc := initJSON{
		Found: []string{}, Via: r.o.Neighbour.Name, Signer: r.signer(), DryRun: r.dryRun, Steps: []initStep{},
		Lines: r.plan.Lines, Commands: r.plan.Commands, Notes: r.plan.Notes,
	}
	for _, n := range r.machine.Neighbours {
		doc.Found = append(doc.Found, n.Name)
	}
	out := r.out()
	fmt.Fprintf(out, "%-10s  %s\n", "found", r.found())
	for _, step := range r.plan.Steps {
		done, err := r.step(step)
		if err != nil {
			return err
		}
		doc.Steps = append(doc.Steps, done)
		fmt.Fprintf(out, "%-10s  %s (%s)\n", done.Status, done.What, done.Detail)
	}
	if r.JSON {
		return printJSON(doc)
	}
	r.texts(out, doc.Steps)
	r.instructions(out)
	return nil
}

// texts shows the configuration that would be written.
func (r *initReport) texts(out io.Writer, steps []initStep) {
	for _, s := range steps {
		if s.Text != "" {
			fmt.Fprintf(out, "\n%s would be:\n\n%s", s.What, indented(s.Text))
		}
	}
}

// out is where people read; nowhere if a program does.
func (r *initReport) out() io.Writer {
	if r.JSON {
		return io.Discard
	}
	return r.prose()
}

func (r *initReport) signer() string {
	if len(r.o.Config.DKIM) > 0 {
		return "postseal"
	}
	return r.machine.Signed()
}

func (r *initReport) found() string {
	text := strings.Join(setup.Titles(r.machine.Neighbours), ", ")
	if text == "" {
		text = "no mail server"
	}
	if len(r.machine.Neighbours) > 1 {
		text += "; mail comes through " + r.o.Neighbour.Title
	}
	if signer := r.signer(); signer != "" && !r.o.Personal {
		text += "; " + signer + " signs replies"
	}
	return text
}

func (r *initReport) step(s setup.Step) (initStep, error) {
	done := initStep{What: s.What, Status: stepMade, Detail: s.Why}
	switch {
	case s.Done:
		done.Status = stepKept
	case r.dryRun:
		done.Status, done.Text = stepWould, s.Text
	default:
		if err := s.Do(); err != nil {
			hint := "put that right and run it again: what is done stays"
			if errors.Is(err, fs.ErrPermission) {
				hint = "look at its owner and mode, and run it again: what is done stays"
			}
			return done, failure.Failed(hint, "%v", err)
		}
	}
	return done, nil
}

// where says in words where lines go.
var where = map[setup.Place]string{
	setup.NewFile: "Make the file %s with:",
	setup.AtEnd:   "Add at the end of %s:",
	setup.AtStart: "Add at the beginning of %s:",
	setup.Instead: "In %s, instead of what has the same name there:",
	setup.Above:   "Add to %s, above MAILER_DEFINITIONS:",
}

// instructions say what is left to do, which postseal does not.
func (r *initReport) instructions(out io.Writer) {
	if len(r.plan.Lines) > 0 {
		fmt.Fprintf(out, "\nThe rest is yours: postseal changes no file of %s.\n", r.o.Neighbour.Title)
	}
	for _, l := range r.plan.Lines {
		name := l.File
		if l.Mode != "" && l.Mode != "0644" {
			name += " (mode " + l.Mode + ")"
		}
		fmt.Fprintf(out, "\n"+where[l.Place]+"\n\n%s", name, indented(l.Text))
	}
	if len(r.plan.Commands) > 0 {
		fmt.Fprintf(out, "\nThen run:\n\n%s", indented(strings.Join(r.plan.Commands, "\n")))
	}
	fmt.Fprintf(out, "\nTo see that it works, and for the first certificate:\n\n%s",
		indented("postseal check -e "+r.address+"\npostseal cert -e "+r.address))
	if len(r.plan.Notes) > 0 {
		fmt.Fprintln(out)
	}
	for _, note := range r.plan.Notes {
		fmt.Fprintln(out, "Note: "+note)
	}
}

func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		if strings.TrimSpace(line) != "" {
			b.WriteString("    ")
		}
		b.WriteString(line)
	}
	return b.String() + "\n"
}
