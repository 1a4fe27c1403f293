package challenge

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-msgauth/dkim"
)

// FuzzAnswer gives whole messages to a site that has a CA's key and an order. Nothing may
// panic, and only what the CA has signed may be answered: one of the tokens of the corpus, to
// the corpus's recipient.
func FuzzAnswer(f *testing.F) {
	signed := map[[2]string]bool{}
	for _, group := range corpus {
		for _, c := range group.cases {
			if c.pending != nil || strings.Contains(c.name, "512") || len(c.message()) > 8000 {
				continue
			}
			f.Add([]byte(c.message()))
			if c.want.verdict == Answered || c.want == (want{}) {
				signed[[2]string{usual(c.want.token, part1), usual(c.want.to, caFrom)}] = true
			}
		}
	}
	g := &goldenCase{now: "2026-06-01T12:00:00Z", dns: map[string]answer{}, pending: policyFrom(caFrom, "")}
	if err := g.readDNS(corpusCase{dns: unusual}.zone("s=ed; s=other; s=rsa1024; s=down;")); err != nil {
		f.Fatal(err)
	}
	r := g.responder(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := Message{Raw: raw}
		g.lookups = 0
		out, reply := r.Compose(context.Background(), m)
		if g.lookups > maxLookups {
			t.Errorf("%d look-ups", g.lookups)
		}
		if explained := r.Explain(context.Background(), m); explained.Verdict != out.Verdict {
			t.Errorf("explained as %v (%s), answered as %v (%s)", explained.Verdict, explained.Reason, out.Verdict, out.Reason)
		}
		if out.Verdict != Answered {
			return
		}
		got, err := readReply(string(reply))
		if err != nil {
			t.Fatal(err)
		}
		if !signed[[2]string{got.token, got.to}] || got.from != alice || got.digest != expectedDigest(got.token, g.pending[0]) {
			t.Errorf("nobody has signed a challenge that is answered with %q", reply)
		}
	})
}

// FuzzSubject checks that the test for a challenge's Subject and the reader of its token
// agree, and that the token is valid.
func FuzzSubject(f *testing.F) {
	for _, c := range subjectCases {
		d := newDraft().with(c.edit...)
		if i := d.index("subject"); i >= 0 {
			f.Add(unfold(strings.TrimPrefix(d.fields[i], "Subject: ")))
		}
	}
	f.Fuzz(func(t *testing.T, subject string) {
		token, err := tokenPart1(subject)
		switch is := IsChallenge(subject); {
		case err == nil && !is:
			t.Errorf("token %q of what is not a challenge", token)
		case is && err != nil && strings.Contains(err.Error(), "not that of a challenge"):
			t.Errorf("a challenge, and then none: %v", err)
		}
		if err != nil {
			return
		}
		digits := strings.TrimRight(token, "=")
		if len(digits) < 22 || len(token) > 256 || len(token)-len(digits) > 2 || !replySubject.MatchString("Re: ACME: "+token) {
			t.Errorf("token %q", token)
		}
		if again, err := tokenPart1("ACME: " + token); err != nil || again != token {
			t.Errorf("token %q is read as %q, %v", token, again, err)
		}
	})
}

// FuzzTags checks that the library reads the policy's tags as we do, or that we refuse them.
func FuzzTags(f *testing.F) {
	for _, c := range signatureCases {
		for _, s := range c.sign {
			_, value, _ := strings.Cut(s.field(newDraft().String()), ":")
			f.Add(value)
		}
	}
	f.Fuzz(func(t *testing.T, value string) {
		m, err := parse(Message{Raw: []byte("DKIM-Signature:" + value + "\r\nFrom: " + caFrom + "\r\n\r\n")})
		if err != nil || len(m.fields) != 2 || m.fields[0].name != "dkim-signature" {
			return // a line end in the value
		}
		own, err := readSignature(m.fields[0])
		if err != nil || !utf8.ValidString(value) {
			return // the library replaces invalid UTF-8 by U+FFFD; neither is in a domain
		}
		results, err := dkim.VerifyWithOptions(strings.NewReader(m.fields[0].raw+m.fields[1].raw+"\r\n"), &dkim.VerifyOptions{
			LookupTXT: func(string) ([]string, error) { return nil, nil },
		})
		if err != nil || len(results) != 1 || results[0].HeaderKeys == nil {
			return // the library refuses it before the tags in question
		}
		lib := results[0]
		if own.shown != lib.Domain || strings.Join(own.names, ":") != strings.Join(lower(lib.HeaderKeys), ":") {
			t.Errorf("d=%q h=%q, to the library d=%q h=%q", own.shown, own.names, lib.Domain, lib.HeaderKeys)
		}
		for name, pair := range map[string][2]time.Time{"t": {own.made, lib.Time}, "x": {own.ends, lib.Expiration}} {
			if !pair[1].IsZero() && !pair[0].Equal(pair[1]) {
				t.Errorf("%s=%v, to the library %v", name, pair[0], pair[1])
			}
		}
	})
}

// FuzzReply builds a reply to any challenge whose fields pass the checks: a strict reader
// finds the digest in it and only our fields.
func FuzzReply(f *testing.F) {
	f.Add("ACME: "+part1, caFrom, "<challenge-1@ca.example>", alice, "string")
	f.Add("ACME: "+part1+"==", "\"a b\" <R@mail.ca.example>", "<a> ", "\u7528\u6237@example.test", "bytes")
	f.Add("ACME: LgYemJLy3F1LDkiJrdIGbEzyFJyOyf6vBdyZ1TG3sME=", "r@b\u00fccher.example (x)", "<\r\nBcc: x>", "a\u0085b@example.test", "")
	f.Fuzz(func(t *testing.T, subject, to, id, email, how string) {
		token, errToken := tokenPart1(subject)
		mailbox, errTo := oneMailbox("Reply-To", to)
		p := order()
		p.Email, p.Join = email, how
		x := &exam{part1: token}
		if errToken != nil || errTo != nil || x.accept(p) != nil {
			return
		}
		digest, err := p.Digest(token)
		if err != nil {
			t.Fatal(err)
		}
		reply := &reply{from: p.Email, to: mailbox, part1: token, inReplyTo: echo(id), id: newMessageID(p.Email), date: received, digest: digest}
		got, err := readReply(string(reply.bytes()))
		if err != nil {
			t.Fatalf("%v in %q", err, reply.bytes())
		}
		if want := (reading{p.Email, mailbox, "Re: ACME: " + token, token, echo(id), expectedDigest(token, p)}); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// FuzzFields compares our reading of a header with the DKIM library's and Postfix's, which
// ends a header at the first line that is not a field: all agree, or we refuse the message.
func FuzzFields(f *testing.F) {
	for _, c := range transportCases {
		if len(c.message()) < 8000 {
			f.Add([]byte(c.message()))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parse(Message{Raw: raw})
		if err != nil || m.stray != "" {
			return
		}
		var ours, library, postfix []string
		for _, field := range m.fields {
			ours = append(ours, field.name)
		}
		for line := range strings.Lines(string(m.header)) {
			line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
			if line == "" {
				break
			}
			if line[0] == ' ' || line[0] == '\t' {
				continue
			}
			name, _, _ := strings.Cut(line, ":")
			library = append(library, strings.ToLower(strings.TrimSpace(name)))
			postfix = append(postfix, strings.ToLower(line[:isHeader(line)]))
		}
		if !slices.Equal(ours, library) || !slices.Equal(ours, postfix) {
			t.Errorf("fields %q, to the library %q, to Postfix %q", ours, library, postfix)
		}
	})
}

// isHeader returns the length of a field's name by Postfix's rule (a name of printable ASCII,
// white space, a colon), or 0.
func isHeader(line string) int {
	n := strings.IndexFunc(line, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' })
	if n <= 0 || !strings.HasPrefix(strings.TrimLeft(line[n:], " \t"), ":") {
		return 0
	}
	return n
}
