package challenge

import (
	"fmt"
	"strings"
)

// seconds is the time in a tag, as an offset in seconds from the time of receipt.
func seconds(offset int64) string { return fmt.Sprint(received.Unix() + offset) }

// past and future are past and future for every clock.
const (
	past   = "1500000000" // 2017
	future = "4102444800" // 2100
)

// junk returns n invalid signatures of a domain. Each has its own selector, since many keys
// are many look-ups.
func junk(n int, domain string) (all []sig) {
	for i := range n {
		all = append(all, sig{d: domain, s: fmt.Sprintf("junk%d", i), bad: true})
	}
	return all
}

// atop puts signatures above others.
func atop(below []sig, above ...sig) []sig { return append(below[:len(below):len(below)], above...) }

// good is the usual signature.
var good = sig{}

var unusual = func() map[string]string {
	zone := map[string]string{
		"s1._domainkey.evil.example":    txt("v=DKIM1; ", "other2048"),
		"other._domainkey.ca.example":   txt("v=DKIM1; ", "other2048"),
		"short._domainkey.ca.example":   txt("v=DKIM1; ", "rsa512"),
		"rsa1024._domainkey.ca.example": txt("v=DKIM1; ", "rsa1024"),
		"ed._domainkey.ca.example":      txt("v=DKIM1; k=ed25519; ", "ed25519"),
		"down._domainkey.ca.example":    "servfail",
	}
	return zone
}()

// zoneWith is a zone with another key record.
func zoneWith(record string) map[string]string {
	return map[string]string{"s1._domainkey.ca.example": record}
}

// signatureCases are RFC 8823, Section 3.1, item 6 and the tags of RFC 6376.
var signatureCases = []corpusCase{
	{name: "unsigned", why: "No signature of any kind.",
		sign: unsigned, want: refused(0, "not signed")},
	{name: "broken", why: "A signature that does not verify.",
		sign: []sig{{bad: true}}, want: refused(1, "signature did not verify")},
	{name: "d-exact", why: "Item 6: d= MUST be the domain of From."},
	{name: "d-other-case", why: "Domains have no case.",
		sign: []sig{{d: "CA.Example"}}},
	{name: "d-final-dot", why: "A final dot names the same domain.",
		sign: []sig{{d: "ca.example."}}},
	{name: "d-folded", why: "FWS in d= is dropped by the library; the signature is by the same domain.",
		sign: []sig{{d: "ca.\r\n\t example"}}},
	{name: "d-parent", why: "A parent of From's domain is not the domain, without a policy.",
		edit: from("acme@mail.ca.example"), pending: policyFrom("acme@mail.ca.example", ""), want: refused(0, "no DKIM signature by mail.ca.example")},
	{name: "d-child", why: "Nor is a child.",
		sign: []sig{{d: "mail.ca.example"}}, dns: map[string]string{"s1._domainkey.mail.ca.example": txt("", "rsa2048")},
		want: refused(0, "no DKIM signature by ca.example")},
	{name: "d-foreign", why: "A valid signature of somebody else: anybody can make one.",
		sign: []sig{{d: "evil.example", key: "other2048"}}, dns: unusual, want: refused(0, "found one by evil.example")},
	{name: "d-look-alike", why: "evilca.example ends like ca.example.",
		sign: []sig{{d: "evilca.example"}}, want: refused(0, "no DKIM signature by ca.example")},
	{name: "d-public-suffix", why: "A public suffix signs for nobody.",
		sign: []sig{{d: "example"}}, want: refused(0, "no DKIM signature by ca.example")},
	{name: "d-empty", why: "An empty d=.",
		sign: []sig{{d: " "}}, want: refused(0, "no DKIM signature by ca.example")},
	{name: "d-absent", why: "d= is required (RFC 6376, Section 3.5).",
		sign: []sig{{d: "-"}}, want: refused(0, "no DKIM signature by ca.example")},
	{name: "d-twice", why: "A tag that stands twice makes the list invalid (RFC 6376, Section 3.2): whose reading would count?",
		sign: []sig{{more: "d=evil.example; "}}, want: refused(0, "malformed")},

	{name: "parent-relaxed", why: "Policy relaxed-parent: a parent of From's domain may sign.",
		edit: from("acme@mail.ca.example"), pending: policyFrom("acme@mail.ca.example", "relaxed-parent"),
		want: want{verdict: Answered, to: "acme@mail.ca.example"}},
	{name: "parent-relaxed-grand", why: "So may a parent's parent, up to the registered domain.",
		edit: from("acme@a.b.ca.example"), pending: policyFrom("acme@a.b.ca.example", "relaxed-parent"),
		want: want{verdict: Answered, to: "acme@a.b.ca.example"}},
	{name: "parent-relaxed-suffix", why: "Nobody but the registry of co.uk could publish that key; the admin has asked for parents.",
		edit: from("acme@ca.co.uk"), pending: policyFrom("acme@ca.co.uk", "relaxed-parent"),
		sign: []sig{{d: "co.uk"}}, dns: map[string]string{"s1._domainkey.co.uk": txt("", "rsa2048")}, want: want{verdict: Answered, to: "acme@ca.co.uk"}},
	{name: "parent-relaxed-top-level", why: "A top-level domain signs for nobody, not even then.",
		sign: []sig{{d: "example"}}, pending: policyFrom(caFrom, "relaxed-parent"),
		dns: map[string]string{"s1._domainkey.example": txt("", "rsa2048")}, want: refused(0, "no DKIM signature by ca.example")},
	{name: "parent-relaxed-child", why: "relaxed-parent is about parents: a child is refused.",
		sign: []sig{{d: "mail.ca.example"}}, pending: policyFrom(caFrom, "relaxed-parent"),
		dns: map[string]string{"s1._domainkey.mail.ca.example": txt("", "rsa2048")}, want: refused(0, "no DKIM signature by ca.example")},
	{name: "parent-relaxed-sibling", why: "Nor a sibling.",
		edit: from("acme@mail.ca.example"), pending: policyFrom("acme@mail.ca.example", "relaxed-parent"),
		sign: []sig{{d: "www.ca.example"}}, want: refused(0, "no DKIM signature by mail.ca.example")},
	{name: "parent-relaxed-exact", why: "The exact domain still counts.",
		pending: policyFrom(caFrom, "relaxed-parent")},
	{name: "strict-full", why: "Policy strict: the whole list of item 6, absent fields included.",
		pending: policyFrom(caFrom, "strict")},
	{name: "strict-present-only", why: "Under it, h= of just what is present is not enough.",
		sign: []sig{{h: present}}, pending: policyFrom(caFrom, "strict"), want: refused(0, "does not cover Sender")},
	{name: "strict-one-missing", why: "Nor one name short.",
		sign: []sig{{h: without("content-transfer-encoding")}}, pending: policyFrom(caFrom, "strict"), want: refused(0, "does not cover Content-Transfer-Encoding")},
	{name: "strict-parent", why: "Nor a parent's signature.",
		edit: from("acme@mail.ca.example"), pending: policyFrom("acme@mail.ca.example", "strict"), want: refused(0, "no DKIM signature by mail.ca.example")},

	{name: "two-good", why: "Two good signatures with two keys: one is enough.",
		sign: []sig{{s: "ed", a: "ed25519-sha256", key: "ed25519"}, good}, dns: unusual},
	{name: "good-then-foreign", why: "A list or a forwarder adds its own on top.",
		sign: []sig{good, {d: "lists.example"}}},
	{name: "foreign-then-good", why: "A sender's provider signs first and the CA on top.",
		sign: []sig{{d: "provider.example"}, good}},
	{name: "broken-on-top", why: "An aligned one that does not verify, above the good one.",
		sign: []sig{good, {s: "junk", bad: true}}},
	{name: "broken-below", why: "An aligned one that does not verify, below the good one: both are looked at.",
		sign: []sig{{bad: true}, good}, want: answered(1)},
	{name: "good-at-the-bottom", why: "Some signers add their field below the header.",
		sign: []sig{{below: true}}},
	{name: "junk-foreign-50", why: "Fifty foreign ones on top hide nothing and cost nothing.",
		sign: atop([]sig{good}, junk(50, "evil.example")...)},
	{name: "junk-aligned-4", why: "Four aligned ones on top.",
		sign: atop([]sig{good}, junk(4, "ca.example")...)},
	{name: "junk-aligned-60", why: "Sixty aligned ones on top: the oldest are looked at.",
		sign: atop([]sig{good}, junk(60, "ca.example")...)},
	{name: "junk-aligned-60-no-good", why: "Sixty aligned ones and none is good: five look-ups, no more.",
		sign: junk(60, "ca.example"), want: refused(5, "no key for signature")},
	{name: "junk-aligned-below-4", why: "Four bad ones below the good one, which is the fifth.",
		sign: atop(junk(4, "ca.example"), good), want: answered(4)},
	{name: "junk-aligned-below-5", why: "Five bad ones below the good one: whoever can put them there can drop the mail as well.",
		sign: atop(junk(5, "ca.example"), good), want: refused(5, "no key for signature")},
	{name: "same-field-twice", why: "The same signature twice, as a broken relay does.",
		sign: []sig{good}, after: []edit{func(d *draft) { d.fields = append(d.fields[:1:1], d.fields...) }}},
	{name: "malformed-on-top", why: "A field that is not a tag list says nothing.",
		sign: []sig{good, {raw: "DKIM-Signature: hello"}}},
	{name: "malformed-only", why: "And is not a signature.",
		sign: []sig{{raw: "DKIM-Signature: hello"}}, want: refused(0, "malformed")},
	{name: "covered-in-union", why: "Two signatures, each covering half: neither vouches for the message.",
		sign: []sig{{h: "from:to:auto-submitted"}, {h: "from:subject:auto-submitted"}}, want: refused(0, "does not cover Subject")},
	{name: "signs-signature", why: "An outer signature that covers the inner one, as ARC-like relays make.",
		sign: []sig{{s: "other", key: "other2048", bad: true}, {h: usualH + ":DKIM-Signature"}}, dns: unusual, want: answered(1)},
	{name: "temporary-and-good", why: "One key cannot be looked up; the other signature is good, and that is enough.",
		sign: []sig{{s: "down"}, good}, dns: unusual, want: answered(1)},
	{name: "good-and-temporary", why: "In the other order the bad luck is never met.",
		sign: []sig{good, {s: "down"}}, dns: unusual},
	{name: "temporary-and-broken", why: "One cannot be looked up, the other is broken: it may yet be genuine.",
		sign: []sig{{s: "down"}, {bad: true}}, dns: unusual, want: later(2, "cannot be looked up now")},
	{name: "broken-and-temporary", why: "The same in the other order.",
		sign: []sig{{bad: true}, {s: "down"}}, dns: unusual, want: later(2, "cannot be looked up now")},
	{name: "temporary-uncovered", why: "A signature that could not count even with its key is not worth coming back for.",
		sign: []sig{{s: "down", h: "from"}}, dns: unusual, want: refused(0, "does not cover To")},

	{name: "l", why: "l= leaves the end of the body open: SPEC.md refuses it whatever it covers.",
		sign: []sig{{more: "l=10; "}}, want: refused(0, "covers only part of the body")},
	{name: "l-whole-body", why: "Even if it covers all that is there.",
		sign: []sig{{more: "l=100000; "}}, want: refused(0, "covers only part of the body")},
	{name: "l-and-good", why: "A good one beside it counts.",
		sign: []sig{{more: "l=10; "}, good}},
	{name: "t-past", why: "t= in the past is what it is.",
		sign: []sig{{more: "t=" + seconds(-60) + "; "}}},
	{name: "t-slightly-ahead", why: "Clocks differ by five minutes.",
		sign: []sig{{more: "t=" + seconds(300) + "; "}}},
	{name: "t-ahead", why: "More than five minutes ahead.",
		sign: []sig{{more: "t=" + seconds(301) + "; "}}, want: refused(0, "dated in the future")},
	{name: "t-year-9999", why: "Far ahead.",
		sign: []sig{{more: "t=253402300799; "}}, want: refused(0, "dated in the future")},
	{name: "t-overflow", why: "A number that overflows is not a time.",
		sign: []sig{{more: "t=99999999999999999999; "}}, want: refused(0, "an invalid time")},
	{name: "t-negative", why: "Nor is a negative one.",
		sign: []sig{{more: "t=-1; "}}, want: refused(0, "an invalid time")},
	{name: "t-words", why: "Nor are words.",
		sign: []sig{{more: "t=now; "}}, want: refused(0, "an invalid time")},
	{name: "x-future", why: "x= in the future.",
		sign: []sig{{more: "t=" + seconds(-60) + "; x=" + future + "; "}}},
	{name: "x-past", why: "A signature that has expired: somebody has kept the mail.",
		sign: []sig{{more: "x=" + past + "; "}}, want: refused(0, "has expired")},
	{name: "x-just-past", why: "One second is enough.",
		sign: []sig{{more: "x=" + seconds(-1) + "; "}}, want: refused(0, "has expired")},
	{name: "x-before-t", why: "RFC 6376, Section 3.5: x= MUST be greater than t=.",
		sign: []sig{{more: "t=" + seconds(200) + "; x=" + seconds(100) + "; "}}, want: refused(0, "expires before it was made")},
	{name: "i-same", why: "i= of the same domain.",
		sign: []sig{{more: "i=@ca.example; "}}},
	{name: "i-user", why: "i= with a local part.",
		sign: []sig{{more: "i=robot@ca.example; "}}},
	{name: "i-sub-domain", why: "i= of a sub-domain, which d= may vouch for.",
		sign: []sig{{more: "i=robot@acme.ca.example; "}}},
	{name: "i-foreign", why: "i= MUST be d= or below it.",
		sign: []sig{{more: "i=@evil.example; "}}, want: refused(0, "domain mismatch")},
	{name: "i-look-alike", why: "evilca.example is not below ca.example.",
		sign: []sig{{more: "i=@evilca.example; "}}, want: refused(0, "domain mismatch")},
	{name: "a-sha1", why: "RFC 8301: rsa-sha1 MUST NOT be used.",
		sign: []sig{{a: "rsa-sha1"}}, want: refused(1, "too weak")},
	{name: "a-sha512", why: "An algorithm that DKIM does not have.",
		sign: []sig{{a: "rsa-sha512"}}, want: refused(1, "unsupported hash")},
	{name: "a-absent", why: "a= is required.",
		sign: []sig{{a: "-"}}, want: refused(0, "missing required tag")},
	{name: "a-ed25519", why: "RFC 8463.",
		sign: []sig{{a: "ed25519-sha256", key: "ed25519", s: "ed"}}, dns: unusual},
	{name: "a-ed25519-rsa-key", why: "The algorithm of the signature is not that of the key.",
		sign: []sig{{a: "ed25519-sha256", key: "ed25519"}}, want: refused(1, "inappropriate key algorithm")},
	{name: "a-rsa-ed25519-key", why: "And the other way round.",
		sign: []sig{{s: "ed"}}, dns: unusual, want: refused(1, "inappropriate key algorithm")},
	{name: "c-simple", why: "Simple canonicalization of both.",
		sign: []sig{{c: "simple/simple"}}},
	{name: "c-absent", why: "No c= means simple.",
		sign: []sig{{c: "simple/simple"}}, after: nil},
	{name: "c-relaxed-simple", why: "Relaxed header, simple body.",
		sign: []sig{{c: "relaxed/simple"}}},
	{name: "c-simple-relaxed", why: "Simple header, relaxed body.",
		sign: []sig{{c: "simple/relaxed"}}},
	{name: "c-relaxed", why: "One word: the body is simple.",
		sign: []sig{{c: "relaxed"}}},
	{name: "c-unknown", why: "An unknown canonicalization.",
		sign: []sig{{c: "nofws/nofws"}}, want: refused(1, "unsupported header canonicalization")},
	{name: "c-simple-refolded", why: "A relay that folds anew breaks simple signatures.",
		sign: []sig{{c: "simple/simple"}}, after: []edit{set("Subject", "ACME:\r\n "+part1)}, want: refused(1, "signature did not verify")},
	{name: "c-relaxed-refolded", why: "And not relaxed ones.",
		after: []edit{set("Subject", "ACME:\r\n\t "+part1)}},
	{name: "c-relaxed-trailing-space", why: "Nor does white space at the ends of the body's lines.",
		after: []edit{func(d *draft) { d.body = strings.ReplaceAll(d.body, "\r\n", " \t\r\n") + "\r\n\r\n" }}},
	{name: "q-dns-txt", why: "The query method that there is.",
		sign: []sig{{q: "dns/txt"}}},
	{name: "q-list", why: "A list with one that is known.",
		sign: []sig{{q: "http/well-known:dns/txt"}}},
	{name: "q-unknown", why: "A list without.",
		sign: []sig{{q: "http/well-known"}}, want: refused(0, "unsupported public key query method")},
	{name: "v-2", why: "Another version of DKIM.",
		sign: []sig{{raw: strings.Replace(sig{}.field(newDraft().String()), "v=1", "v=2", 1)}}, want: refused(0, "incompatible signature version")},
	{name: "unknown-tag", why: "Tags that nobody knows are ignored (RFC 6376, Section 3.2).",
		sign: []sig{{more: "zz=1; "}}},
	{name: "z", why: "z= copies fields for debugging; what is in it counts for nothing.",
		sign: []sig{{more: "z=Subject:ACME=3A=20AAAAAAAAAAAAAAAAAAAAAA|To:eve@evil.example; "}}},
	{name: "b-empty", why: "An empty signature.",
		sign: []sig{{raw: strings.Split(sig{}.field(newDraft().String()), "\tb=")[0] + "\tb="}}, want: refused(1, "signature did not verify")},
	{name: "b-not-base64", why: "A signature that is not base64.",
		sign: []sig{{raw: strings.Split(sig{}.field(newDraft().String()), "\tb=")[0] + "\tb=!!!!"}}, want: refused(1, "malformed signature")},
	{name: "s-odd", why: "A selector with dots is a name below _domainkey.",
		sign: []sig{{s: "a.b-c"}}, dns: map[string]string{"a.b-c._domainkey.ca.example": txt("", "rsa2048")}},
	{name: "s-not-a-name", why: "A selector that is not a name has no key; nothing of it gets into a query.",
		sign: []sig{{s: "a/../b"}}, want: refused(1, "no key for signature")},
	{name: "dkim-field-odd-case", why: "The name of the signature's field has no case.",
		sign: []sig{{raw: strings.Replace(sig{}.field(newDraft().String()), "DKIM-Signature", "Dkim-signature", 1)}}},
}
