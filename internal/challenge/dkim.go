package challenge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"postseal/internal/smime"
	"postseal/state"
)

// Bounds for hostile signatures.
const (
	maxSignatures = 5       // verified in one message, each with a look-up
	maxHashed     = 2 << 20 // bytes of body that they may hash together
	maxSigned     = 200     // names in h=
)

// strictList is the least that h= must name under the strict policy (RFC 8823, Section 3.1,
// item 6). It includes absent fields, so that nobody can add one.
var strictList = []string{
	"from", "sender", "reply-to", "to", "cc", "subject", "date", "in-reply-to", "references",
	"message-id", "auto-submitted", "content-type", "content-transfer-encoding",
}

// signature is a DKIM-Signature field, parsed as far as the choice among several needs.
type signature struct {
	raw    string
	domain string   // d=, for comparison
	shown  string   // d=, as it arrived, for the log
	names  []string // h=, lower case
	made   time.Time
	ends   time.Time
	cut    bool   // l=: the signature does not cover the whole body
	agent  string // domain of i=, for comparison
}

// readSignature reads the tags that the policy uses; the library reads the rest.
func readSignature(f field) (*signature, error) {
	tags, err := Tags(f.value)
	if err != nil {
		return nil, err
	}
	s := &signature{raw: f.raw, shown: noSpace(tags["d"])}
	if s.domain = state.Domain(s.shown); s.domain == "" {
		return nil, errors.New("no domain (d=)")
	}
	for _, name := range strings.Split(tags["h"], ":") {
		s.names = append(s.names, strings.ToLower(noSpace(name)))
	}
	if len(s.names) > maxSigned {
		return nil, fmt.Errorf("h= names more than %d fields", maxSigned)
	}
	_, s.cut = tags["l"]
	s.agent = s.domain
	if i, ok := tags["i"]; ok {
		s.agent = domainOf(noSpace(i))
	}
	if s.made, err = unixTime(tags["t"]); err != nil {
		return nil, err
	}
	s.ends, err = unixTime(tags["x"])
	return s, err
}

func unixTime(tag string) (time.Time, error) {
	if tag == "" {
		return time.Time{}, nil
	}
	sec, err := strconv.ParseInt(noSpace(tag), 10, 64)
	if err != nil || sec < 0 || sec > 1<<40 {
		return time.Time{}, errors.New("it has an invalid time")
	}
	return time.Unix(sec, 0), nil
}

func noSpace(s string) string { return strings.Join(strings.Fields(s), "") }

// dkim verifies the signatures that could count, at most maxSignatures, until one does. RFC
// 6376, Section 6.1 lets a verifier choose the order: this one starts at the bottom, with the
// oldest, since junk is added on top.
func (x *exam) dkim() (coverage, error) {
	if len(x.signatures) == 0 {
		return coverage{}, x.unsigned()
	}
	var first, later error
	most := min(maxSignatures, maxHashed/(1+len(x.m.body)))
	for _, s := range slices.Backward(x.signatures[max(0, len(x.signatures)-most):]) {
		cover, err := x.verify(s)
		if err == nil {
			return cover, nil
		}
		if errors.As(err, new(*postponed)) {
			later = err
		}
		if first == nil {
			first = err
		}
	}
	if later != nil {
		return coverage{}, later
	}
	return coverage{}, first
}

// aligned returns the signatures by the domain of From, and the domains of all others.
func (x *exam) aligned() (signatures []*signature, others []string) {
	from := domainOf(x.from)
	for _, f := range x.m.fields {
		if f.name != "dkim-signature" {
			continue
		}
		s, err := readSignature(f)
		switch {
		case err != nil:
			others = append(others, "a malformed one: "+err.Error())
		case s.domain == from, x.policy().DKIM == "relaxed-parent" && isParent(s.domain, from):
			signatures = append(signatures, s)
		default:
			others = append(others, "one by "+printable(s.shown))
		}
	}
	return signatures, others
}

// isParent reports whether a domain is above another and not a top-level domain. A registry's
// co.uk passes, but only the registry can publish a key there.
func isParent(parent, domain string) bool {
	return within(domain, parent) && strings.Contains(parent, ".")
}

func (x *exam) unsigned() error {
	switch {
	case len(x.others) == 0 && smime.Is(x.m.value("content-type")):
		return refuse("there is no DKIM signature")
	case len(x.others) == 0:
		return refuse("the message is not signed")
	}
	return refuse("no DKIM signature by %s, the domain of From (found %s)", domainOf(x.from), x.others[0])
}

// verify verifies one signature and applies the policy to it.
func (x *exam) verify(s *signature) (coverage, error) {
	cover := coverage{by: "DKIM signature by " + printable(s.shown), names: s.names}
	if err := x.couldCount(s, cover); err != nil {
		return coverage{}, err
	}
	key := keyLookup{ctx: x.ctx, lookup: x.r.LookupTXT}
	err := verifyOne(s, x.m, key.txt)
	switch {
	case dkim.IsTempFail(err):
		return coverage{}, postpone("the key of the %s cannot be looked up now: %v", cover.by, key.err)
	case key.invalid != nil:
		return coverage{}, refuse("the key of the %s cannot be used: %v", cover.by, key.invalid)
	case err != nil:
		return coverage{}, refuse("%s: %s", cover.by, key.explain(err))
	case key.Testing:
		return coverage{}, refuse("%s uses a key in testing mode (t=y), which counts as unsigned", cover.by)
	case key.Exact && s.agent != s.domain:
		return coverage{}, refuse("%s is on behalf of a sub-domain, which its key forbids (t=s)", cover.by)
	}
	return cover, nil
}

// couldCount makes the checks that need no key. A signature that fails them costs no look-up
// and is not worth a second try.
func (x *exam) couldCount(s *signature, cover coverage) error {
	if err := s.checkTimes(x.r.now()); err != nil {
		return refuse("%s %v", cover.by, err)
	}
	if s.cut {
		return refuse("%s covers only part of the body (l=)", cover.by)
	}
	if x.policy().DKIM == "strict" {
		return cover.need(strictList...)
	}
	return cover.need(relied...)
}

func (s *signature) checkTimes(now time.Time) error {
	switch {
	case s.made.After(now.Add(grace)):
		return errors.New("is dated in the future")
	case !s.ends.IsZero() && s.ends.Before(now):
		return errors.New("has expired")
	case !s.ends.IsZero() && s.ends.Before(s.made):
		return errors.New("expires before it was made")
	}
	return nil
}

// verifyOne has the library verify one signature. It puts it on top and sets the bound to
// one, so that the library looks at no other, and signatures that cover signatures still find
// them.
func verifyOne(s *signature, m *message, lookup func(string) ([]string, error)) error {
	var header bytes.Buffer
	header.WriteString(s.raw)
	for _, f := range m.fields {
		if f.raw != s.raw {
			header.WriteString(f.raw)
		}
	}
	header.WriteString("\r\n")
	results, err := dkim.VerifyWithOptions(io.MultiReader(&header, bytes.NewReader(m.body)),
		&dkim.VerifyOptions{LookupTXT: lookup, MaxVerifications: 1})
	if len(results) == 1 {
		if results[0].Err == nil && !slices.Equal(lower(results[0].HeaderKeys), s.names) {
			return errors.New("h= is ambiguous") // the library reads it otherwise than we do
		}
		return results[0].Err
	}
	if err == nil {
		err = errors.New("no result")
	}
	return err
}

func lower(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = strings.ToLower(name)
	}
	return out
}

// keyLookup gives the library the key record if it holds a valid key, and keeps the errors
// that the library hides.
type keyLookup struct {
	ctx     context.Context
	lookup  func(ctx context.Context, name string) ([]string, error)
	err     error // of the look-up
	invalid error // why the record is not a key
	PublicKey
}

func (k *keyLookup) txt(name string) ([]string, error) {
	records, err := k.lookup(k.ctx, name)
	if k.err = err; err != nil {
		return nil, err
	}
	key, err := FindKey(records)
	if err != nil {
		k.invalid = err
		return nil, nil
	}
	k.PublicKey = *key
	return records, nil
}

// explain returns the library's error without its prefix.
func (k *keyLookup) explain(err error) string {
	return printable(strings.TrimPrefix(err.Error(), "dkim: "))
}
