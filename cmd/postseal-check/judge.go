package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"regexp"
	"slices"
	"strings"

	"github.com/emersion/go-message/textproto"

	"postseal/internal/challenge"
	"postseal/internal/check"
	"postseal/state"
)

// digestLength is the length of SHA-256 in base64url without padding. CAs look for one line
// of that length.
const digestLength = 43

var base64URL = regexp.MustCompile(`^[A-Za-z0-9_-]*$`)

// signature is the part of a DKIM-Signature that matters (RFC 6376, Section 3.5).
type signature struct {
	domain, selector string
	missing          []string // fields that it fails to cover
	length           bool     // l= lets others append to the body
}

// received is a message that arrived.
type received struct {
	from       string
	signatures []signature
	header     textproto.Header
	body       string // LF
}

// parseReceived reads a message from a mailbox, with or without an mbox line above it.
func parseReceived(data []byte) (*received, error) {
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	if bytes.HasPrefix(data, []byte("From ")) {
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	in := bufio.NewReader(bytes.NewReader(data))
	header, err := textproto.ReadHeader(in)
	if err != nil {
		return nil, fmt.Errorf("it is not a mail message: %w", err)
	}
	body, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	from, err := mail.ParseAddress(header.Get("From"))
	if err != nil {
		return nil, errors.New("its From is not a single address")
	}
	m := &received{from: from.Address, header: header, body: string(body)}
	for fields := header.FieldsByKey("Dkim-Signature"); fields.Next(); {
		if tags, err := challenge.Tags(fields.Value()); err == nil {
			m.signatures = append(m.signatures, readSignature(tags))
		}
	}
	return m, nil
}

func readSignature(tags map[string]string) signature {
	noSpace := func(s string) string { return strings.Join(strings.Fields(s), "") }
	s := signature{domain: noSpace(tags["d"]), selector: noSpace(tags["s"])}
	_, s.length = tags["l"]
	covers := strings.Split(strings.ToLower(noSpace(tags["h"])), ":")
	for _, name := range challenge.MustSign {
		if !slices.Contains(covers, strings.ToLower(name)) {
			s.missing = append(s.missing, name)
		}
	}
	return s
}

func domainOf(addr string) string { return addr[strings.LastIndexByte(addr, '@')+1:] }

// judge says what a CA would say about a received message in the form of a reply. It does not
// verify the signature, only what it claims to cover and whether the DNS has its key.
func (c *checker) judge(ctx context.Context, r *report, what string, data []byte) {
	m, err := parseReceived(data)
	if err != nil {
		r.fail("give a file with one message, its header included", "%s: %v", what, err)
		return
	}
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

// best returns the signature that covers most of the required fields.
func best(all []signature) signature {
	return slices.MinFunc(all, func(a, b signature) int { return len(a.missing) - len(b.missing) })
}

func (c *checker) signsItself(domain string) bool {
	return slices.ContainsFunc(c.Config.DKIM, func(k check.DKIMKey) bool { return state.Domain(k.Domain) == domain })
}

func (c *checker) judgeAligned(ctx context.Context, r *report, s signature) {
	if len(s.missing) > 0 {
		r.fail("opendkim: SignHeaders and OversignHeaders; rspamd: sign_headers; the list is in RFC 8823, Section 3.2, item 9",
			"the h= of its DKIM-Signature by %s lacks %s", s.domain, strings.Join(s.missing, ", "))
	} else {
		r.ok("its DKIM-Signature is by %s and covers what it must (the signature itself is not verified)", s.domain)
	}
	if s.length {
		r.warn("remove the setting from the signer (opendkim: BodyLengths)", "its DKIM-Signature has l=, which CAs may refuse")
	}
	c.keyRecord(ctx, r, s.selector, s.domain, nil)
}

// judgeHeader looks for additions and changes on the way.
func judgeHeader(r *report, m *received) {
	for fields := m.header.Fields(); fields.Next(); {
		if strings.HasPrefix(fields.Key(), "List-") {
			r.fail("a reply must not pass a mailing list (RFC 8823, Section 3.2, item 6)", "%s was added", fields.Key())
		}
	}
	if from := strings.TrimSpace(m.header.Get("From")); from != m.from {
		r.fail("whatever rewrites From must leave it alone", "its From is %q, not the address alone", from)
	}
	if !strings.HasPrefix(m.header.Get("Subject"), "Re: ACME: ") {
		r.fail("give a reply of postseal, or what --mail-to sent", "its Subject is %q, not that of a reply", m.header.Get("Subject"))
	} else if raw, _ := m.header.Raw("Subject"); bytes.Count(raw, []byte("\n")) > 1 {
		r.fail("let the mail server leave header lines alone", "its Subject was folded")
	}
}

// judgeBody looks for the block, whole and alone. CAs that follow the RFC accept more than
// that; the known ones do not.
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
	before, rest, begun := strings.Cut(m.body, challenge.BeginBlock+"\n")
	digest, after, ended := strings.Cut(rest, "\n"+challenge.EndBlock)
	switch {
	case !begun || !ended:
		r.fail(hint, "its body has no block %q", challenge.BeginBlock)
	case strings.Contains(digest, "\n"):
		r.fail(hint, "the digest was folded: CAs want one line of %d characters", digestLength)
	case len(digest) != digestLength || !base64URL.MatchString(digest):
		r.fail(hint, "the digest is %q, not %d characters of base64url", digest, digestLength)
	case strings.TrimSpace(before) != "":
		r.fail(hint, "text was put above the block: %q", firstLine(before))
	case strings.TrimSpace(after) != "":
		r.fail(hint, "text was appended below the block: %q", firstLine(after))
	default:
		r.ok("its body is one line of %d characters between its markers, and nothing else", digestLength)
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
