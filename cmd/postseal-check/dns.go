package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"postseal/internal/challenge"
	"postseal/internal/resolve"
	"postseal/state"
)

// lookUpTime bounds one look-up with all its tries.
const lookUpTime = 3 * time.Second

// resolver asks as the mail half does.
func (c *checker) resolver() *resolve.Client {
	return &resolve.Client{Addr: c.Resolver, Time: lookUpTime}
}

// notFound reports whether an error means that the record does not exist.
func notFound(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

// lookupError writes an error without the name, which our own text has.
func lookupError(err error) string {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return dns.Err
	}
	return err.Error()
}

// checkDNS looks up the records that the domains of the addresses, and those that we sign
// for, must have.
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
		public, _ := x509.ParsePKIXPublicKey(k.Public) // without it, the check of the configuration complains
		c.keyRecord(ctx, r, k.Selector, k.Domain, public)
	}
	if len(domains)+len(c.Config.DKIM) == 0 {
		r.skip("no domain is known (-e ADDR): nothing was looked up")
	}
}

// checkMX checks whether mail to the domain, such as the challenge, can arrive.
func (c *checker) checkMX(ctx context.Context, r *report, domain string) {
	const hint = "without it the challenge mail does not arrive"
	records, err := c.resolver().Records(ctx, domain+".", dnsmessage.TypeMX)
	var best *dnsmessage.MXResource
	for _, record := range records {
		if mx := record.(*dnsmessage.MXResource); best == nil || mx.Pref < best.Pref {
			best = mx
		}
	}
	switch {
	case err != nil && !notFound(err):
		r.fail("look at the resolver, or give one with --resolver", "MX of %s: %s", domain, lookupError(err))
	case best == nil:
		c.checkHost(ctx, r, domain, hint)
	case len(records) == 1 && best.MX.String() == ".":
		r.fail(hint, "%s says with a null MX that it takes no mail", domain)
	default:
		r.ok("%s has MX %s", domain, strings.TrimSuffix(best.MX.String(), "."))
	}
}

// checkHost looks for the address that receives mail if there is no MX (RFC 5321, Section
// 5.1).
func (c *checker) checkHost(ctx context.Context, r *report, domain, hint string) {
	for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
		records, _ := c.resolver().Records(ctx, domain+".", kind)
		for _, record := range records {
			var ip net.IP
			switch record := record.(type) {
			case *dnsmessage.AResource:
				ip = record.A[:]
			case *dnsmessage.AAAAResource:
				ip = record.AAAA[:]
			}
			r.warn("an MX record says it clearly", "%s has no MX: mail goes to %s", domain, ip)
			return
		}
	}
	r.fail(hint, "%s has neither MX nor address", domain)
}

// keyRecord looks up the record of a DKIM key (RFC 6376, Section 3.6.1) and compares it with
// the key, if that is known.
func (c *checker) keyRecord(ctx context.Context, r *report, selector, domain string, public crypto.PublicKey) {
	name := selector + "._domainkey." + state.Domain(domain)
	texts, err := c.resolver().TXT(ctx, name+".")
	switch {
	case notFound(err):
		r.fail("publish the key's record there", "DKIM: there is no TXT record %s", name)
		return
	case err != nil:
		r.fail("look at the resolver, or give one with --resolver", "DKIM: TXT record %s: %s", name, lookupError(err))
		return
	}
	key, err := challenge.FindKey(texts)
	switch {
	case errors.Is(err, challenge.ErrSeveralKeys):
		r.fail("remove all but one", "DKIM: %s has %d TXT records", name, len(texts))
	case errors.Is(err, challenge.ErrRevokedKey):
		r.fail("sign with another selector", "DKIM: the key %s is revoked: p= is empty", name)
	case err != nil:
		r.fail("publish the record of the key that signs, without it nobody can verify what was signed",
			"DKIM: the TXT record %s is not that of a key: %v", name, err)
	case public != nil && !equal(key.Key, public):
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

// typeCAA is the type of RFC 8659, which dnsmessage does not know.
const typeCAA = dnsmessage.Type(257)

// caa is one CAA record (RFC 8659, Section 4.1).
type caa struct {
	critical   bool
	tag, value string
}

func parseCAA(data []byte) (caa, error) {
	if len(data) < 2 || len(data) < 2+int(data[1]) || data[1] == 0 {
		return caa{}, errors.New("a CAA record is malformed")
	}
	end := 2 + int(data[1])
	return caa{data[0]&0x80 != 0, strings.ToLower(string(data[2:end])), string(data[end:])}, nil
}

// issuer returns the domain in an issuemail value, and its parameters after the semicolon.
// Without a domain, which forbids everybody, it returns "".
func (r caa) issuer() (domain, parameters string) {
	domain, parameters, _ = strings.Cut(r.value, ";")
	return strings.ToLower(strings.Trim(domain, " \t")), strings.Trim(parameters, " \t")
}

// relevant returns the records that apply to a domain: its own, or those of the closest
// parent that has any (RFC 8659, Section 3).
func (c *checker) relevant(ctx context.Context, domain string) (at string, records []caa, err error) {
	for at = domain; at != ""; _, at, _ = strings.Cut(at, ".") {
		found, err := c.resolver().Records(ctx, at+".", typeCAA)
		if err != nil {
			return at, nil, err
		}
		for _, f := range found {
			record, err := parseCAA(f.(*dnsmessage.UnknownResource).Data)
			if err != nil {
				return at, nil, err
			}
			records = append(records, record)
		}
		if len(records) > 0 {
			return at, records, nil
		}
	}
	return "", nil, nil
}

// knownTags may be critical without harm: they do not concern mail, or we read them.
var knownTags = []string{"issue", "issuewild", "issuemail", "issuevmc", "iodef", "contactemail", "contactphone"}

// checkCAA checks whether a domain's CAA records let the CA issue for its mailboxes (RFC
// 9495). Without an issuemail property everybody may.
func (c *checker) checkCAA(ctx context.Context, r *report, domain string) {
	at, records, err := c.relevant(ctx, domain)
	if err != nil {
		r.fail("CAs refuse when they get no answer; look at the domain's DNS servers", "CAA of %s: %s", at, lookupError(err))
		return
	}
	var allowed []caa
	for _, record := range records {
		switch {
		case record.tag == "issuemail":
			allowed = append(allowed, record)
		case record.critical && !slices.Contains(knownTags, record.tag):
			r.fail("remove it, or its critical bit", "CAA of %s has the critical property %q, which forbids every CA that does not know it", at, record.tag)
			return
		}
	}
	if len(allowed) == 0 {
		r.ok("%s has no CAA record with issuemail: every CA may issue", domain)
		return
	}
	c.compareCAA(r, at, allowed)
}

// compareCAA looks for one of the CA's names among the permitted issuers.
func (c *checker) compareCAA(r *report, at string, allowed []caa) {
	d, err := c.directory()
	var names []string
	for _, record := range allowed {
		domain, parameters := record.issuer()
		switch {
		case domain == "":
		case err == nil && slices.ContainsFunc(d.Meta.Identities, func(id string) bool { return strings.EqualFold(id, domain) }):
			r.ok("CAA of %s permits the CA: issuemail %q%s", at, domain, note(parameters))
			return
		default:
			names = append(names, domain)
		}
	}
	switch {
	case len(names) == 0:
		r.fail("add the CA's name with issuemail, as its documentation says", "CAA of %s forbids every CA: issuemail \";\"", at)
	case err != nil:
		r.warn("", "CAA of %s permits %s; the CA does not answer, so its names are not known", at, strings.Join(names, ", "))
	case len(d.Meta.Identities) == 0:
		r.warn("compare with the CA's documentation", "CAA of %s permits %s; the CA does not say by which name it goes", at, strings.Join(names, ", "))
	default:
		r.fail(fmt.Sprintf("add: %s. CAA 0 issuemail %q", at, d.Meta.Identities[0]), "CAA of %s permits %s and not the CA (%s)",
			at, strings.Join(names, ", "), strings.Join(d.Meta.Identities, ", "))
	}
}

// note reports parameters, whose meaning the domain and the CA agree on.
func note(parameters string) string {
	if parameters == "" {
		return ""
	}
	return fmt.Sprintf(" with %q, which may restrict it to one account", parameters)
}
