package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"postseal/internal/failure"
	"postseal/internal/setup"
	"postseal/issuer/cert"
)

// ask completes the options: from what was found where that is clear, else from the
// person at the keyboard, else with an error that names the flag. There are at most
// four questions, and none where all is found and nobody can be asked.
func (c *initCmd) ask(ctx context.Context, s *session, m *setup.Machine, o *setup.Options) error {
	if err := c.askNeighbour(ctx, s, m, o); err != nil {
		return err
	}
	if !o.Personal {
		o.Config.Listen = m.Listen(o.Neighbour)
		if err := c.askSigner(ctx, s, m, o); err != nil {
			return err
		}
	}
	return c.askContact(ctx, s, o)
}

func (c *initCmd) askNeighbour(ctx context.Context, s *session, m *setup.Machine, o *setup.Options) error {
	choices := m.Choices()
	if o.Personal {
		choices = m.Personal()
	}
	switch {
	case o.Neighbour != nil:
		return c.fits(o)
	case len(choices) == 1:
		o.Neighbour = choices[0]
		return nil
	case s.term == nil:
		return noChoice(m, o, choices)
	}
	names := setup.Names()
	if len(choices) > 0 {
		names = nil
		for _, n := range choices {
			names = append(names, n.Name)
		}
	}
	if o.Personal && len(choices) == 0 {
		return noChoice(m, o, choices)
	}
	answer, err := s.term.ask(ctx, found(choices)+fmt.Sprintf("Which one hands over the mail? (%s) [%s] ", strings.Join(names, ", "), names[0]))
	if err != nil {
		return err
	}
	if answer == "" {
		answer = names[0]
	}
	if o.Neighbour = setup.ByName(answer); o.Neighbour == nil || !slices.Contains(append(names, setup.Names()...), answer) {
		return failure.Usage("use one of "+strings.Join(names, ", "), "%q is not one of them", answer)
	}
	return c.fits(o)
}

// fits refuses what a user cannot set up without root.
func (c *initCmd) fits(o *setup.Options) error {
	if o.Personal && !o.Neighbour.ForUsers() {
		return failure.Usage("run it as root, or with --via procmail or --via maildrop for your own mail",
			"%s is the whole machine's, and you are not root", o.Neighbour.Title)
	}
	return nil
}

func found(choices []*setup.Neighbour) string {
	if len(choices) == 0 {
		return "No mail server was found. "
	}
	return "Found: " + strings.Join(setup.Titles(choices), ", ") + ". "
}

// noChoice says why it is not clear who hands over the mail.
func noChoice(m *setup.Machine, o *setup.Options, choices []*setup.Neighbour) error {
	switch {
	case len(choices) > 1:
		return failure.Usage("name one, for example: --via "+choices[0].Name, "several could hand over the mail: %s", strings.Join(setup.Titles(choices), ", "))
	case o.Personal && len(m.Neighbours) > 0:
		return failure.Usage("have root run it; or answer a challenge that you saved: postseal-pipe < challenge.eml",
			"%s is here, but neither procmail nor maildrop, with which you could hand over your own mail", strings.Join(setup.Titles(m.Neighbours), ", "))
	}
	return failure.Usage("name it with --via, one of "+strings.Join(setup.Names(), ", "), "no mail server was found")
}

// askSigner asks for a key if nobody is known to sign replies.
func (c *initCmd) askSigner(ctx context.Context, s *session, m *setup.Machine, o *setup.Options) error {
	if s.term == nil || len(o.Config.DKIM) > 0 || m.Signed() != "" || existing(o.Path) {
		return nil
	}
	answer, err := s.term.ask(ctx, "Replies must leave with a DKIM signature, and no signer was found that sees them.\n"+
		"A key for postseal to sign with, as DOMAIN:SELECTOR:FILE? (Enter: somebody else signs) ")
	if err != nil || answer == "" {
		return err
	}
	key, err := parseDKIMKey(answer)
	o.Config.DKIM = append(o.Config.DKIM, key)
	return err
}

func (c *initCmd) askContact(ctx context.Context, s *session, o *setup.Options) error {
	if s.term == nil || len(c.Contact) > 0 || existing(o.Path) {
		return nil
	}
	answer, err := s.term.ask(ctx, "An address where the CA may reach you? (Enter: none) ")
	if err != nil || answer == "" {
		return err
	}
	c.Contact, err = cert.ParseAddresses([]string{answer})
	o.Config.Contact = c.Contact
	return err
}

// existing reports whether the configuration has been written already, by an admin who
// was asked then.
func existing(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
