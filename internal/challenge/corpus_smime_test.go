package challenge

import (
	"crypto/x509"

	"postseal/state"
)

// withSMIME signs the message of a case with S/MIME instead of DKIM. It needs no look-up of a
// key.
func withSMIME(name, why string, s smimeSig, change ...func(*corpusCase)) corpusCase {
	c := corpusCase{name: "smime-" + name, why: why, sign: unsigned, smime: &s, want: answered(-1)}
	for _, f := range change {
		f(&c)
	}
	return c
}

func refusedFor(reason string) func(*corpusCase) {
	return func(c *corpusCase) { c.want = refused(0, reason) }
}

func inside(edits ...edit) func(*corpusCase) { return func(c *corpusCase) { c.edit = edits } }

// smimeCases are RFC 8823, Section 3.1, items 6 and 7. Package smime tests the form of a
// signature; these test its content.
var smimeCases = []corpusCase{
	withSMIME("clear", "multipart/signed, the header protected with hp=clear (RFC 9788).", smimeSig{}),
	withSMIME("clear-rfc822", "multipart/signed, the header protected by message/rfc822 (RFC 8551, Section 3.1).", smimeSig{rfc822: true}),
	withSMIME("opaque", "application/pkcs7-mime, hp=clear.", smimeSig{opaque: true}),
	withSMIME("opaque-rfc822", "application/pkcs7-mime with message/rfc822.", smimeSig{opaque: true, rfc822: true}),
	withSMIME("lf", "LF line ends: the signature is over CRLF.", smimeSig{}, func(c *corpusCase) { c.bytes = toLF }),
	withSMIME("dkim-strict", "The DKIM policy is about DKIM.", smimeSig{}, func(c *corpusCase) { c.pending = policyFrom(caFrom, "strict") }),
	withSMIME("mailbox-case", "The signer's address in other case.", smimeSig{mailbox: "ACME-challenge+1@CA.example"}),
	withSMIME("unprotected", "Item 7: header protection MUST be used. A signature over the body says nothing of the Subject.",
		smimeSig{unprotected: true}, refusedFor("header")),
	withSMIME("other-signer", "Item 6: the signer's rfc822Name MUST be From. A valid certificate of somebody else, anybody can have.",
		smimeSig{mailbox: "eve@evil.example"}, refusedFor("the S/MIME signer is not acme-challenge+1@ca.example")),
	withSMIME("other-signer-same-domain", "Nor is another mailbox of the CA's domain.",
		smimeSig{mailbox: "support@ca.example"}, refusedFor("the S/MIME signer is not")),
	withSMIME("from-differs", "Eve signs her own mail, and the header outside says it is the CA's.",
		smimeSig{mailbox: "eve@evil.example", outside: from(caFrom)}, inside(set("From", "eve@evil.example")), refusedFor("the S/MIME signer is not")),
	withSMIME("from-differs-signer-ca", "The CA has signed with another From.",
		smimeSig{outside: from(caFrom)}, inside(set("From", "support@ca.example")), refusedFor("the signed From differs")),
	withSMIME("to-differs", "The CA's challenge for mallory, with alice in To outside.",
		smimeSig{outside: to(alice)}, inside(set("To", "mallory@evil.example")), refusedFor("the signed To differs")),
	withSMIME("subject-differs", "Another token outside.",
		smimeSig{outside: subject("ACME: AAAAAAAAAAAAAAAAAAAAAA")}, refusedFor("the signed Subject differs")),
	withSMIME("subject-ordinary-inside", "Any signed mail of the CA, with a challenge's Subject outside.",
		smimeSig{outside: subject("ACME: " + part1)}, inside(set("Subject", "News")), refusedFor("the signed Subject differs")),
	withSMIME("subject-folded", "Folding may change on the way.",
		smimeSig{outside: subject("ACME:\r\n " + part1)}),
	withSMIME("subject-added", "Two Subjects outside.",
		smimeSig{outside: []edit{top("Subject: ACME: " + part1)}}, refusedFor("2 Subject fields")),
	withSMIME("reply-to", "A signed Reply-To in the CA's domain.",
		smimeSig{}, inside(set("Reply-To", "r@ca.example")), func(c *corpusCase) { c.want.to = "r@ca.example" }),
	withSMIME("reply-to-outside-only", "A Reply-To that is not in the signed part could be anybody's, the CA's domain or not.",
		smimeSig{outside: []edit{set("Reply-To", "r@ca.example")}}, refusedFor("does not cover Reply-To")),
	withSMIME("reply-to-inside-only", "A Reply-To in the signed part alone: people would reply to somebody else.",
		smimeSig{outside: []edit{del("Reply-To")}}, inside(set("Reply-To", "r@ca.example")), refusedFor("the signed Reply-To differs")),
	withSMIME("reply-to-foreign", "Rule 6 holds for S/MIME as well.",
		smimeSig{}, inside(set("Reply-To", "eve@evil.example")), refusedFor("outside the domain of From")),
	withSMIME("auto-submitted-outside-only", "Auto-Submitted that is not signed counts as absent.",
		smimeSig{outside: auto("auto-generated")}, inside(del("Auto-Submitted")), refusedFor("does not cover Auto-Submitted")),
	withSMIME("auto-submitted-differs", "What counts is what was signed.",
		smimeSig{outside: auto("auto-generated")}, inside(set("Auto-Submitted", "auto-replied")), refusedFor("not auto-generated")),
	withSMIME("auto-submitted-inside-only", "A relay that drops it outside changes nothing.",
		smimeSig{outside: []edit{del("Auto-Submitted")}}),
	withSMIME("date-old", "The challenge of an earlier order.",
		smimeSig{}, inside(dated(-24*3600e9)...), refusedFor("before the order of")),
	withSMIME("date-old-inside", "The same with a new Date outside: what counts is what was signed.",
		smimeSig{outside: dated(1e9)}, inside(dated(-24*3600e9)...), refusedFor("before the order of")),
	withSMIME("date-old-outside", "An old Date outside is a relay's.",
		smimeSig{outside: dated(-24 * 3600e9)}),
	withSMIME("date-outside-only", "A mail server adds a Date where none is outside; unsigned, it counts as absent.",
		smimeSig{outside: dated(-24 * 3600e9)}, inside(del("Date"))),
	withSMIME("message-id-outside", "The Message-ID of the mail as it came is what a reply is to.",
		smimeSig{outside: []edit{set("Message-ID", "<outer@ca.example>")}}, func(c *corpusCase) { c.want.msgID = "<outer@ca.example>" }),
	withSMIME("tampered", "The signed part was changed.", smimeSig{tamper: true}, refusedFor("")),
	withSMIME("stranger", "A certificate under a root that nobody trusts.", smimeSig{stranger: true}, refusedFor("certificate")),
	withSMIME("expired", "A certificate that has expired.", smimeSig{change: expired}, refusedFor("expired")),
	withSMIME("not-yet", "A certificate of tomorrow.", smimeSig{change: notYet}, refusedFor("")),
	withSMIME("server-certificate", "A certificate for a web server is not one for mail.", smimeSig{change: serverAuth}, refusedFor("emailProtection")),
	withSMIME("no-mailbox", "A certificate that names nobody's mailbox.",
		smimeSig{change: func(t *x509.Certificate) { t.EmailAddresses, t.DNSNames = nil, []string{"ca.example"} }}, refusedFor("")),
	withSMIME("enveloped", "Encrypted mail is not signed mail.", smimeSig{opaque: true, outside: nil}, refusedFor("not signed"),
		func(c *corpusCase) {
			c.after = []edit{set("Content-Type", "application/pkcs7-mime; smime-type=enveloped-data")}
		}),
	withSMIME("bad-dkim-good", "One way that succeeds is enough: a scanner broke the S/MIME signature before the DKIM one was made.",
		smimeSig{tamper: true}, func(c *corpusCase) { c.sign, c.want = nil, answered(0) }),
	withSMIME("good-dkim-bad", "And the other way round: DKIM is not even looked at.",
		smimeSig{}, func(c *corpusCase) { c.sign = []sig{{bad: true}} }),
	withSMIME("bad-dkim-servfail", "What the DNS cannot say now may yet make it good.",
		smimeSig{tamper: true}, func(c *corpusCase) {
			c.sign, c.dns, c.want = nil, zoneWith("servfail"), later(1, "cannot be looked up now")
		}),
	withSMIME("bad-unsigned-allowed", "Policy unsigned=allow: a signature that fails is as good as none.",
		smimeSig{tamper: true}, func(c *corpusCase) { c.pending = policy(func(p *state.Policy) { p.Unsigned = "allow" }) }),
}
