package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"postseal/internal/failure"
	"postseal/issuer"
	"postseal/issuer/ca"
)

// renewCmd are the flags of "postseal renew".
type renewCmd struct {
	Email    []string `short:"e" placeholder:"ADDR" help:"Only certificates that name one of these."`
	Kind     []string `env:"-" placeholder:"K" help:"Only certificates of this kind (repeatable)."`
	Force    bool     `help:"Renew though not due."`
	ReuseKey bool     `help:"Keep the private key."`
	passFlags
	Timeout  time.Duration `default:"30m" placeholder:"D" help:"How long to wait for each mail (default: ${default})."`
	Jobs     int           `placeholder:"N" default:"32" help:"How many orders go on at a time at each CA (default: ${default})."`
	FailHook string        `placeholder:"CMD" help:"Run this after an order has failed for good, unless it was given another."`
	Jitter   time.Duration `placeholder:"D" help:"Wait up to so long at random before a CA is asked, for timers."`
}

func (c *renewCmd) run(ctx context.Context, s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	// The terms were agreed to the first time.
	if err := s.account(ca.AccountOptions{}); err != nil {
		return err
	}
	renewal := issuer.Renewal{
		Emails: c.Email, Kinds: c.Kind, Force: c.Force, ReuseKey: c.ReuseKey, Timeout: c.Timeout, Pause: c.pause,
		FailHook: c.FailHook,
	}
	if s.given("server") || s.given("test") { // the file's is where new orders go
		renewal.Server = s.server()
	}
	var err error
	if renewal.Passphrase, err = c.choose(); err != nil {
		return err
	}
	reqs, err := s.issuer.DueRequests(ctx, renewal)
	if err != nil {
		return err
	}
	if len(reqs) == 0 && s.JSON {
		if err := printJSON(results{[]result{}}); err != nil {
			return err
		}
	}
	if len(reqs) == 0 {
		return s.nothing("nothing is due")
	}
	return s.many(ctx, reqs, c.Jobs)
}

func (c *renewCmd) check() error {
	switch {
	case c.Jobs < 1:
		return failure.Usage("the default is 32", "--jobs %d is too few", c.Jobs)
	case c.Timeout <= 0:
		return failure.Usage("use a duration such as 30m", "--timeout must be positive")
	case c.Jitter < 0:
		return failure.Usage("use a duration such as 10m", "--jitter is negative")
	}
	return c.passFlags.check()
}

// pause keeps the timers of many hosts from meeting at one CA.
func (c *renewCmd) pause(ctx context.Context) error {
	if c.Jitter == 0 {
		return nil
	}
	return ca.Pause(ctx, rand.N(c.Jitter))
}

// nothing ends a run with nothing to do: silent, since timers mail what is said.
func (s *session) nothing(text string) error {
	if !s.Verbose {
		text = ""
	}
	return failure.NotDue("", errors.New(text))
}
