package main

import (
	"context"
	"fmt"

	"postseal/internal/cli"
	"postseal/issuer"
)

// cancelCmd are the flags of "postseal cancel".
type cancelCmd struct {
	Email []string `short:"e" required:"" placeholder:"ADDR" help:"Orders that name one of these."`
	Kind  []string `env:"-" placeholder:"K" help:"Only orders of this kind (repeatable)."`
}

// cancelJSON is the JSON document of cancel.
type cancelJSON struct {
	Cancelled []*issuer.Cancelled `json:"cancelled"`
}

func (c *cancelCmd) run(ctx context.Context, s *session) error {
	all, err := s.issuer.Cancel(ctx, c.Email, c.Kind, s.CABundle)
	for _, o := range all {
		if o.Untold = cli.OneLine(o.Untold); !s.JSON {
			fmt.Println(cancelLine(o))
		}
	}
	if s.JSON {
		if jsonErr := printJSON(cancelJSON{append([]*issuer.Cancelled{}, all...)}); jsonErr != nil {
			return jsonErr
		}
	}
	return err
}

func cancelLine(o *issuer.Cancelled) string {
	line := fmt.Sprintf("%s: the order at %s is given up", whose(o.Emails, o.Kind), host(o.Server))
	if o.Untold != "" {
		line += "; the CA could not be told: " + o.Untold
	}
	if o.Finalizing {
		line += "; should the CA issue a certificate all the same, its key is gone"
	}
	return line
}
