package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"postseal/internal/failure"
	"postseal/internal/setup"
)

// report does the steps and tells of them, and of what is left to the admin.
func (c *initCmd) report(s *session, plan *setup.Plan, o setup.Options, found []string) error {
	out := s.prose()
	if s.JSON {
		out = io.Discard
	}
	text := cmp.Or(strings.Join(found, ", "), "no mail server")
	if len(found) > 1 {
		text += "; mail comes through " + o.Via.Title
	}
	if plan.Signer != "" && !o.Personal {
		text += "; " + plan.Signer + " signs replies"
	}
	fmt.Fprintf(out, "%-10s  %s\n", "found", text)
	for i := range plan.Steps {
		step := &plan.Steps[i]
		if !c.DryRun {
			if err := step.Do(); err != nil {
				return stepError(err)
			}
		}
		fmt.Fprintf(out, "%-10s  %s (%s)\n", step.Status, step.What, step.Detail)
	}
	if s.JSON {
		return printJSON(plan)
	}
	for _, step := range plan.Steps {
		if step.Text != "" {
			fmt.Fprintf(out, "\n%s would be:\n\n%s", step.What, indented(step.Text))
		}
	}
	c.instructions(out, plan, o.Via.Title)
	return nil
}

func stepError(err error) error {
	hint := "put that right and run it again: what is done stays"
	if errors.Is(err, fs.ErrPermission) {
		hint = "look at its owner and mode, and run it again: what is done stays"
	}
	return failure.Failed(hint, "%v", err)
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
func (c *initCmd) instructions(out io.Writer, plan *setup.Plan, server string) {
	if len(plan.Lines) > 0 {
		fmt.Fprintf(out, "\nThe rest is yours: postseal changes no file of %s.\n", server)
	}
	for _, l := range plan.Lines {
		name := l.File
		if l.Mode != "" && l.Mode != "0644" {
			name += " (mode " + l.Mode + ")"
		}
		fmt.Fprintf(out, "\n"+where[l.Place]+"\n\n%s", name, indented(l.Text))
	}
	if len(plan.Commands) > 0 {
		fmt.Fprintf(out, "\nThen run:\n\n%s", indented(strings.Join(plan.Commands, "\n")))
	}
	address := slices.Concat(c.Email, c.Contact, []string{"you@example.org"})[0]
	fmt.Fprintf(out, "\nTo see that it works, and for the first certificate:\n\n%s",
		indented("postseal check -e "+address+"\npostseal cert -e "+address))
	if len(plan.Notes) > 0 {
		fmt.Fprintln(out)
	}
	for _, note := range plan.Notes {
		fmt.Fprintln(out, "Note: "+note)
	}
}

var hasText = regexp.MustCompile(`(?m)^.*\S`)

func indented(text string) string {
	return hasText.ReplaceAllString(strings.TrimRight(text, "\n"), "    $0") + "\n"
}
