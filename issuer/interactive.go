package issuer

import (
	"context"
	"io"

	"postseal/state"
)

// Interactive lets a person answer the challenge mail with their own mail
// program, for mailboxes on servers one does not run.
type Interactive struct {
	Ask func(ctx context.Context, prompt string) (string, error) // reads one line
	Out io.Writer
	Dir string // where drafts go
}

func (r *run) askPerson(ctx context.Context, c *challenge, to chan<- *state.Answer) error {
	return nil
}
