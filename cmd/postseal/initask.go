package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"

	"postseal/internal/failure"
	"postseal/internal/setup"
	"postseal/issuer/cert"
)

// ask completes the options: from what was found where that is clear, else from the
// person at the keyboard, else with an error that names the flag. There are at most
// four questions, and none where all is found and nobody can be asked.
func (c *initCmd) ask(ctx context.Context, s *session, m *setup.Machine, o *setup.Options) error {
	if err := c.askMailServer(ctx, s, m, o); err != nil {
		return err
	}
	if !o.Personal {
		o.Config.Listen = m.Listen(o.Via)
	}
	if _, err := os.Stat(o.Path); err == nil { // an admin was asked when that was written
		return nil
	}
	if !o.Personal && len(o.Config.DKIM) == 0 && m.Signed() == "" {
		answer, err := s.term.ask(ctx, "Replies must leave with a DKIM signature, and no signer was found that sees them.\n"+
			"A key for postseal to sign with, as DOMAIN:SELECTOR:FILE? (Enter: somebody else signs) ")
		if err == nil && answer != "" {
			err = addKey(&o.Config, answer)
		}
		if err != nil {
			return err
		}
	}
	if len(c.Contact) > 0 {
		return nil
	}
	answer, err := s.term.ask(ctx, "An address where the CA may reach you? (Enter: none) ")
	if err == nil && answer != "" {
		c.Contact, err = cert.ParseAddresses([]string{answer})
		o.Config.Contact = c.Contact
	}
	return err
}

func (c *initCmd) askMailServer(ctx context.Context, s *session, m *setup.Machine, o *setup.Options) error {
	choices := m.Choices(o.Personal)
	switch {
	case o.Via != nil:
	case len(choices) == 1:
		o.Via = choices[0]
	case s.term == nil || o.Personal && len(choices) == 0:
		return noChoice(m, o, choices)
	default:
		found, names := "No mail server was found. ", setup.Names(setup.Servers)
		if len(choices) > 0 {
			found, names = "Found: "+strings.Join(setup.Titles(choices), ", ")+". ", setup.Names(choices)
		}
		answer, err := s.term.ask(ctx, found+fmt.Sprintf("Which one hands over the mail? (%s) [%s] ", strings.Join(names, ", "), names[0]))
		if err != nil {
			return err
		}
		if o.Via, err = mailServer(cmp.Or(answer, names[0])); err != nil {
			return err
		}
	}
	if o.Personal && !o.Via.ForUsers() {
		return failure.Usage("run it as root, or with --via procmail or --via maildrop for your own mail",
			"%s is the whole machine's, and you are not root", o.Via.Title)
	}
	return nil
}

// noChoice says why it is not clear who hands over the mail.
func noChoice(m *setup.Machine, o *setup.Options, choices []*setup.MailServer) error {
	switch {
	case len(choices) > 1:
		return failure.Usage("name one, for example: --via "+choices[0].Name,
			"several could hand over the mail: %s", strings.Join(setup.Titles(choices), ", "))
	case o.Personal && len(m.Servers) > 0:
		return failure.Usage("have root run it; or answer a challenge that you saved: postseal-pipe < challenge.eml",
			"%s is here, but neither procmail nor maildrop, with which you could hand over your own mail",
			strings.Join(setup.Titles(m.Servers), ", "))
	}
	return failure.Usage("name it with --via, one of "+strings.Join(setup.Names(setup.Servers), ", "), "no mail server was found")
}
