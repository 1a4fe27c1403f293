package challenge

import (
	"slices"
	"strings"

	"github.com/emersion/go-msgauth/authres"

	"postseal/state"
)

// authenticated believes the Authentication-Results that the admin's own border host has
// added (RFC 8601), if the order's policy names that host: behind it, a list or a scanner may
// have changed the body, so that the signature no longer verifies here. The result names the
// domain but not the fields covered, so every signature of that domain must cover the fields
// that count.
func (x *exam) authenticated() (coverage, error) {
	host := x.policy().TrustedAuthservID
	if host == "" || !x.passedAt(host) {
		return coverage{}, errNotTried
	}
	cover := coverage{by: "DKIM signature by " + printable(x.signatures[0].shown) + ", verified by " + host}
	for i, s := range x.signatures {
		if err := x.couldCount(s, coverage{by: cover.by, names: s.names}); err != nil {
			return coverage{}, err
		}
		cover.names = intersect(cover.names, s.names, i == 0)
	}
	return cover, nil
}

// passedAt reports whether host says dkim=pass for the domain of an aligned signature.
func (x *exam) passedAt(host string) bool {
	for _, f := range x.m.fields {
		value, ok := plain(f.value)
		if !ok || f.name != "authentication-results" || !namesBare(f.raw, host) {
			continue
		}
		_, results, err := authres.Parse(value)
		if err != nil {
			continue
		}
		for _, result := range results {
			if d, ok := result.(*authres.DKIMResult); ok && d.Value == authres.ResultPass && x.alignedDomain(d.Domain) {
				return true
			}
		}
	}
	return false
}

// namesBare reports whether the authserv-id of a field, as it arrived, is host as a bare word
// with at most a version after it. RFC 8601, Section 2.2, also allows quotes and comments,
// but a border host that removes fields with its name may not recognise it there. Nor does a
// reader of ASCII recognise white space or letters that only Unicode treats as such.
func namesBare(raw, host string) bool {
	_, value, _ := strings.Cut(strings.ReplaceAll(raw, "\r\n", ""), ":")
	id, _, _ := strings.Cut(value, ";")
	if strings.ContainsFunc(id, func(r rune) bool { return r != '\t' && (r < ' ' || r > '~') }) {
		return false
	}
	words := strings.Fields(id)
	return len(words) > 0 && strings.EqualFold(words[0], host) && (len(words) == 1 || len(words) == 2 && strings.Trim(words[1], "0123456789") == "")
}

func (x *exam) alignedDomain(domain string) bool {
	domain = state.Domain(domain)
	return slices.ContainsFunc(x.signatures, func(s *signature) bool { return s.domain == domain })
}

// intersect returns the names that both lists hold. At the start the first list counts as
// everything.
func intersect(a, b []string, start bool) []string {
	if start {
		return b
	}
	var both []string
	for _, name := range a {
		if (coverage{names: b}).has(name) {
			both = append(both, name)
		}
	}
	return both
}
