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

// cancelled is one order in the JSON of cancel. The names are stable.
type cancelled struct {
	Name        string   `json:"name"`
	Emails      []string `json:"emails"`
	Kind        string   `json:"kind"`
	Server      string   `json:"server"`
	DryRun      bool     `json:"dry_run"`
	Deactivated int      `json:"deactivated"`     // authorizations
	Error       string   `json:"error,omitempty"` // why the CA was not told
}

// cancelJSON is the JSON document of cancel.
type cancelJSON struct {
	Cancelled []cancelled `json:"cancelled"`
}

func (c *cancelCmd) run(ctx context.Context, s *session) error {
	all, err := s.issuer.Cancel(ctx, c.Email, c.Kind, s.CABundle)
	doc := cancelJSON{[]cancelled{}}
	for _, o := range all {
		d := cancelled{o.Name, o.Emails, o.Kind, o.Server, o.DryRun, o.Deactivated, ""}
		if o.Untold != nil {
			d.Error = cli.OneLine(o.Untold.Error())
		}
		doc.Cancelled = append(doc.Cancelled, d)
		if !s.JSON {
			fmt.Println(cancelLine(o, d.Error))
		}
	}
	if s.JSON {
		if jsonErr := printJSON(doc); jsonErr != nil {
			return jsonErr
		}
	}
	return err
}

func cancelLine(o *issuer.Cancelled, untold string) string {
	line := fmt.Sprintf("%s: the order at %s is given up", whose(o.Emails, o.Kind), host(o.Server))
	if untold != "" {
		line += "; the CA could not be told: " + untold
	}
	if o.Finalizing {
		line += "; should the CA issue a certificate all the same, its key is gone"
	}
	return line
}
