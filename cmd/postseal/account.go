package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"text/tabwriter"

	"postseal/internal/failure"
	"postseal/issuer/ca"
	"postseal/issuer/cert"
)

// accountCmd are the commands of "postseal account".
type accountCmd struct {
	Show       struct{}         `cmd:"" help:"Show the account, the CA's profiles, and what the CA has taught."`
	Update     accountUpdateCmd `cmd:"" help:"Change the contact, or forget what the CA has taught."`
	Rollover   struct{}         `cmd:"" help:"Change the account's key."`
	Deactivate struct{}         `cmd:"" help:"End the account for good."`
}

type accountUpdateCmd struct {
	Contact      []string `placeholder:"ADDR" help:"Where the CA may reach the account's holder."`
	ResetLearned bool     `help:"Forget what the CA has taught."`
}

func (c *accountCmd) run(ctx context.Context, s *session, command string) error {
	if command == "account update" {
		if err := c.Update.check(); err != nil {
			return err
		}
	}
	at, err := s.issuer.CA(s.server(), s.CABundle)
	if err != nil {
		return err
	}
	switch command {
	case "account update":
		if err := c.Update.run(ctx, at); err != nil {
			return err
		}
		return s.tell("updated", "the account at %s was updated", s.server())
	case "account rollover":
		if err := at.Rollover(ctx); err != nil {
			return err
		}
		return s.tell("rolled_over", "the account at %s has a new key", s.server())
	case "account deactivate":
		kept, err := at.Deactivate(ctx)
		if err != nil {
			return err
		}
		return s.tell("deactivated", "the account at %s is deactivated; its files are kept in %s", s.server(), kept)
	}
	return show(ctx, s, at)
}

func (c *accountUpdateCmd) check() error {
	if c.Contact == nil && !c.ResetLearned {
		return failure.Usage("give --contact or --reset-learned", "nothing to update")
	}
	_, err := cert.ParseAddresses(c.Contact)
	return err
}

func (c *accountUpdateCmd) run(ctx context.Context, at *ca.CA) error {
	if c.ResetLearned {
		if err := at.ResetLearned(); err != nil {
			return err
		}
	}
	if c.Contact == nil {
		return nil
	}
	return at.SetContact(ctx, c.Contact)
}

// accountJSON is the JSON document of what changes an account. The names are stable.
type accountJSON struct {
	Status string `json:"status"` // updated, rolled_over, deactivated
	Server string `json:"server"`
}

// tell says what was done, as JSON on demand.
func (s *session) tell(status, format string, args ...any) error {
	if s.JSON {
		return printJSON(accountJSON{status, s.server()})
	}
	fmt.Printf(format+"\n", args...)
	return nil
}

func show(ctx context.Context, s *session, at *ca.CA) error {
	info, err := at.Show(ctx)
	if err != nil {
		return err
	}
	if s.JSON {
		return printJSON(info)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			cells(w, name, value)
		}
	}
	row("CA", info.Server)
	row("account", info.URL)
	row("status", info.Status)
	row("contact", join(info.Contact))
	row("made", moment(info.Created))
	row("terms agreed to", info.Terms)
	if info.NewTerms != info.Terms {
		row("terms now", info.NewTerms)
	}
	row("external account", info.EABKid)
	row("key thumbprint", info.Thumbprint)
	row("key file", info.Key)
	row("renewal windows", yesNo(info.ARI))
	if info.Learned.MailAfterPost {
		row("mails after POST", yesNo(true)+learnedNote)
	}
	if info.Learned.Settle != "" {
		row("settle", info.Learned.Settle+learnedNote)
	}
	for _, name := range slices.Sorted(maps.Keys(info.Profiles)) {
		row("profile "+name, info.Profiles[name])
	}
	return w.Flush()
}

const learnedNote = " (learned; forget it with: postseal account update --reset-learned)"

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
