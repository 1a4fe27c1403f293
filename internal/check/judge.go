package check

import (
	"context"
	"slices"
	"strings"

	"postseal/state"
)

// judge says what a CA would say of a received message in the form of a reply. It
// does not verify the signature, only what it claims to cover and whether its key
// can be looked up.
func (c *checker) judge(ctx context.Context, r *report, m *received) {
	c.judgeSignature(ctx, r, m)
	judgeHeader(r, m)
	judgeBody(r, m)
}

func (c *checker) judgeSignature(ctx context.Context, r *report, m *received) {
	domain := state.Domain(domainOf(m.from))
	aligned := slices.DeleteFunc(slices.Clone(m.signatures), func(s signature) bool { return state.Domain(s.domain) != domain })
	switch {
	case len(aligned) > 0:
		c.judgeAligned(ctx, r, best(aligned))
	case c.signsItself(domain):
		r.ok("it bears no DKIM-Signature of %s, but replies will: postseal signs them itself ([[dkim]])", domain)
	case len(m.signatures) > 0:
		r.fail("the signer must use d="+domain+", or let postseal sign: [[dkim]] in the configuration file",
			"it is signed by %s, not by %s, the domain of From", m.signatures[0].domain, domain)
	default:
		r.fail("make the mail server sign, or let postseal: [[dkim]] in the configuration file",
			"it bears no DKIM-Signature: the CA will refuse the reply")
	}
}

// best returns the signature that covers most of what it must.
func best(all []signature) signature {
	return slices.MinFunc(all, func(a, b signature) int { return len(a.missing()) - len(b.missing()) })
}

func (c *checker) signsItself(domain string) bool {
	return slices.ContainsFunc(c.Config.DKIM, func(k DKIMKey) bool { return state.Domain(k.Domain) == domain })
}

func (c *checker) judgeAligned(ctx context.Context, r *report, s signature) {
	if missing := s.missing(); len(missing) > 0 {
		r.fail("opendkim: SignHeaders and OversignHeaders; rspamd: sign_headers; the list is in RFC 8823, Section 3.2, item 9",
			"the h= of its DKIM-Signature by %s lacks %s", s.domain, strings.Join(missing, ", "))
	} else {
		r.ok("its DKIM-Signature is by %s and covers what it must (the signature itself is not verified)", s.domain)
	}
	if s.length {
		r.warn("remove the setting from the signer (opendkim: BodyLengths)", "its DKIM-Signature has l=, which CAs may refuse")
	}
	c.keyRecord(ctx, r, s.selector, s.domain, nil)
}

// judgeHeader looks for what is added or changed on the way.
func judgeHeader(r *report, m *received) {
	for name := range m.header {
		if strings.HasPrefix(name, "List-") {
			r.fail("a reply must not pass a mailing list (RFC 8823, Section 3.2, item 6)", "%s was added", name)
		}
	}
	if from := strings.TrimSpace(m.header.Get("From")); from != m.from {
		r.fail("whatever rewrites From must leave it alone", "its From is %q, not the address alone", from)
	}
	if !strings.HasPrefix(m.header.Get("Subject"), "Re: ACME: ") {
		r.fail("give a reply of postseal, or what --mail-to sent", "its Subject is %q, not that of a reply", m.header.Get("Subject"))
	} else if folded(m.rawHeader, "subject:") {
		r.fail("let the mail server leave header lines alone", "its Subject was folded")
	}
}

// folded reports whether a header field goes on in a second line.
func folded(header, name string) bool {
	in := false
	for line := range strings.Lines(header) {
		if in && (line[0] == ' ' || line[0] == '\t') {
			return true
		}
		in = strings.HasPrefix(strings.ToLower(line), name)
	}
	return false
}

// judgeBody looks for the block, whole and alone. CAs that follow the RFC take more
// than that; those that are known do not.
func judgeBody(r *report, m *received) {
	const hint = "replies must leave as they are: keep disclaimers, footers and content filters away from Subject \"Re: ACME:\""
	if encoding := strings.ToLower(m.header.Get("Content-Transfer-Encoding")); encoding == "quoted-printable" || encoding == "base64" {
		r.fail(hint, "its body was encoded as %s", encoding)
		return
	}
	if kind := strings.ToLower(m.header.Get("Content-Type")); kind != "" && !strings.HasPrefix(kind, "text/plain") {
		r.fail(hint, "its Content-Type is %q, not text/plain", kind)
		return
	}
	before, rest, begun := strings.Cut(m.body, beginBlock+"\n")
	digest, after, ended := strings.Cut(rest, "\n"+endBlock)
	switch {
	case !begun || !ended:
		r.fail(hint, "its body has no block %q", beginBlock)
	case strings.Contains(digest, "\n"):
		r.fail(hint, "the digest was folded: CAs want one line of %d characters", digestLength)
	case len(digest) != digestLength || strings.IndexFunc(digest, notBase64URL) >= 0:
		r.fail(hint, "the digest is %q, not %d characters of base64url", digest, digestLength)
	case strings.TrimSpace(before) != "":
		r.fail(hint, "text was put above the block: %q", firstLine(before))
	case strings.TrimSpace(after) != "":
		r.fail(hint, "text was appended below the block: %q", firstLine(after))
	default:
		r.ok("its body is one line of %d characters between its markers, and nothing else", digestLength)
	}
}

func notBase64URL(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
