package challenge

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"postseal/state"
)

// maxExtra bounds the bytes that one message may allocate beyond its own size before the
// verdict, garbage included.
const maxExtra = 20 << 20

// hostile are messages made to cost us as much as possible. Each passes as many checks as it
// can: From, To and Subject match a record.
var hostile = []struct {
	name    string
	message func() string
}{
	{"genuine", newGenuine},
	{"h= of 20,000 names", func() string { return flooded(sig{h: usualH + strings.Repeat(":x", 20000), bad: true}) }},
	{"5 times h= of 200 names, 200 fields", func() string {
		s := sig{h: usualH + strings.Repeat(":x", 187), bad: true}
		return flooded(s, s, s, s, s)
	}},
	{"6 signatures, 1 MiB of text", func() string { return sixTimes(strings.Repeat("hello \t world\r\n", 1<<20/15-400)) }},
	{"6 signatures, 1 MiB of line ends", func() string { return sixTimes(strings.Repeat("\r\n", 1<<19-4000) + "x\r\n") }},
	{"6 signatures, 1 MiB of spaces", func() string { return sixTimes(strings.Repeat(" ", 1<<20-8000) + "x\r\n") }},
	{"6 signatures, 1 MiB of LF", func() string { return toLF(sixTimes(strings.Repeat("\r\n", 1<<19-4000) + "x\r\n")) }},
	{"6 simple signatures, 1 MiB of text", func() string {
		return sixTimes(strings.Repeat("hello \t world\r\n", 1<<20/15-400), "simple/simple")
	}},
	{"6 simple signatures, 1 MiB of line ends", func() string { return sixTimes(strings.Repeat("\r\n", 1<<19-4000)+"x\r\n", "simple/simple") }},
	{"10 MB", func() string { return newGenuine() + strings.Repeat("hello world\r\n", 10<<20/13) }},
	{"10 MB of LF", func() string { return toLF(newGenuine()) + strings.Repeat("\n", 10<<20) }},
	{"10 MB of header", func() string { return strings.Repeat("X: y\r\n", 10<<20/6) + newGenuine() }},
	{"10 MB in one field", func() string { return "X: " + strings.Repeat("a", 10<<20) + "\r\n" + newGenuine() }},
	{"10 MB in one field, LF", func() string { return "X: y\nX: " + strings.Repeat("a", 10<<20) + "\n" + newGenuine() }},
	{"16,000 mailboxes in To", func() string { return newDraft().with(to(strings.Repeat("a@b,", 15000) + alice)...).String() }},
	{"200 To", func() string {
		return newDraft().with(del("To"), add(strings.Split(strings.Repeat("To: a@b, c@d, e@f\n", 180)+"To: "+alice, "\n")...)).String()
	}},
	{"To of 20,000 characters", func() string { return newDraft().with(to("a@" + manyRunes() + ", " + alice)...).String() }},
	{"comments in To", func() string { return newDraft().with(to(strings.Repeat("(", 60000) + ", " + alice)...).String() }},
	{"comments in From", func() string { return newDraft().with(from(strings.Repeat("(a) ", 15000) + caFrom)...).String() }},
	{"quotes in From", func() string {
		return newDraft().with(from(strings.Repeat(`"a" `, 15000) + "<" + caFrom + ">")...).String()
	}},
	{"words in From", func() string {
		return newDraft().with(from(strings.Repeat("=?utf-8?Q?a?= ", 4000) + "<" + caFrom + ">")...).String()
	}},
	{"broken words in Subject", func() string {
		return newDraft().with(subject("ACME: " + strings.Repeat("=?utf-8?Q?\x01", 5000) + "?=")...).String()
	}},
	{"broken words in ordinary Subject", func() string {
		return newDraft().with(subject(strings.Repeat("=?utf-8?B?\x01", 5000) + "?=")...).String()
	}},
	{"spaces in Subject", func() string { return newDraft().with(subject("ACME:" + strings.Repeat(" a", 30000))...).String() }},
	{"d= of 20,000 characters", func() string { return signedAs(sig{d: manyRunes()}) }},
	{"i= of 20,000 characters", func() string { return signedAs(sig{more: "i=@" + manyRunes() + "; "}) }},
	{"s= of 20,000 characters", func() string { return signedAs(sig{s: manyRunes()}) }},
	{"60,000 semicolons", func() string { return signedAs(sig{more: strings.Repeat(";", 60000)}) }},
	{"10,000 tags", func() string {
		var tags strings.Builder
		for i := range 8000 {
			fmt.Fprintf(&tags, "a%d=;", i)
		}
		return signedAs(sig{more: tags.String()})
	}},
	{"190 signatures", func() string { return newDraft().with(top(fieldsOf(junk(190, "ca.example"))...)).String() }},
	{"190 foreign signatures", func() string { return newDraft().with(top(fieldsOf(junk(190, "evil.example"))...)).String() }},
	{"3,000 results", func() string {
		return newDraft().with(top(fieldsOf(junk(60, "ca.example"))...), top("Authentication-Results: "+border+strings.Repeat("; dkim=pass header.d=x", 1700))).String()
	}},
	{"comments in Date", func() string { return newDraft().with(date(strings.Repeat("(", 60000))...).String() }},
	{"comments in Auto-Submitted", func() string { return signedAs(sig{}, auto(strings.Repeat("(", 60000))...) }},
	{"Message-ID of 60,000", func() string { return signedAs(sig{}, set("Message-ID", "<"+strings.Repeat("a", 60000)+">")) }},
	{"parameters of Content-Type", func() string {
		return newDraft().with(set("Content-Type", "multipart/signed; protocol=\"application/pkcs7-signature\""+strings.Repeat("; a=b", 12000))).String()
	}},
	{"S/MIME of 1 MiB", func() string {
		return newDraft().with(set("Content-Type", `multipart/signed; protocol="application/pkcs7-signature"; boundary=b`),
			body(strings.Repeat("--b\r\n\r\n", 1<<20/7-300))).String()
	}},
	{"opaque S/MIME of 1 MiB", func() string {
		return newDraft().with(set("Content-Type", "application/pkcs7-mime; smime-type=signed-data"), set("Content-Transfer-Encoding", "base64"),
			body(strings.Repeat("MIIw", 1<<18-500)+"\r\n")).String()
	}},
}

func newGenuine() string { return signedAs(sig{}) }

func signedAs(s sig, edits ...edit) string {
	d := newDraft().with(edits...)
	return d.with(top(s.field(d.String()))).String()
}

func fieldsOf(all []sig) (fields []string) {
	for i, s := range all {
		fields = append(fields, fmt.Sprintf("DKIM-Signature: v=1; a=rsa-sha256; d=%s; s=%s%d; h=from:to:subject:auto-submitted; bh=AAAA; b=AAAA", s.d, s.s, i))
	}
	return fields
}

// flooded is a message of 200 fields with signatures on top.
func flooded(all ...sig) string {
	d := newDraft()
	for len(d.fields) < MaxFields-len(all) {
		d.fields = append(d.fields, "X: y")
	}
	for _, s := range all {
		d.with(top(s.field(d.String())))
	}
	return d.String()
}

// sixTimes is a message with six signatures, whose body hashes are valid and which themselves
// are not.
func sixTimes(text string, c ...string) string {
	d := newDraft().with(body(text))
	for i := range 6 {
		s := sig{bad: true, more: fmt.Sprintf("n=%d; ", i)}
		if c != nil {
			s.c = c[0]
		}
		d.with(top(s.field(d.String())))
	}
	return d.String()
}

// manyRunes is a domain that takes IDNA a long time to convert.
func manyRunes() string {
	var b strings.Builder
	for r := rune(0x4e00); b.Len() < 50000; r++ {
		b.WriteRune(r)
	}
	return b.String()
}

// hostileSite is a site where alice is one of a thousand who wait.
func hostileSite(t testing.TB) (*goldenCase, *Responder) {
	g := &goldenCase{now: "2026-06-01T12:00:00Z", dns: map[string]answer{}}
	if err := g.readDNS(corpusCase{}.zone("")); err != nil {
		t.Fatal(err)
	}
	g.pending = []*state.Pending{order(func(p *state.Pending) { p.Policy.TrustedAuthservID = border })}
	for i := range 1000 {
		g.pending = append(g.pending, order(func(p *state.Pending) { p.ID, p.Email = fmt.Sprint("x", i), fmt.Sprintf("user%d@example.test", i) }))
	}
	return g, g.responder(t)
}

// No message costs more than maxLookups look-ups and maxExtra bytes. Time is for the
// benchmark, since it depends on the machine.
func TestHostileCost(t *testing.T) {
	g, r := hostileSite(t)
	for _, c := range hostile {
		m := Message{Raw: []byte(c.message())}
		g.lookups = 0
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r.Explain(context.Background(), m) // makes all checks, even after a failure
		runtime.ReadMemStats(&after)
		if g.lookups > maxLookups {
			t.Errorf("%s: %d look-ups", c.name, g.lookups)
		}
		if extra := after.TotalAlloc - before.TotalAlloc; extra > maxExtra {
			t.Errorf("%s: %d KiB allocated for a message of %d KiB", c.name, extra>>10, len(m.Raw)>>10)
		}
	}
}

// Neither a CA nor the writer of the record can turn an address into more than one: it
// becomes From and MAIL FROM unchanged.
func TestRecordAddressIsNoInjection(t *testing.T) {
	for _, addr := range []string{
		"x\r\nBcc: eve@evil.example, y@example.test", "a b@example.test", "a>b@example.test", `"a"@example.test`,
		"a@b@example.test", "@example.test", "alice@", "alice", "", "a\x00b@example.test", "a\xff@example.test",
		"a\u0085b@example.test", "a\u2028b@example.test", "a\u009bb@example.test", "a\u3000b@example.test",
	} {
		g := &goldenCase{now: "2026-06-01T12:00:00Z", dns: map[string]answer{}}
		if err := g.readDNS(corpusCase{}.zone("")); err != nil {
			t.Fatal(err)
		}
		g.pending = []*state.Pending{order(func(p *state.Pending) { p.Email = addr })}
		x := &exam{r: g.responder(t), ctx: context.Background(), pool: g.pending, from: caFrom, part1: part1}
		if err := x.checkRecord(); err == nil {
			t.Errorf("%q is taken for an address", addr)
		}
		m := Message{Raw: []byte(newDraft().with(to(addr)...).String())}
		if out := x.r.Answer(context.Background(), m); out.Verdict == Answered || len(g.sent) != 0 {
			t.Errorf("%q: %v, sent %q", addr, out.Verdict, g.sent)
		}
	}
}
