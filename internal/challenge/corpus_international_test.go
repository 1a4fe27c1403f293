package challenge

import "postseal/state"

const (
	uDomain = "b\u00fccher.example"
	aDomain = "xn--bcher-kva.example"
)

func internationalZone(name string) map[string]string {
	return map[string]string{"s1._domainkey." + name: txt("v=DKIM1; ", "rsa2048")}
}

func fromIs(addr string) []*state.Pending {
	return []*state.Pending{order(func(p *state.Pending) { p.From = addr })}
}

func emailIs(addr string) []*state.Pending {
	return []*state.Pending{order(func(p *state.Pending) { p.Email = addr })}
}

// internationalCases are RFC 6531, RFC 6532 and RFC 8616.
var internationalCases = []corpusCase{
	{name: "from-a-label", why: "A CA with an internationalised domain, in A-labels throughout.",
		edit: from("acme@" + aDomain), sign: []sig{{d: aDomain}}, dns: internationalZone(aDomain), pending: fromIs("acme@" + aDomain),
		want: want{verdict: Answered, to: "acme@" + aDomain}},
	{name: "from-u-label", why: "In U-labels throughout (RFC 8616): the key is looked up under A-labels.",
		edit: from("acme@" + uDomain), sign: []sig{{d: uDomain}}, dns: internationalZone(aDomain), pending: fromIs("acme@" + uDomain),
		want: want{verdict: Answered, to: "acme@" + uDomain}},
	{name: "from-u-d-a", why: "From in U-labels, d= in A-labels: the same domain.",
		edit: from("acme@" + uDomain), sign: []sig{{d: aDomain}}, dns: internationalZone(aDomain), pending: fromIs("acme@" + aDomain),
		want: want{verdict: Answered, to: "acme@" + uDomain}},
	{name: "from-a-d-u", why: "And the other way round.",
		edit: from("acme@" + aDomain), sign: []sig{{d: uDomain}}, dns: internationalZone(aDomain), pending: fromIs("acme@" + uDomain),
		want: want{verdict: Answered, to: "acme@" + aDomain}},
	{name: "from-u-other-case", why: "U-labels have case that A-labels have not.",
		edit: from("acme@B\u00dcCHER.example"), sign: []sig{{d: aDomain}}, dns: internationalZone(aDomain), pending: fromIs("acme@" + aDomain),
		want: want{verdict: Answered, to: "acme@B\u00dcCHER.example"}},
	{name: "from-homograph", why: "A domain with a Cyrillic letter is another domain, and A-labels show it.",
		edit: from("acme-challenge+1@c\u0430.example"), sign: []sig{{d: "c\u0430.example"}}, want: refused(0, "must come from")},
	{name: "from-utf8-local", why: "A local part that is not ASCII.",
		edit: from("z\u00fcrich@ca.example"), pending: fromIs("z\u00fcrich@ca.example"), want: want{verdict: Answered, to: "z\u00fcrich@ca.example"}},
	{name: "from-utf8-local-decomposed", why: "The same letters composed otherwise are another mailbox: nobody but its host may say that they are one.",
		edit: from("zu\u0308rich@ca.example"), pending: fromIs("z\u00fcrich@ca.example"), want: refused(0, "must come from")},
	{name: "to-utf8-local", why: "An address that is not ASCII: From of the reply and its envelope are as the CA returned it.",
		edit: to("\u7528\u6237@example.test"), pending: emailIs("\u7528\u6237@example.test")},
	{name: "to-u-label", why: "The address was ordered in A-labels, To is in U-labels: the reply has it as ordered.",
		edit: to("alice@" + uDomain), pending: emailIs("alice@" + aDomain)},
	{name: "to-a-label", why: "And the other way round.",
		edit: to("alice@" + aDomain), pending: emailIs("alice@" + uDomain)},
	{name: "to-utf8-both", why: "A local part that is not ASCII, below a domain in U-labels that was ordered in A-labels.",
		edit: to("\u7528\u6237@" + uDomain), pending: emailIs("\u7528\u6237@" + aDomain)},
	{name: "to-invalid-utf8", why: "Latin-1 in an address.",
		edit: to("\xfc@example.test"), want: ignored("nobody waits")},
	{name: "to-kelvin", why: "The sign for kelvin has k as its lower case and is another letter: case is not compared across the border of ASCII.",
		edit: to("mi\u212ae@example.test"), pending: emailIs("mike@example.test"), want: ignored("nobody waits")},
	{name: "reply-to-u-label", why: "A Reply-To below From's domain, in U-labels.",
		edit: append(from("acme@"+aDomain), set("Reply-To", "r@mail."+uDomain)), sign: []sig{{d: aDomain}}, dns: internationalZone(aDomain),
		pending: fromIs("acme@" + aDomain), want: want{verdict: Answered, to: "r@mail." + uDomain}},
	{name: "reply-to-homograph", why: "A Reply-To whose domain looks like From's.",
		edit: []edit{set("Reply-To", "r@c\u0430.example")}, want: refused(1, "outside the domain of From")},
	{name: "reply-to-full-stop", why: "An ideographic full stop is a dot to IDNA: this is a sub-domain of From's.",
		edit: []edit{set("Reply-To", "r@mail\u3002ca.example")}, want: want{verdict: Answered, to: "r@mail\u3002ca.example"}},
	{name: "reply-to-full-width-slash", why: "What IDNA maps to a character that no domain has is not a sub-domain of anything.",
		edit: []edit{set("Reply-To", "r@evil\uff0fca.example")}, want: refused(1, "outside the domain of From")},
	{name: "selector-u-label", why: "RFC 8616, Section 3: a selector may be a U-label.",
		sign: []sig{{s: "schl\u00fcssel"}}, dns: internationalZone("ca.example"), want: refused(1, "no key for signature")},
	{name: "selector-u-label-known", why: "It is looked up as an A-label.",
		sign: []sig{{s: "schl\u00fcssel"}}, dns: map[string]string{"xn--schlssel-95a._domainkey.ca.example": txt("", "rsa2048")}},
	{name: "subject-utf8-raw", why: "RFC 6532 allows UTF-8 in a Subject as it is; a token has none.",
		edit: subject("ACME: \u00fc" + part1), want: refused(0, illegal)},
	{name: "i-utf8", why: "RFC 8616: i= in UTF-8.",
		sign: []sig{{more: "i=z\u00fcrich@ca.example; "}}},
}
