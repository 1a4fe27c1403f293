package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

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

// issuer returns the domain in an issuemail value, "" if it names none, which
// forbids everybody. Parameters follow a semicolon.
func (r caa) issuer() (domain, parameters string) {
	domain, parameters, _ = strings.Cut(r.value, ";")
	return strings.ToLower(strings.Trim(domain, " \t")), strings.Trim(parameters, " \t")
}

// relevant returns the records that count for a domain: its own, else those of the
// closest parent that has any (RFC 8659, Section 3).
func (c *checker) relevant(ctx context.Context, domain string) (at string, records []caa, err error) {
	for at = domain; at != ""; _, at, _ = strings.Cut(at, ".") {
		data, err := c.caaRecords(ctx, at)
		if err != nil {
			return at, nil, err
		}
		for _, d := range data {
			record, err := parseCAA(d)
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

// knownTags may be critical without harm: they are not about mail, or are what we
// read.
var knownTags = []string{"issue", "issuewild", "issuemail", "issuevmc", "iodef", "contactemail", "contactphone"}

// checkCAA looks whether a domain's CAA records let the CA issue for its mailboxes
// (RFC 9495). Without an issuemail property everybody may.
func (c *checker) checkCAA(ctx context.Context, r *report, domain string) {
	at, records, err := c.relevant(ctx, domain)
	if err != nil {
		r.fail("CAs refuse when they get no answer; look at the domain's DNS servers", "CAA of %s: %v", at, silence(root(err)))
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

// compareCAA looks for one of the CA's names among those that may issue.
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

// note tells of parameters: what they mean is between the domain and the CA.
func note(parameters string) string {
	if parameters == "" {
		return ""
	}
	return fmt.Sprintf(" with %q, which may restrict it to one account", parameters)
}
