package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"postseal/internal/setup"
	"postseal/state"
)

// mainLine is contrib/postfix-milter's line for main.cf.
const mainLine = "in main.cf, behind what smtpd_milters has already: { unix:postseal/milter.sock, default_action=accept, " +
	"connect_timeout=2s, command_timeout=5s, content_timeout=30s }"

// checkPostfix asks Postfix what it would do with a message.
func (c *checker) checkPostfix(_ context.Context, r *report) {
	p, err := c.postfix()
	switch {
	case errors.Is(err, errNoPostfix) && c.PostfixConfig == "":
		r.skip("there is no Postfix on this machine")
		return
	case err != nil:
		r.fail("see postconf(1); --postfix-config DIR names another configuration", "postconf: %v", err)
		return
	}
	network, addr, err := parseMilterAddr(c.Milter)
	if err != nil {
		return // the check of the milter says so
	}
	if ours, found := p.ours(network, addr); found {
		c.inPostfix(r, p, ours)
	} else {
		c.notInPostfix(r)
	}
	c.signer(r, p)
}

func (c *checker) notInPostfix(r *report) {
	if c.Milter != "" {
		r.fail(mainLine, "smtpd_milters does not have %q", c.Milter)
		return
	}
	if wired := c.wired(); len(wired) > 0 {
		r.skip("nothing in smtpd_milters looks like postseal's: challenges come in through %s", wired[0].Title)
		return
	}
	r.warn("if it is named otherwise, say --milter unix:PATH; else "+mainLine,
		"nothing in smtpd_milters looks like postseal's: challenges come in some other way, or not at all")
}

// inPostfix looks at Postfix's settings for our milter.
func (c *checker) inPostfix(r *report, p *postfix, ours milterConf) {
	before := len(r.found)
	if action := p.action(ours); action != "accept" {
		r.fail(mainLine, "default_action is %q for %s: without postseal-milter no mail would come in", action, ours.addr)
	}
	if version, err := strconv.Atoi(p.protocol); err != nil || version < 6 {
		r.warn("remove milter_protocol from main.cf", "milter_protocol is %q: each mail takes more steps than with 6", p.protocol)
	}
	p.chroots(r, ours)
	p.overrides(r, ours)
	if len(r.found) == before {
		r.ok("%s is in smtpd_milters, with default_action accept", ours.addr)
	}
}

// chroots looks for an smtpd to which an absolute path is another file.
func (p *postfix) chroots(r *report, ours milterConf) {
	path, ok := strings.CutPrefix(ours.addr, "unix:")
	if !ok || !filepath.IsAbs(path) {
		return
	}
	for _, s := range p.services {
		inside := filepath.Join(p.queueDir, path)
		if _, err := os.Stat(inside); !s.chroot || err == nil {
			continue
		}
		hint := "keep the socket below " + p.queueDir + " and name it relative to that: unix:postseal/milter.sock"
		if rel, err := filepath.Rel(p.queueDir, path); err == nil && !strings.HasPrefix(rel, "..") {
			hint = "write unix:" + rel
		}
		r.fail(hint, "service %s is chrooted to %s and finds no %s there", s.name, p.queueDir, path)
	}
}

// overrides looks for smtpd services that have milters of their own, without ours.
func (p *postfix) overrides(r *report, ours milterConf) {
	for _, s := range p.services {
		if s.milters != "" && !strings.Contains(s.milters, ours.addr) && !strings.Contains(s.milters, "postseal") {
			r.warn("that is right for submission by users, and wrong where mail comes in",
				"service %s in master.cf has smtpd_milters=%s, without postseal", s.name, s.milters)
		}
	}
}

func isSigner(m milterConf) bool { return setup.Signs(m.addr) }

// signer looks for the program that signs replies. Replies enter over SMTP, so milters in
// non_smtpd_milters alone do not see them.
func (c *checker) signer(r *report, p *postfix) {
	const hint = "add it to smtpd_milters, or let postseal sign: [[dkim]] in the configuration file"
	n := slices.IndexFunc(p.milters, isSigner)
	switch {
	case c.signsAll():
		r.ok("postseal signs replies itself ([[dkim]])")
	case n >= 0:
		r.ok("%s in smtpd_milters may sign replies; --mail-to ADDR shows whether it does", p.milters[n].addr)
	case slices.ContainsFunc(p.nonSMTPD, isSigner):
		r.fail(hint, "the DKIM signer is in non_smtpd_milters only, and replies come over SMTP: they are not signed")
	default:
		r.warn("if a relay signs, --mail-to ADDR shows it; else use [[dkim]] in the configuration file, or opendkim",
			"no DKIM signer is in smtpd_milters")
	}
}

// signsAll reports whether there is a key for each address, or any key if no address is
// given.
func (c *checker) signsAll() bool {
	for _, email := range c.Emails {
		if !c.signsItself(state.Domain(domainOf(email))) {
			return false
		}
	}
	return len(c.Config.DKIM) > 0
}

// wired returns the recipes for postseal-pipe that the admin has followed here, at least in
// part. It looks at the files of the user who asks.
func (c *checker) wired() []setup.Wiring {
	home := ""
	if os.Geteuid() != 0 {
		home, _ = os.UserHomeDir()
	}
	return setup.Find("").Wired(home)
}

// checkDelivery checks whether the recipe for postseal-pipe is complete: without sudo's file,
// for example, challenges are delivered and never answered.
func (c *checker) checkDelivery(_ context.Context, r *report) {
	wired := c.wired()
	if len(wired) == 0 {
		found := strings.Join(setup.Titles(setup.Find("").Servers), ", ")
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
