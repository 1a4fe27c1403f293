package testca

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/mholt/acmez/v3/acme"
)

// challenged is one authorization whose mail has come.
type challenged struct {
	*client
	ca    *CA
	authz acme.Authorization
	mail  received
}

func challenge(t testing.TB, ca *CA, box *mailbox, addr string) *challenged {
	t.Helper()
	c := newClient(t, ca)
	a := c.authz(c.order(addr), 0)
	return &challenged{c, ca, a, box.next(t)}
}

func (c *challenged) reply() *reply { return c.replyTo(c.mail, c.authz, c.ca.cfg.Join) }

func (c *challenged) status() string {
	c.t.Helper()
	a, err := c.GetAuthorization(c.t.Context(), c.acct, c.authz.Location)
	if err != nil {
		c.t.Fatal(err)
	}
	return a.Status
}

// outcome sends a reply and returns what the CA made of it.
func (c *challenged) outcome(r *reply) Reply {
	c.t.Helper()
	r.send(c.t, c.ca)
	all := c.ca.Replies()
	if len(all) == 0 {
		c.t.Fatal("the reply was not received")
	}
	return all[len(all)-1]
}

func without(names []string, name string) []string {
	var out []string
	for _, n := range names {
		if n != name {
			out = append(out, n)
		}
	}
	return out
}

// alternative makes the reply multipart/alternative, or whatever else.
func alternative(kind string) func(*reply) {
	return func(r *reply) {
		r.set("Content-Type", kind+`; boundary="b"`)
		r.body = "--b\r\nContent-Type: text/plain\r\n\r\n" + r.body + "--b\r\nContent-Type: text/html\r\n\r\n<p>hi</p>\r\n--b--\r\n"
	}
}

func encodeBody(encoding string, encode func(string) string) func(*reply) {
	return func(r *reply) {
		r.set("Content-Transfer-Encoding", encoding)
		r.body = encode(r.body)
	}
}

func replaceBody(old, new string) func(*reply) {
	return func(r *reply) { r.body = strings.ReplaceAll(r.body, old, new) }
}

// splitDigest breaks the digest line in two (RFC 8823, Section 3.2, item 7,
// allows it).
func splitDigest(r *reply) {
	lines := strings.Split(r.body, "\r\n")
	lines[1] = lines[1][:20] + "\r\n" + lines[1][20:]
	r.body = strings.Join(lines, "\r\n")
}

// TestReplies has each rule of RFC 8823, Section 3.2, broken alone. Every
// reply is signed as item 9 wants it unless the case says otherwise.
func TestReplies(t *testing.T) {
	box := newMailbox(t)
	loose := start(t, Config{Relay: box.addr, Sign: SignNone})
	strict := start(t, Config{Relay: box.addr, Sign: SignNone, Strict: true})
	picky := start(t, Config{Relay: box.addr, Sign: SignNone, Picky: true})
	full := append(append([]string{}, requiredInReply...), advisedInChallenge...)
	tests := []struct {
		name   string
		edit   func(*reply)
		loose  string // the reason, "" for good
		strict string
		picky  string
	}{
		{name: "correct", edit: func(*reply) {}},
		{"digest", func(r *reply) { r.body = block(strings.Repeat("A", 43)) }, "digest is not", "digest is not", "digest is not"},
		{"no block", func(r *reply) { r.body = "hello\r\n" }, "0 BEGIN", "0 BEGIN", "0 BEGIN"},
		{"two blocks", func(r *reply) { r.body += r.body }, "2 BEGIN", "2 BEGIN", "2 BEGIN"},
		{"block without end", replaceBody(endResponse, ""), "0 END", "0 END", "0 END"},
		{"block upside down", func(r *reply) { r.body = endResponse + "\r\n" + strings.Replace(r.body, endResponse+"\r\n", "", 1) }, "not one block", "not one block", "not one block"},
		{"quoted block", replaceBody("-----BEGIN", "> -----BEGIN"), "0 BEGIN", "0 BEGIN", "0 BEGIN"},
		{"indented block", replaceBody("-----BEGIN", " -----BEGIN"), "", "0 BEGIN", ""},
		{"text around", func(r *reply) { r.body = "Hello,\r\n" + r.body + "-- \r\nAlice\r\n" }, "", "", ""},
		{"digest on two lines", splitDigest, "", "", "one line of 43"},
		{"padded digest", replaceBody("\r\n"+endResponse, "=\r\n"+endResponse), "", "", "one line of 43"},
		{"other From", func(r *reply) { r.set("From", "mallory@example.test") }, "From is", "From is", "From is"},
		{"two From addresses", func(r *reply) { r.set("From", alice+", bob@example.test") }, "exactly one address", "exactly one address", "exactly one address"},
		{"two From fields", func(r *reply) { r.head = append(r.head, field{"From", alice}) }, "From occurs 2 times", "From occurs 2 times", "From occurs 2 times"},
		{"display name", func(r *reply) { r.set("From", "Alice <"+alice+">") }, "", "not exactly", ""},
		{"angle brackets", func(r *reply) { r.set("From", "<"+alice+">") }, "", "", ""},
		{"From in capitals", func(r *reply) { r.set("From", "Alice@example.test") }, "", "not exactly", ""},
		{"envelope sender", func(r *reply) { r.envelopeFrom = "bounces@example.test" }, "", "envelope sender", ""},
		{"empty envelope sender", func(r *reply) { r.envelopeFrom = "" }, "", "envelope sender", ""},
		{"other To", func(r *reply) { r.set("To", "someone@"+defaultDomain) }, "", "To is", ""},
		{"no In-Reply-To", func(r *reply) { r.set("In-Reply-To", "") }, "", "In-Reply-To", ""},
		{"other In-Reply-To", func(r *reply) { r.set("In-Reply-To", "<1@example.test>") }, "", "In-Reply-To", ""},
		{"two Dates", func(r *reply) { r.head = append(r.head, field{"Date", "Thu, 1 Jan 1970 00:00:00 +0000"}) }, "", "Date occurs 2 times", ""},
		{"List-Id", func(r *reply) { r.set("List-Id", "<list.example.test>") }, "", "List-Id", ""},
		{"List-Unsubscribe-Post", func(r *reply) { r.set("list-unsubscribe-post", "List-Unsubscribe=One-Click") }, "", "list-unsubscribe-post", ""},
		{"bare LF", replaceBody("\r\n", "\n"), "", "bare CR or LF", ""},
		{"bare CR", func(r *reply) { r.body = "a\rb\r\n" + r.body }, "", "bare CR or LF", ""},
		{"text/html", func(r *reply) { r.set("Content-Type", "text/html") }, "text/html", "text/html", "text/html"},
		{"multipart/alternative", alternative("multipart/alternative"), "", "", "not text/plain"},
		{"multipart/mixed", alternative("multipart/mixed"), "", "multipart/mixed", "not text/plain"},
		{"no text/plain part", func(r *reply) { alternative("multipart/alternative")(r); replaceBody("text/plain", "text/x")(r) }, "no text/plain part", "no text/plain part", "no text/plain part"},
		{"quoted-printable", encodeBody("quoted-printable", func(s string) string { return strings.ReplaceAll(s, "-----BEGIN", "=2D----BEGIN") }), "", "", "not 7bit"},
		{"base64", encodeBody("base64", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) + "\r\n" }), "", "", "not 7bit"},
		{"unknown encoding", encodeBody("rot13", strings.ToLower), "unknown", "unknown", "unknown"},
		{"no prefix", func(r *reply) { r.set("Subject", strings.TrimPrefix(subject(r), "Re: ")) }, "", "", "the Subject is"},
		{"other prefix", func(r *reply) { r.set("Subject", "AW: [ext] "+subject(r)) }, "", "", "the Subject is"},
		{"encoded Subject", func(r *reply) {
			r.set("Subject", "=?UTF-8?B?"+base64.StdEncoding.EncodeToString([]byte(subject(r)))+"?=")
		}, "", "", "the Subject is"},
		{"folded Subject", func(r *reply) { r.set("Subject", strings.Replace(subject(r), "ACME: ", "ACME:\r\n ", 1)) }, "", "", ""},
		{"folded token", func(r *reply) { s := subject(r); r.set("Subject", s[:16]+"\r\n "+s[16:]) }, "", "", "the Subject is"},
		{"no DKIM", func(r *reply) { r.sign = nil }, "", "no DKIM signature", ""},
		{"changed after signing", func(r *reply) { s := r.sign; r.sign = func(m []byte) []byte { return append(s(m), "PS\r\n"...) } }, "", "does not pass", ""},
		{"d= of another domain", func(r *reply) { r.sign = signer(t, strict, "example.org", full) }, "", "d=example.org", ""},
		{"d= of the parent", func(r *reply) { r.sign = signer(t, strict, "test", full) }, "", "d=test", ""},
		{"no key", func(r *reply) {
			r.sign = signer(t, strict, "example.test", full)
			strict.SetTXT("s1._domainkey.example.test")
		}, "", "does not pass", ""},
		{"key in testing mode", func(r *reply) {
			r.sign = signer(t, strict, "example.test", full)
			txt, _ := strict.zone.lookup("s1._domainkey.example.test")
			strict.SetTXT("s1._domainkey.example.test", txt[0]+"; t=y:s")
		}, "", "testing mode", ""},
		{"h= without In-Reply-To", func(r *reply) { r.sign = signer(t, strict, "example.test", without(full, "In-Reply-To")) }, "", "lacks In-Reply-To", ""},
		{"h= without an absent Sender", func(r *reply) { r.sign = signer(t, strict, "example.test", without(full, "Sender")) }, "", "lacks Sender", ""},
		{"h= of the required only", func(r *reply) { r.sign = signer(t, strict, "example.test", requiredInReply) }, "", "", ""},
	}
	for _, test := range tests {
		for _, k := range []struct {
			name, want string
			ca         *CA
		}{{"loose", test.loose, loose}, {"strict", test.strict, strict}, {"picky", test.picky, picky}} {
			t.Run(test.name+"/"+k.name, func(t *testing.T) {
				c := challenge(t, k.ca, box, alice)
				r := c.reply()
				r.sign = signer(t, k.ca, "example.test", full)
				test.edit(r)
				got := c.outcome(r)
				checkOutcome(t, c, got, k.want)
			})
		}
	}
}

func subject(r *reply) string {
	for _, f := range r.head {
		if f.name == "Subject" {
			return f.value
		}
	}
	return ""
}

// checkOutcome compares a verdict and what it does to the authorization: a
// good reply waits for the POST, a bad one kills at once.
func checkOutcome(t *testing.T, c *challenged, got Reply, want string) {
	t.Helper()
	if want == "" {
		if got.Verdict != VerdictGood {
			t.Errorf("%s: %s; want good", got.Verdict, got.Reason)
		}
		if s := c.status(); s != acme.StatusPending {
			t.Errorf("the authorization is %s before the POST", s)
		}
		return
	}
	if got.Verdict != VerdictBad || !strings.Contains(got.Reason, want) {
		t.Errorf("%s: %q; want bad: %q", got.Verdict, got.Reason, want)
	}
	if s := c.status(); s != acme.StatusInvalid {
		t.Errorf("the authorization is %s after a wrong reply", s)
	}
}

// Replies that belong to no challenge change nothing.
func TestUnknownReplies(t *testing.T) {
	box := newMailbox(t)
	ca := start(t, Config{Relay: box.addr})
	c := challenge(t, ca, box, alice)
	for name, edit := range map[string]func(*reply){
		"other token":  func(r *reply) { r.set("Subject", "Re: ACME: AAAAAAAAAAAAAAAAAAAAAA") },
		"no label":     func(r *reply) { r.set("Subject", "Hello") },
		"lower case":   func(r *reply) { r.set("Subject", strings.ToLower(subject(r))) },
		"text after":   func(r *reply) { r.set("Subject", subject(r)+" [external]") },
		"no Subject":   func(r *reply) { r.set("Subject", "") },
		"two Subjects": func(r *reply) { r.head = append(r.head, field{"Subject", subject(r)}) },
		"latin-1":      func(r *reply) { r.set("Subject", "=?iso-8859-1?Q?"+strings.ReplaceAll(subject(r), " ", "_")+"?=") },
		"no header":    func(r *reply) { r.head = []field{{"not a field\r\nx", "y"}} },
	} {
		r := c.reply()
		edit(r)
		if got := c.outcome(r); got.Verdict != VerdictUnknown || got.Reason == "" {
			t.Errorf("%s: %s %q", name, got.Verdict, got.Reason)
		}
	}
	if s := c.status(); s != acme.StatusPending {
		t.Errorf("the authorization is %s", s)
	}
	if got := c.outcome(c.reply()); got.Verdict != VerdictGood {
		t.Errorf("the true reply is %s: %s", got.Verdict, got.Reason)
	}
	if got := c.outcome(c.reply()); got.Verdict != VerdictDuplicate {
		t.Errorf("the same again is %s", got.Verdict)
	}
}

// DNS trouble is nobody's fault: the reply is asked for again, and counts then.
func TestReplyDNSTrouble(t *testing.T) {
	for _, fault := range []DNSFault{DNSServFail, DNSRefused, DNSTimeout} {
		box := newMailbox(t)
		ca := start(t, Config{Relay: box.addr, Strict: true})
		c := challenge(t, ca, box, alice)
		r := c.reply()
		r.sign = signer(t, ca, "example.test", requiredInReply)
		ca.SetDNSFault("s1._domainkey.example.test", fault)
		if err := r.send(t, ca); err == nil || !strings.Contains(err.Error(), "451") {
			t.Errorf("%s: %v, want 451", fault, err)
		}
		ca.SetDNSFault("s1._domainkey.example.test", DNSWorks)
		if got := c.outcome(r); got.Verdict != VerdictGood {
			t.Errorf("%s: then %s: %s", fault, got.Verdict, got.Reason)
		}
	}
}

func TestRefuseMail(t *testing.T) {
	box := newMailbox(t)
	ca := start(t, Config{Relay: box.addr, RefuseMail: 1})
	c := challenge(t, ca, box, alice)
	if err := c.reply().send(t, ca); err == nil || !strings.Contains(err.Error(), "451") {
		t.Errorf("%v, want 451", err)
	}
	if got := c.outcome(c.reply()); got.Verdict != VerdictGood {
		t.Errorf("then %s: %s", got.Verdict, got.Reason)
	}
}

func TestOtherRecipients(t *testing.T) {
	ca := start(t, Config{ReplyTo: "answers@elsewhere.example"})
	for to, want := range map[string]string{
		"anyone@" + defaultDomain:   "",
		"Answers@elsewhere.example": "",
		"bob@example.test":          "550",
	} {
		err := sendRaw(t, ca, alice, to, []byte("Subject: x\r\n\r\nx"))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", to, err, want)
		}
	}
}

func TestReplyTo(t *testing.T) {
	box := newMailbox(t)
	const answers = "answers@" + defaultDomain
	ca := start(t, Config{Relay: box.addr, ReplyTo: answers, Strict: true})
	c := challenge(t, ca, box, alice)
	r := c.reply()
	if r.envelopeTo != answers {
		t.Fatalf("the challenge's Reply-To is %q", r.envelopeTo)
	}
	r.sign = signer(t, ca, "example.test", requiredInReply)
	if got := c.outcome(r); got.Verdict != VerdictGood {
		t.Errorf("%s: %s", got.Verdict, got.Reason)
	}
	c = challenge(t, ca, box, alice)
	r = c.reply()
	r.set("To", c.authz.Challenges[0].From)
	r.sign = signer(t, ca, "example.test", requiredInReply)
	checkOutcome(t, c, c.outcome(r), "To is")
}

func FuzzEntity(f *testing.F) {
	f.Add([]byte("Subject: Re: ACME: abc\r\n\r\n" + block("x")))
	f.Add([]byte("Content-Type: multipart/alternative; boundary=b\n\n--b\n\nx\n--b--"))
	f.Add([]byte("Content-Transfer-Encoding: base64\r\n\r\nAAAA"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := parseEntity(raw)
		if err != nil {
			return
		}
		if token, err := e.subjectToken(); err == nil && strings.ContainsAny(token, " \t\r\n") {
			t.Errorf("white space in the token %q", token)
		}
		text, err := e.plainText(false)
		if err != nil {
			return
		}
		if d, err := responseBlock(text, true); err == nil && strings.Contains(d, beginResponse) {
			t.Errorf("a marker inside the block %q", d)
		}
	})
}
