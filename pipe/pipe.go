package pipe

import (
	"context"
	"fmt"
	"io"
	"strings"

	"postseal/internal/challenge"
)

// Mode is what happens to a message beside the verdict.
type Mode int

// The modes.
const (
	Reply       Mode = iota // answer a genuine challenge
	Print                   // write the reply to stdout, send and record nothing
	Passthrough             // answer, and copy the message to stdout
	Explain                 // write each check to stdout, send and record nothing
)

// Pipe handles one message.
type Pipe struct {
	Mode Mode

	// Responder is called only for a message with a challenge's Subject, so that ordinary
	// mail does not pay for what a challenge needs.
	Responder func() (*challenge.Responder, error)
}

// Run reads one message from stdin to its end and handles it. An error means that it could
// not read or write the message; it says nothing about the verdict.
func (p *Pipe) Run(ctx context.Context, stdin io.Reader, stdout io.Writer) (challenge.Outcome, error) {
	in, err := readHead(stdin)
	if err != nil {
		return challenge.Outcome{}, fmt.Errorf("cannot read the message: %w", err)
	}
	out, err := p.handle(ctx, in, stdout)
	if p.Mode == Passthrough {
		// Even after an error: a filter that writes no message loses it.
		if err != nil {
			out.Reason = err.Error()
		}
		if werr := in.passthrough(stdout, out); werr != nil {
			return out, fmt.Errorf("cannot write the message: %w", werr)
		}
		return out, err
	}
	if derr := in.drain(); derr != nil && err == nil {
		err = fmt.Errorf("cannot read the message: %w", derr)
	}
	return out, err
}

func (p *Pipe) handle(ctx context.Context, in *input, stdout io.Writer) (challenge.Outcome, error) {
	if p.Mode != Explain && !challenge.Candidate(in.head[in.mbox:]) {
		return challenge.Outcome{Reason: "the Subject is not that of a challenge"}, nil
	}
	if err := in.readBody(); err != nil {
		return challenge.Outcome{}, fmt.Errorf("cannot read the message: %w", err)
	}
	r, err := p.Responder()
	if err != nil {
		return challenge.Outcome{}, err
	}
	m := in.message()
	switch p.Mode {
	case Print:
		out, raw := r.Compose(ctx, m)
		_, err := stdout.Write(raw)
		return out, err
	case Explain:
		out := r.Explain(ctx, m)
		return out, explain(stdout, out)
	}
	return r.Answer(ctx, m), nil
}

var marks = map[challenge.Result]string{challenge.Passed: "ok  ", challenge.Failed: "FAIL", challenge.NotMade: "-   "}

// explain writes the result of each check, and the verdict.
func explain(w io.Writer, out challenge.Outcome) error {
	for _, c := range out.Checks {
		line := strings.TrimRight(fmt.Sprintf("%s  %-15s %s", marks[c.Result], c.Name, c.Text), " ")
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "verdict: %s\n", status(out))
	return err
}
