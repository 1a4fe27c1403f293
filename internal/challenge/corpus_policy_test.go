package challenge

import "postseal/state"

const border = "mx.example.test"

// behind is an order for a CA whose mail a border host checks.
func behind(change ...func(*state.Policy)) []*state.Pending {
	return policy(func(p *state.Policy) {
		p.TrustedAuthservID = border
		for _, c := range change {
			c(p)
		}
	})
}

func strictly(p *state.Policy) { p.DKIM = "strict" }

// footer changes the body as a scanner behind the border does.
func footer(d *draft) { d.body += "Scanned.\r\n" }

// results puts an Authentication-Results on top of a message with a changed body.
func results(value string) []edit {
	return []edit{footer, top("Authentication-Results: " + value)}
}

const changed = "body hash did not verify"

// policyCases are the policies of SPEC.md, Configuration.
var policyCases = []corpusCase{
	{name: "unsigned-allow", why: "Policy unsigned=allow, for a CA inside the house.",
		sign: unsigned, pending: policy(func(p *state.Policy) { p.Unsigned = "allow" }), want: want{verdict: Answered, lookups: -1}},
	{name: "unsigned-refuse", why: "The default, said aloud.",
		sign: unsigned, pending: policy(func(p *state.Policy) { p.Unsigned = "refuse" }), want: refused(0, "not signed")},
	{name: "unsigned-allow-broken", why: "A signature that fails is as good as none (RFC 6376, Section 6.1), and none is allowed.",
		sign: []sig{{bad: true}}, pending: policy(func(p *state.Policy) { p.Unsigned = "allow" })},
	{name: "unsigned-allow-servfail", why: "Where none is needed, a DNS that fails does not matter.",
		dns: zoneWith("servfail"), pending: policy(func(p *state.Policy) { p.Unsigned = "allow" })},
	{name: "unsigned-allow-bare", why: "What such CAs send: From, To, Subject and no more. Auto-Submitted has a policy of its own.",
		edit: []edit{del("Date"), del("Message-ID"), del("Auto-Submitted"), del("MIME-Version"), del("Content-Type")}, sign: unsigned,
		pending: policy(func(p *state.Policy) { p.Unsigned, p.AutoSubmitted = "allow", "ignore" }),
		want:    want{verdict: Answered, lookups: -1, msgID: "-"}},
	{name: "unsigned-allow-not-auto", why: "unsigned=allow says nothing of Auto-Submitted.",
		edit: []edit{del("Auto-Submitted")}, sign: unsigned, pending: policy(func(p *state.Policy) { p.Unsigned = "allow" }),
		want: refused(0, "no Auto-Submitted")},
	{name: "unsigned-allow-old", why: "Nor of Date.",
		edit: dated(-24 * 3600e9), sign: unsigned, pending: policy(func(p *state.Policy) { p.Unsigned = "allow" }),
		want: refused(0, "before the order of")},
	{name: "unsigned-allow-reply-to", why: "Nor of where the reply may go.",
		edit: []edit{set("Reply-To", "eve@evil.example")}, sign: unsigned, pending: policy(func(p *state.Policy) { p.Unsigned = "allow" }),
		want: refused(0, "outside the domain of From")},
	{name: "unsigned-allow-two-from", why: "Nor of what stands twice.",
		edit: []edit{add("From: eve@evil.example")}, sign: unsigned, pending: policy(func(p *state.Policy) { p.Unsigned = "allow" }),
		want: refused(0, "2 From fields")},
	{name: "unsigned-allow-other-from", why: "Nor of who it is from.",
		edit: from("eve@evil.example"), sign: unsigned, pending: policy(func(p *state.Policy) { p.Unsigned = "allow" }),
		want: refused(0, "From is eve@evil.example")},
	{name: "policy-unknown", why: "A policy of a later version is read as the default: the safe side.",
		sign: unsigned, pending: policy(func(p *state.Policy) { p.Unsigned, p.DKIM = "perhaps", "perhaps" }), want: refused(0, "not signed")},

	{name: "authres-trusted", why: "The admin's border host has verified the signature before a scanner changed the body (RFC 8601).",
		after: results(border + "; dkim=pass header.d=ca.example"), pending: behind(), want: answered(-1)},
	{name: "authres-not-configured", why: "Without the policy any Authentication-Results is a claim of a stranger.",
		after: results(border + "; dkim=pass header.d=ca.example"), want: refused(1, changed)},
	{name: "authres-other-host", why: "A host that is not trusted.",
		after: results("mx.evil.example; dkim=pass header.d=ca.example"), pending: behind(), want: refused(1, changed)},
	{name: "authres-host-prefix", why: "A host whose name starts like the trusted one.",
		after: results(border + ".evil.example; dkim=pass header.d=ca.example"), pending: behind(), want: refused(1, changed)},
	{name: "authres-host-case", why: "Host names have no case.",
		after: results("MX.Example.Test; dkim=pass header.d=ca.example"), pending: behind(), want: answered(-1)},
	{name: "authres-version", why: "RFC 8601, Section 2.2: a version may follow the host.",
		after: results(border + " 1; dkim=pass header.d=ca.example"), pending: behind(), want: answered(-1)},
	{name: "authres-version-2", why: "One that nobody knows makes the field unreadable.",
		after: results(border + " 2; dkim=pass header.d=ca.example"), pending: behind(), want: refused(1, changed)},
	{name: "authres-fail", why: "The border host says that it failed.",
		after: results(border + "; dkim=fail header.d=ca.example"), pending: behind(), want: refused(1, changed)},
	{name: "authres-spf-only", why: "SPF passes for the envelope, which says nothing of the header.",
		after: results(border + "; spf=pass smtp.mailfrom=bounce@ca.example"), pending: behind(), want: refused(1, changed)},
	{name: "authres-other-domain", why: "It passed for somebody else's domain.",
		after: results(border + "; dkim=pass header.d=evil.example"), pending: behind(), want: refused(1, changed)},
	{name: "authres-no-domain", why: "It passed, for whom is not said.",
		after: results(border + "; dkim=pass"), pending: behind(), want: refused(1, changed)},
	{name: "authres-several", why: "Several results in a field, folded, as hosts write them.",
		after:   results(border + ";\r\n\tspf=pass smtp.mailfrom=bounce@ca.example;\r\n\tdkim=fail header.d=lists.example;\r\n\tdkim=pass header.d=ca.example header.i=@ca.example header.s=s1 header.b=abcdefgh"),
		pending: behind(), want: answered(-1)},
	{name: "authres-opendkim", why: "What OpenDKIM writes: a comment with a semicolon in it.",
		after:   results(border + ";\r\n\tdkim=pass (2048-bit key; unprotected) header.d=ca.example header.i=@ca.example header.b=\"abcdefgh\""),
		pending: behind(), want: answered(-1)},
	{name: "authres-quoted-host", why: "The host may be a quoted string (RFC 8601, Section 2.2); a border host that takes out its own name may not know it.",
		after: results(`(x) "` + border + `" (y); dkim=pass header.d=ca.example`), pending: behind(), want: refused(1, changed)},
	{name: "authres-comment-first", why: "Comments may stand around the host; the same.",
		after: results("(x) " + border + " (y); dkim=pass header.d=ca.example"), pending: behind(), want: refused(1, changed)},
	{name: "authres-comment-injection", why: "Words of a stranger that the border host repeats in a comment are not a result.",
		after: results(border + "; dkim=fail (bad; dkim=pass header.d=ca.example) header.d=evil.example"), pending: behind(), want: refused(1, changed)},
	{name: "authres-quoted-injection", why: "Nor in a quoted string: the local part of an envelope sender is a stranger's to choose.",
		after:   results(border + `; spf=pass smtp.mailfrom="a; dkim=pass header.d=ca.example "@evil.example`),
		pending: behind(), want: refused(1, changed)},
	{name: "authres-reason-injection", why: "Nor in a reason, with an escaped quote.",
		after:   results(border + `; dkim=fail reason="a\"; dkim=pass header.d=ca.example " header.d=evil.example`),
		pending: behind(), want: refused(1, changed)},
	{name: "authres-second", why: "Another host's field on top does not hide the trusted one.",
		after:   append(results(border+"; dkim=pass header.d=ca.example"), top("Authentication-Results: inner.example.test; none")),
		pending: behind(), want: answered(-1)},
	{name: "authres-malformed-first", why: "Nor does a malformed one.",
		after:   append(results(border+"; dkim=pass header.d=ca.example"), top("Authentication-Results: "+border+"; ???")),
		pending: behind(), want: answered(-1)},
	{name: "authres-no-signature", why: "A pass for a signature that is not there: what it covered is not known.",
		sign: unsigned, after: results(border + "; dkim=pass header.d=ca.example"), pending: behind(), want: refused(0, "not signed")},
	{name: "authres-uncovered", why: "The border host verified a signature that does not cover To.",
		sign: []sig{{h: without("to")}}, after: results(border + "; dkim=pass header.d=ca.example"), pending: behind(), want: refused(0, "does not cover To")},
	{name: "authres-one-of-two-uncovered", why: "Of two signatures it is not known which one passed, so both must cover what counts.",
		sign: []sig{{h: without("to")}, good}, after: results(border + "; dkim=pass header.d=ca.example"), pending: behind(), want: refused(1, "does not cover To")},
	{name: "authres-l", why: "A signature over part of the body, whoever verified it.",
		sign: []sig{{more: "l=10; "}}, after: results(border + "; dkim=pass header.d=ca.example"), pending: behind(), want: refused(0, "covers only part of the body")},
	{name: "authres-strict", why: "The strict policy holds here too.",
		after: results(border + "; dkim=pass header.d=ca.example"), pending: behind(strictly), want: answered(-1)},
	{name: "authres-strict-uncovered", why: "With the whole list.",
		sign: []sig{{h: present}}, after: results(border + "; dkim=pass header.d=ca.example"), pending: behind(strictly), want: refused(0, "does not cover Sender")},
	{name: "authres-reply-to-uncovered", why: "What no signature covers is not trusted here either.",
		edit: []edit{set("Reply-To", "r@ca.example")}, sign: []sig{{h: without("reply-to")}},
		after: results(border + "; dkim=pass header.d=ca.example"), pending: behind(), want: refused(0, "does not cover Reply-To")},
	{name: "authres-expired", why: "A signature that has expired since: the border host looked when it came, and this mail may be an old one.",
		sign: []sig{{more: "x=" + past + "; "}}, after: results(border + "; dkim=pass header.d=ca.example"), pending: behind(), want: refused(0, "has expired")},
	{name: "authres-not-needed", why: "Where the signature still verifies, the field changes nothing.",
		after: []edit{top("Authentication-Results: " + border + "; dkim=fail header.d=ca.example")}, pending: behind()},
	{name: "authres-not-pass", why: "Only pass is a pass (RFC 8601, Section 2.7.1), whatever else the border host found.",
		after: results(border + "; dkim=none header.d=ca.example; dkim=policy header.d=ca.example; dkim=neutral header.d=ca.example;" +
			"\r\n\tdkim=temperror header.d=ca.example; dkim=permerror header.d=ca.example; dkim=passed header.d=ca.example"),
		pending: behind(), want: refused(1, changed)},
	{name: "authres-comment-after", why: "A comment between the host and its results; a border host that takes out its own name may not know it.",
		after: results(border + " (y); dkim=pass header.d=ca.example"), pending: behind(), want: refused(1, changed)},
	{name: "authres-one-of-two-no-auto-submitted", why: "A field counts only if both of two signatures cover it, in whatever order they come.",
		sign: []sig{good, {h: without("auto-submitted")}}, after: results(border + "; dkim=pass header.d=ca.example"), pending: behind(),
		want: refused(0, "does not cover Auto-Submitted")},
	{name: "authres-other-of-two-no-auto-submitted", why: "The other way round.",
		sign: []sig{{h: without("auto-submitted")}, good}, after: results(border + "; dkim=pass header.d=ca.example"), pending: behind(),
		want: refused(0, "does not cover Auto-Submitted")},
}
