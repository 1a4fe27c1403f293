package check

import (
	"context"
	"os"
	"strings"

	"postseal/internal/setup"
)

// wired returns the recipes for postseal-pipe that have been followed here, at least in
// part. Those of users are looked at for the user who asks.
func (c *checker) wired() []setup.Wiring {
	home := ""
	if os.Geteuid() != 0 {
		home, _ = os.UserHomeDir()
	}
	return setup.Find(c.Root).Wired(home)
}

// checkDelivery looks whether what runs postseal-pipe has all that its recipe needs:
// without sudo's file, for example, challenges are delivered and never answered.
func (c *checker) checkDelivery(_ context.Context, r *report) {
	wired := c.wired()
	if len(wired) == 0 {
		found := strings.Join(setup.Titles(setup.Find(c.Root).Servers), ", ")
		if found == "" {
			found = "no mail server that is known"
		}
		r.skip("nothing here runs postseal-pipe; found: %s", found)
		return
	}
	for _, w := range wired {
		name := w.Name
		if len(w.Missing) > 0 {
			r.fail("\"postseal init --dry-run --via "+name+"\" shows what belongs there",
				"%s has lines for postseal in %s, but this is missing: %s", w.Title, strings.Join(w.There, ", "), strings.Join(w.Missing, ", "))
		}
		if len(w.Unreadable) > 0 {
			r.warn("run this as root", "%s cannot be looked at by %s", strings.Join(w.Unreadable, ", "), me())
		}
		if len(w.Missing)+len(w.Unreadable) == 0 {
			r.ok("%s runs postseal-pipe: %s", w.Title, strings.Join(w.There, ", "))
		}
	}
}
