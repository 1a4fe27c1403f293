package main

import (
	"context"

	"postseal/internal/cli"
	"postseal/issuer"
)

type renewCmd struct{}

func (renewCmd) run(context.Context, *session) error { return cli.Failed("", "not yet") }

type revokeCmd struct{}

func (revokeCmd) run(context.Context, *session) error { return cli.Failed("", "not yet") }

type statusCmd struct{}

func (statusCmd) run(*session) error { return cli.Failed("", "not yet") }

type accountCmd struct{}

func (accountCmd) run(context.Context, *session, string) error { return cli.Failed("", "not yet") }

func (c *certCmd) batch(ctx context.Context, s *session, req issuer.Request, emails []string) error {
	return cli.Failed("", "not yet")
}
