package challenge

import (
	"strconv"
	"strings"

	"postseal/state"
)

func policyFrom(from, dkim string) []*state.Pending {
	return []*state.Pending{order(func(p *state.Pending) { p.From, p.Policy.DKIM = from, dkim })}
}

// inStrings splits a key record as long ones are in the DNS.
func inStrings(record string) string {
	whole, _ := strconv.Unquote(strings.TrimPrefix(record, "TXT "))
	return "TXT " + strconv.Quote(whole[:100]) + " " + strconv.Quote(whole[100:255]) + " " + strconv.Quote(whole[255:])
}

// dnsCases are the key records of RFC 6376, Section 3.6 and what a DNS can do.
var dnsCases = []corpusCase{
	{name: "nxdomain", why: "SPEC.md: no key (NXDOMAIN) is refused.",
		dns: zoneWith("nxdomain"), want: refused(1, "no key for signature")},
	{name: "no-record", why: "A name without TXT records is as good as none.",
		dns: zoneWith(""), want: refused(1, "no key for signature")},
	{name: "servfail", why: "SPEC.md: SERVFAIL is later.",
		dns: zoneWith("servfail"), want: later(1, "cannot be looked up now")},
	{name: "refused", why: "REFUSED is later too: net.Resolver calls it permanent.",
		dns: zoneWith("refused"), want: later(1, "cannot be looked up now")},
	{name: "timeout", why: "And a timeout.",
		dns: zoneWith("timeout"), want: later(1, "cannot be looked up now")},
	{name: "strings", why: "A record split in strings is one record.",
		dns: zoneWith(inStrings(txt("v=DKIM1; k=rsa; ", "rsa2048")))},
	{name: "two-records", why: "RFC 6376, Section 3.6.2.2: more than one record is undefined, so refused.",
		dns: zoneWith(txt("v=DKIM1; ", "rsa2048") + "\n" + txt("v=DKIM1; ", "other2048")), want: refused(1, "several TXT records")},
	{name: "two-records-one-spf", why: "A wildcard that answers for every name: still two records.",
		dns: zoneWith(txt("v=DKIM1; ", "rsa2048") + "\n" + `TXT "v=spf1 -all"`), want: refused(1, "several TXT records")},
	{name: "wildcard-spf", why: "A wildcard's record is not a key.",
		dns: zoneWith(`TXT "v=spf1 -all"`), want: refused(1, "")},
	{name: "empty-record", why: "An empty record.",
		dns: zoneWith(`TXT ""`), want: refused(1, "it has no p=")},
	{name: "revoked", why: "An empty p= revokes the key.",
		dns: zoneWith(`TXT "v=DKIM1; p="`), want: refused(1, "the key is revoked")},
	{name: "other-key", why: "The key of somebody else.",
		dns: zoneWith(txt("v=DKIM1; ", "other2048")), want: refused(1, "signature did not verify")},
	{name: "rsa-512", why: "RFC 8301: less than 1024 bits can be factored in an afternoon.",
		sign: []sig{{s: "short", key: "rsa512"}}, dns: unusual, want: refused(1, "has 512 bits")},
	{name: "rsa-1024", why: "1024 bits are the least that passes.",
		sign: []sig{{s: "rsa1024", key: "rsa1024"}}, dns: unusual},
	{name: "v-absent", why: "v= is recommended and not required.",
		dns: zoneWith(txt("", "rsa2048"))},
	{name: "v-other", why: "Another version.",
		dns: zoneWith(txt("v=DKIM2; ", "rsa2048")), want: refused(1, "not DKIM1")},
	{name: "v-escaped", why: "A semicolon that was escaped for a zone file, once too often.",
		dns: zoneWith(txt(`v=DKIM1\; `, "rsa2048")), want: refused(1, "not DKIM1")},
	{name: "v-lower-case", why: "The version has case (RFC 6376, Section 3.6.1, has it spelt in hexadecimal).",
		dns: zoneWith(txt("v=dkim1; ", "rsa2048")), want: refused(1, "not DKIM1")},
	{name: "k-wrong", why: "An RSA key that says it is Ed25519.",
		dns: zoneWith(txt("k=ed25519; ", "rsa2048")), want: refused(1, "an Ed25519 key has 32")},
	{name: "k-unknown", why: "An algorithm that nobody knows.",
		dns: zoneWith(txt("k=dsa; ", "rsa2048")), want: refused(1, "not rsa or ed25519")},
	{name: "p-not-base64", why: "A key that is not base64.",
		dns: zoneWith(`TXT "p=!"`), want: refused(1, "not base64")},
	{name: "p-not-a-key", why: "base64 that is not a key.",
		dns: zoneWith(`TXT "p=aGVsbG8="`), want: refused(1, "not an RSA key")},
	{name: "p-spaces", why: "Spaces in p= are common where a record was pasted.",
		dns: zoneWith(strings.Replace(txt("v=DKIM1; ", "rsa2048"), "IDAQAB", "IDA QAB", 1))},
	{name: "p-twice", why: "Two p= in a record.",
		dns: zoneWith(txt("p=aGVsbG8=; ", "rsa2048")), want: refused(1, "one appears twice")},
	{name: "testing", why: "t=y: the domain is testing DKIM, so the signature counts as none (RFC 6376, Section 3.6.1).",
		dns: zoneWith(txt("v=DKIM1; t=y; ", "rsa2048")), want: refused(1, "testing mode")},
	{name: "testing-list", why: "Flags are a list.",
		dns: zoneWith(txt("v=DKIM1; t=s : y; ", "rsa2048")), want: refused(1, "testing mode")},
	{name: "testing-upper-case", why: "ABNF strings have no case: Y is y.",
		dns: zoneWith(txt("v=DKIM1; t=Y; ", "rsa2048")), want: refused(1, "testing mode")},
	{name: "testing-and-good", why: "Another signature with a proper key counts.",
		sign: []sig{{s: "testing"}, good}, dns: map[string]string{"testing._domainkey.ca.example": txt("t=y; ", "rsa2048")}, want: answered(1)},
	{name: "flags-unknown", why: "Flags that nobody knows are ignored.",
		dns: zoneWith(txt("v=DKIM1; t=z; ", "rsa2048"))},
	{name: "exact", why: "t=s: i= must be of d= itself, as it is without i=.",
		dns: zoneWith(txt("v=DKIM1; t=s; ", "rsa2048"))},
	{name: "exact-same", why: "t=s with i= of the same domain.",
		sign: []sig{{more: "i=x@ca.example; "}}, dns: zoneWith(txt("v=DKIM1; t=s; ", "rsa2048"))},
	{name: "exact-sub-domain", why: "t=s forbids i= of a sub-domain.",
		sign: []sig{{more: "i=x@a.ca.example; "}}, dns: zoneWith(txt("v=DKIM1; t=s; ", "rsa2048")), want: refused(1, "its key forbids")},
	{name: "service-email", why: "s=email is what this is.",
		dns: zoneWith(txt("v=DKIM1; s=email; ", "rsa2048"))},
	{name: "service-all", why: "s=* is everything.",
		dns: zoneWith(txt("v=DKIM1; s=*; ", "rsa2048"))},
	{name: "service-list", why: "A list with email in it.",
		dns: zoneWith(txt("v=DKIM1; s=tlsrpt:email; ", "rsa2048"))},
	{name: "service-other", why: "A key for reports signs no mail.",
		dns: zoneWith(txt("v=DKIM1; s=tlsrpt; ", "rsa2048")), want: refused(1, "does not allow email")},
	{name: "hash-sha256", why: "h= of the record allows what is used.",
		dns: zoneWith(txt("v=DKIM1; h=sha1:sha256; ", "rsa2048"))},
	{name: "hash-sha1", why: "h= of the record forbids it.",
		dns: zoneWith(txt("v=DKIM1; h=sha1; ", "rsa2048")), want: refused(1, "does not allow sha256")},
	{name: "hash-algorithm", why: "The name of a signature's algorithm where that of a hash belongs.",
		dns: zoneWith(txt("v=DKIM1; h=rsa-sha256; ", "rsa2048")), want: refused(1, "does not allow sha256")},
	{name: "notes", why: "n= is for people.",
		dns: zoneWith(txt("v=DKIM1; n=rotated=202026; ", "rsa2048"))},
	{name: "granularity", why: "g= is from DomainKeys and ignored since RFC 6376.",
		dns: zoneWith(txt("v=DKIM1; g=nobody; ", "rsa2048"))},
	{name: "name-case", why: "Selectors have no case in the DNS.",
		sign: []sig{{s: "S1"}}},
	{name: "exact-folded", why: "A fold in i= does not make it another domain.",
		sign: []sig{{more: "i=robot@ca.\r\n\texample; "}}, dns: zoneWith(txt("v=DKIM1; t=s; ", "rsa2048"))},
}
