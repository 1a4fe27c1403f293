package challenge

import (
	"time"

	"postseal/state"
)

func date(s string) []edit { return []edit{set("Date", s)} }
func auto(s string) []edit { return []edit{set("Auto-Submitted", s)} }

// dated sets a Date relative to the order's creation.
func dated(d time.Duration) []edit {
	return date(received.Add(-time.Minute).Add(d).Format(time.RFC1123Z))
}

func second(change ...func(*state.Pending)) *state.Pending {
	return order(append([]func(*state.Pending){func(p *state.Pending) {
		p.ID, p.Server, p.Token = "order-2", "https://other.example/directory", "BBBBBBBBBBBBBBBBBBBBBB"
	}}, change...)...)
}

func ordering(p *state.Pending) { p.Token, p.From = "", "" }

// orderCases are the pending records, Date and Auto-Submitted.
var orderCases = []corpusCase{
	{name: "unknown", why: "Section 3, item 7: nobody waits. The mail is delivered and nothing else.",
		pending: []*state.Pending{}, want: ignored("nobody waits")},
	{name: "expired", why: "An order that has expired waits no more.",
		pending: []*state.Pending{order(func(p *state.Pending) { p.Expires = received.Add(-time.Second) })}, want: ignored("nobody waits")},
	{name: "expires-now", why: "Its last second is over when it begins.",
		pending: []*state.Pending{order(func(p *state.Pending) { p.Expires = received })}, want: ignored("nobody waits")},
	{name: "no-expiry", why: "A record without a time of expiry waits until it is removed.",
		pending: []*state.Pending{order(func(p *state.Pending) { p.Expires = time.Time{} })}},
	{name: "other-from", why: "Someone waits at this address for another CA.",
		pending: []*state.Pending{order(func(p *state.Pending) { p.From = "acme@other.example" })}, want: refused(0, "must come from acme@other.example")},
	{name: "ordering", why: "The order is written and not yet answered: the token is not there, come again.",
		pending: []*state.Pending{order(ordering)}, want: later(0, "has not been answered by the CA yet")},
	{name: "ordering-and-unsigned", why: "What is refused without the token needs no second try. The exam makes cheap checks first, but which record it belongs to comes before its signature.",
		sign: unsigned, pending: []*state.Pending{order(ordering)}, want: later(0, "has not been answered by the CA yet")},
	{name: "ordering-bad-token", why: "A token that could never be answered is refused at once.",
		edit: subject("ACME: short"), pending: []*state.Pending{order(ordering)}, want: refused(0, "less than 128 bits")},
	{name: "two-cas", why: "Two CAs wait for one address: From tells whose challenge it is.",
		pending: []*state.Pending{second(func(p *state.Pending) { p.From = "acme@other.example" }), order()}, want: want{verdict: Answered, record: 1}},
	{name: "two-cas-same-from", why: "A CA's staging and production with one From: an answer to the wrong one would end that order.",
		pending: []*state.Pending{second(), order()}, want: refused(0, "cannot be told apart")},
	{name: "two-cas-one-ordering", why: "The other CA has not answered yet, but this one's From is known.",
		pending: []*state.Pending{second(ordering), order()}, want: want{verdict: Answered, record: 1}},
	{name: "two-cas-other-ordering", why: "The one that is known has another From: it must be the other's, which has no token yet.",
		pending: []*state.Pending{second(ordering), order(func(p *state.Pending) { p.From = "acme@third.example" })},
		want:    later(0, "has not been answered by the CA yet")},
	{name: "two-cas-one-expired", why: "Of two that cannot be told apart, one has expired.",
		pending: []*state.Pending{second(func(p *state.Pending) { p.Expires = received.Add(-time.Hour) }), order()}, want: want{verdict: Answered, record: 1}},
	{name: "two-cas-policy", why: "The policy is that of the CA whose challenge it is, not the other's.",
		edit: []edit{del("Auto-Submitted")},
		pending: []*state.Pending{
			second(func(p *state.Pending) { p.From, p.Policy.AutoSubmitted = "acme@other.example", "ignore" }), order(),
		}, want: refused(1, "no Auto-Submitted")},

	{name: "date-absent", why: "Some CAs send no Date.",
		edit: []edit{del("Date")}},
	{name: "date-unreadable", why: "A Date that nobody can read tells nothing.",
		edit: date("yesterday")},
	{name: "date-empty", why: "Nor does an empty one.",
		edit: date("")},
	{name: "date-before-order", why: "The challenge of an earlier order: answering it would end this one.",
		edit: dated(-301 * time.Second), want: refused(1, "before the order of")},
	{name: "date-year-ago", why: "Last year's challenge, kept and sent again.",
		edit: dated(-365 * 24 * time.Hour), want: refused(1, "before the order of")},
	{name: "date-within-grace", why: "Five minutes' grace for clocks that differ.",
		edit: dated(-300 * time.Second)},
	{name: "date-zone", why: "Time zones are taken into account: this is half an hour after the order.",
		edit: date("Mon, 01 Jun 2026 02:29:00 -1000")},
	{name: "date-obsolete-zone", why: "Obsolete zones and comments are legal (RFC 5322, Section 4.3).",
		edit: date("Mon, 1 Jun 26 11:59:30 GMT (really)")},
	{name: "date-future", why: "A CA whose clock is ahead. A signature from the future is refused, a Date is not.",
		edit: dated(24 * time.Hour)},
	{name: "date-old-uncovered", why: "A Date that is not covered counts as absent, old or not.",
		edit: dated(-365 * 24 * time.Hour), sign: []sig{{h: without("date")}}},
	{name: "date-changed", why: "An old challenge with a new Date: where Date is covered, the signature breaks.",
		edit: dated(-365 * 24 * time.Hour), after: dated(time.Second), want: refused(1, "signature did not verify")},
	{name: "date-control", why: "Control characters in a Date do not get into the log.",
		edit: date("Mon, 1 Jun 2020 11:59:30 +0000 (\x1b[2J)"), want: refused(1, "before the order of")},

	{name: "auto-plain", why: "Item 5: type=acme is only a SHOULD.",
		edit: auto("auto-generated")},
	{name: "auto-parameters", why: "More parameters are allowed.",
		edit: auto(`auto-generated; type=acme; x="a; b"; y=z`)},
	{name: "auto-no-space", why: "No white space is needed.",
		edit: auto("auto-generated;type=acme")},
	{name: "auto-case", why: "RFC 3834, Section 5: the keyword has no case.",
		edit: auto("Auto-Generated; Type=ACME")},
	{name: "auto-other-type", why: "A type that is another's is allowed by the syntax.",
		edit: auto("auto-generated; type=report")},
	{name: "auto-comment-after", why: "Comments are legal (RFC 3834, Section 5).",
		edit: auto("auto-generated (by a robot); type=acme")},
	{name: "auto-comment-before", why: "In front of it too.",
		edit: auto("(robot) auto-generated")},
	{name: "auto-two-comments", why: "And more than one.",
		edit: auto("(a) auto-generated (b)")},
	{name: "auto-comment-semicolon", why: "A semicolon in a comment ends nothing.",
		edit: auto("(a; b) auto-generated; type=acme")},
	{name: "auto-comment-nested", why: "Comments nest.",
		edit: auto(`(a (b) \) c) auto-generated`)},
	{name: "auto-folded", why: "Folded before the parameter.",
		edit: auto("auto-generated;\r\n\ttype=acme")},
	{name: "auto-replied", why: "A reply by a robot: a vacation notice, or a bounce of our own.",
		edit: auto("auto-replied"), want: refused(1, "not auto-generated")},
	{name: "auto-no", why: "Somebody says that a human wrote it.",
		edit: auto("no"), want: refused(1, "not auto-generated")},
	{name: "auto-in-comment", why: "A keyword in a comment does not count.",
		edit: auto("no (auto-generated)"), want: refused(1, "not auto-generated")},
	{name: "auto-in-parameter", why: "Nor in a parameter.",
		edit: auto("no; x=auto-generated"), want: refused(1, "not auto-generated")},
	{name: "auto-prefix", why: "auto-generated-not is another keyword.",
		edit: auto("auto-generated-not"), want: refused(1, "not auto-generated")},
	{name: "auto-joined", why: "A comment separates: this is two words.",
		edit: auto("auto-(x)generated"), want: refused(1, "not auto-generated")},
	{name: "auto-open-comment", why: "A comment that never ends.",
		edit: auto("auto-generated (x"), want: refused(1, "not auto-generated")},
	{name: "auto-empty", why: "An empty field.",
		edit: auto(""), want: refused(1, "no Auto-Submitted")},
	{name: "auto-absent", why: "Item 5: it MUST be there.",
		edit: []edit{del("Auto-Submitted")}, want: refused(1, "no Auto-Submitted")},
	{name: "auto-added", why: "Added on the way, where it is not covered: counts as absent.",
		edit: []edit{del("Auto-Submitted")}, sign: []sig{{h: without("auto-submitted")}}, after: auto("auto-generated"),
		want: refused(1, "does not cover Auto-Submitted")},
	{name: "auto-absent-ignored", why: "Policy auto-submitted=ignore, for CAs that send none.",
		edit: []edit{del("Auto-Submitted")}, pending: policy(func(p *state.Policy) { p.AutoSubmitted = "ignore" })},
	{name: "auto-replied-ignored", why: "Under it, its value does not matter either.",
		edit: auto("auto-replied"), pending: policy(func(p *state.Policy) { p.AutoSubmitted = "ignore" })},
	{name: "auto-uncovered-ignored", why: "Nor whether it is covered.",
		sign: []sig{{h: without("auto-submitted")}}, pending: policy(func(p *state.Policy) { p.AutoSubmitted = "ignore" })},
}
