package challenge

import (
	"errors"
	"slices"
	"strings"

	"postseal/internal/smime"
)

// coverage is what a signature vouches for: nothing, until it is verified.
type coverage struct {
	by    string            // the signer, in words
	names []string          // header fields, lower case
	inner map[string]string // values of fields that may differ outside
	all   bool              // an unsigned message of a CA that may send such messages
}

func (c coverage) has(name string) bool { return c.all || slices.Contains(c.names, name) }

func (c coverage) need(names ...string) error {
	for _, name := range names {
		if !c.has(name) && c.by == "" {
			return refuse("no signature covers %s", title(name))
		}
		if !c.has(name) {
			return refuse("%s does not cover %s", c.by, title(name))
		}
	}
	return nil
}

// relied are the fields that decide which reply is sent, to whom and for whom.
var relied = []string{"from", "to", "subject"}

// checkGenuine enforces RFC 8823, Section 3.1, item 6: the sender named in From has signed
// the message with S/MIME or DKIM. The first way that succeeds is enough; of the others only
// the reasons are kept.
func (x *exam) checkGenuine() error {
	switch {
	case x.from == "":
		return &unmade{"From is not known, so nobody's signature could count"}
	case x.m.tooLarge():
		return &unmade{"the message is too large to be verified"}
	}
	x.signatures, x.others = x.aligned()
	var reasons []string
	var later error
	for _, way := range []func() (coverage, error){x.authenticated, x.smime, x.dkim} {
		cover, err := way()
		if err == nil {
			x.cover, x.detail = cover, cover.by
			return nil
		}
		if errors.As(err, new(*postponed)) {
			later = err
		}
		if msg := err.Error(); msg != "" {
			reasons = append(reasons, msg)
		}
	}
	if x.policy().Unsigned == "allow" {
		x.cover = coverage{by: "the policy of this CA", all: true}
		x.detail = "unsigned, which the policy of this CA allows"
		return nil
	}
	if later != nil {
		return later
	}
	return refuse("%s", strings.Join(reasons, "; "))
}

// errNotTried is the silent error of a way that the message does not offer.
var errNotTried = &refusal{}

// smime verifies an S/MIME signature with header protection. The fields of the signed part
// count, and they must equal those that people see.
func (x *exam) smime() (coverage, error) {
	if !smime.Is(x.m.value("content-type")) {
		return coverage{}, errNotTried
	}
	roots, err := x.r.roots()
	if err != nil {
		return coverage{}, refuse("S/MIME: %v", err)
	}
	signed, err := smime.Verify(slices.Concat(x.m.header, x.m.body), smime.Options{Roots: roots, Now: x.r.now()})
	if err != nil {
		return coverage{}, refuse("%v", err)
	}
	if !slices.ContainsFunc(signed.Mailboxes, func(a string) bool { return sameAddress(a, x.from) }) {
		return coverage{}, refuse("the S/MIME signer is not %s", x.from)
	}
	cover := coverage{by: "S/MIME signature by " + x.from, inner: map[string]string{}}
	for _, f := range signed.Header {
		name := strings.ToLower(f.Name)
		switch same := unfold(f.Value) == unfold(x.m.value(name)); {
		case slices.Contains(unseen, name):
			cover.inner[name] = unfold(f.Value)
			cover.names = append(cover.names, name)
		case same:
			cover.names = append(cover.names, name)
		case slices.Contains(relied, name) || name == "reply-to":
			return coverage{}, refuse("the signed %s differs from the one outside", title(name))
		}
	}
	return cover, cover.need(relied...)
}

// unseen are fields that decide something but that people do not see when they reply. They
// may differ outside, since relays add and drop them.
var unseen = []string{"date", "auto-submitted"}

// value returns the signed value of a field if it is known, and otherwise the message's own.
func (x *exam) value(name string) string {
	if inner, ok := x.cover.inner[name]; ok {
		return inner
	}
	return x.m.value(name)
}

// unfold removes differences that folding may have made.
func unfold(value string) string { return strings.Join(strings.Fields(value), " ") }
