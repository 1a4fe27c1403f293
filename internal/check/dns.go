package check

import (
	"context"
	"crypto"
	"errors"
	"slices"
	"strings"

	"postseal/internal/dkimkey"
	"postseal/state"
)

// checkDNS looks up what the domains of the addresses, and those that we sign for,
// have to have.
func (c *checker) checkDNS(ctx context.Context, r *report) {
	var domains []string
	for _, email := range c.Emails {
		if domain := state.Domain(domainOf(email)); !slices.Contains(domains, domain) {
			domains = append(domains, domain)
		}
	}
	for _, domain := range domains {
		c.checkMX(ctx, r, domain)
		c.checkCAA(ctx, r, domain)
	}
	for _, k := range c.Config.DKIM {
		public, err := readDKIMKey(k.Path)
		if err != nil {
			public = nil // said by the check of the configuration
		}
		c.keyRecord(ctx, r, k.Selector, k.Domain, public)
	}
	if len(domains)+len(c.Config.DKIM) == 0 {
		r.skip("no domain is known (-e ADDR): nothing was looked up")
	}
}

// checkMX looks whether mail to the domain, the challenge for example, gets anywhere.
func (c *checker) checkMX(ctx context.Context, r *report, domain string) {
	const hint = "without it the challenge mail does not arrive"
	resolver := c.resolver()
	hosts, err := resolver.LookupMX(ctx, domain+".")
	switch {
	case err == nil && len(hosts) == 1 && hosts[0].Host == ".":
		r.fail(hint, "%s says with a null MX that it takes no mail", domain)
	case err == nil:
		r.ok("%s has MX %s", domain, strings.TrimSuffix(hosts[0].Host, "."))
	case !notFound(err):
		r.fail("look at the resolver, or give one with --resolver", "MX of %s: %s", domain, lookupError(err))
	default:
		if addrs, err := resolver.LookupHost(ctx, domain+"."); err == nil {
			r.warn("an MX record says it clearly", "%s has no MX: mail goes to %s", domain, addrs[0])
			return
		}
		r.fail(hint, "%s has neither MX nor address", domain)
	}
}

// keyRecord looks up the record of a DKIM key (RFC 6376, Section 3.6.1) and, if the
// key is known, compares them.
func (c *checker) keyRecord(ctx context.Context, r *report, selector, domain string, public crypto.PublicKey) {
	name := selector + "._domainkey." + state.Domain(domain)
	texts, err := c.resolver().LookupTXT(ctx, name+".")
	switch {
	case notFound(err):
		r.fail("publish the key's record there", "DKIM: there is no TXT record %s", name)
		return
	case err != nil:
		r.fail("look at the resolver, or give one with --resolver", "DKIM: TXT record %s: %s", name, lookupError(err))
		return
	}
	key, err := dkimkey.Find(texts)
	switch {
	case errors.Is(err, dkimkey.ErrSeveral):
		r.fail("remove all but one", "DKIM: %s has %d TXT records", name, len(texts))
	case errors.Is(err, dkimkey.ErrRevoked):
		r.fail("sign with another selector", "DKIM: the key %s is revoked: p= is empty", name)
	case err != nil:
		r.fail("publish the record of the key that signs, without it nobody can verify what was signed",
			"DKIM: the TXT record %s is not that of a key: %v", name, err)
	case public != nil && !equal(key.Public, public):
		r.fail("publish the record of the key that signs", "DKIM: the TXT record %s is of another key", name)
	case key.Testing:
		r.warn("remove t=y from the record", "DKIM: the key %s is in testing (t=y): CAs may treat replies as unsigned", name)
	default:
		r.ok("DKIM: the TXT record %s is there", name)
	}
}

func equal(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}
