package testca

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"mime"
	"mime/multipart"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-smtp"
	"github.com/mholt/acmez/v3/acme"
	"github.com/smallstep/pkcs7"
)

// dkimOf checks a challenge mail's signature with the key from the CA's DNS.
func dkimOf(t testing.TB, ca *CA, raw []byte) *dkim.Verification {
	t.Helper()
	all, err := dkim.VerifyWithOptions(bytes.NewReader(raw), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		return resolver(ca).LookupTXT(t.Context(), name+".")
	}})
	if err != nil || len(all) != 1 {
		t.Fatalf("%d signatures, %v", len(all), err)
	}
	return all[0]
}

// resolver asks the CA's DNS server.
func resolver(ca *CA) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, ca.DNSAddr)
	}}
}

func header(t testing.TB, raw []byte, name string) string {
	t.Helper()
	e, err := parseEntity(raw)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(e.all(name), "|")
}

// TestChallengeMail is RFC 8823, Section 3.1, item by item.
func TestChallengeMail(t *testing.T) {
	box := newMailbox(t)
	ca := start(t, Config{Relay: box.addr})
	c := challenge(t, ca, box, alice)
	raw, ch := c.mail.raw, c.authz.Challenges[0]
	if ch.Type != "email-reply-00" || ch.From == "" || len(decode64(ch.Token)) < 16 {
		t.Errorf("the challenge is %+v", ch)
	}
	part1, ok := strings.CutPrefix(header(t, raw, "Subject"), "ACME: ")
	if !ok || len(decode64(part1)) != 16 {
		t.Errorf("Subject is %q", header(t, raw, "Subject"))
	}
	for name, want := range map[string]string{
		"From": ch.From, "To": alice, "Reply-To": "", "Auto-Submitted": "auto-generated; type=acme",
	} {
		if got := header(t, raw, name); got != want {
			t.Errorf("%s is %q, not %q", name, got, want)
		}
	}
	if !strings.HasPrefix(ch.From, "acme-challenge+") || !strings.HasSuffix(ch.From, "@"+ca.MailDomain) || c.mail.from != ch.From || c.mail.utf8 {
		t.Errorf("from %q in the envelope and %q in the challenge", c.mail.from, ch.From)
	}
	if header(t, raw, "Date") == "" || header(t, raw, "Message-ID") == "" {
		t.Error("no Date or Message-ID")
	}
	v := dkimOf(t, ca, raw)
	if v.Err != nil || v.Domain != ca.MailDomain {
		t.Errorf("DKIM d=%s: %v", v.Domain, v.Err)
	}
	for _, name := range append(requiredInChallenge, advisedInChallenge...) {
		if !containsFold(v.HeaderKeys, name) {
			t.Errorf("h= lacks %s", name)
		}
	}
	if rest := bytes.ReplaceAll(raw, []byte("\r\n"), nil); bytes.ContainsAny(rest, "\r\n") {
		t.Error("the mail has a bare CR or LF")
	}
}

// TestMailKnobs has each habit of CAs' mails alone.
func TestMailKnobs(t *testing.T) {
	parent := strings.SplitN(defaultDomain, ".", 2)[1]
	tests := []struct {
		name  string
		cfg   Config
		check func(t *testing.T, ca *CA, c *challenged)
	}{
		{"32 bytes", Config{Part1Bytes: 32}, func(t *testing.T, ca *CA, c *challenged) {
			if s := header(t, c.mail.raw, "Subject"); len(s) != len("ACME: ")+43 {
				t.Errorf("Subject is %q", s)
			}
		}},
		{"padding", Config{PadPart1: true}, func(t *testing.T, ca *CA, c *challenged) {
			if s := header(t, c.mail.raw, "Subject"); !strings.HasSuffix(s, "==") {
				t.Errorf("Subject is %q", s)
			}
		}},
		{"padding, bytes", Config{PadPart1: true, Join: JoinBytes}, nil},
		{"bytes", Config{Join: JoinBytes}, nil},
		{"folded", Config{SubjectForm: SubjectFolded}, func(t *testing.T, ca *CA, c *challenged) {
			if !bytes.Contains(c.mail.raw, []byte("Subject: ACME:\r\n ")) {
				t.Errorf("Subject is %q", header(t, c.mail.raw, "Subject"))
			}
		}},
		{"encoded", Config{SubjectForm: SubjectEncoded, PadPart1: true}, func(t *testing.T, ca *CA, c *challenged) {
			s, err := (&mime.WordDecoder{}).DecodeHeader(header(t, c.mail.raw, "Subject"))
			if err != nil || !strings.HasPrefix(s, "ACME: ") || !strings.HasPrefix(header(t, c.mail.raw, "Subject"), "=?") {
				t.Errorf("Subject is %q, %v", s, err)
			}
		}},
		{"unsigned", Config{Sign: SignNone}, func(t *testing.T, ca *CA, c *challenged) {
			if header(t, c.mail.raw, "DKIM-Signature") != "" {
				t.Error("there is a signature")
			}
		}},
		{"bad", Config{Sign: SignBad}, func(t *testing.T, ca *CA, c *challenged) {
			if v := dkimOf(t, ca, c.mail.raw); v.Err == nil {
				t.Error("the signature passes")
			}
		}},
		{"Ed25519", Config{DKIMEd25519: true}, func(t *testing.T, ca *CA, c *challenged) {
			if v := dkimOf(t, ca, c.mail.raw); v.Err != nil || !strings.Contains(header(t, c.mail.raw, "DKIM-Signature"), "ed25519-sha256") {
				t.Error(v.Err)
			}
		}},
		{"1024 bits, testing", Config{DKIMBits: 1024, DKIMTesting: true}, func(t *testing.T, ca *CA, c *challenged) {
			txt, err := resolver(ca).LookupTXT(t.Context(), "acme._domainkey."+defaultDomain+".")
			if err != nil || !strings.Contains(txt[0], "t=y") || len(txt[0]) > 300 {
				t.Errorf("%q, %v", txt, err)
			}
		}},
		{"parent domain", Config{ParentDomain: true}, func(t *testing.T, ca *CA, c *challenged) {
			if v := dkimOf(t, ca, c.mail.raw); v.Err != nil || v.Domain != parent {
				t.Errorf("d=%s, %v", v.Domain, v.Err)
			}
		}},
		{"present headers", Config{PresentHeaders: true}, func(t *testing.T, ca *CA, c *challenged) {
			if v := dkimOf(t, ca, c.mail.raw); v.Err != nil || containsFold(v.HeaderKeys, "Sender") || !containsFold(v.HeaderKeys, "Date") {
				t.Errorf("h=%v, %v", v.HeaderKeys, v.Err)
			}
		}},
		{"minimal headers", Config{MinimalHeaders: true, Sign: SignNone}, func(t *testing.T, ca *CA, c *challenged) {
			e, err := parseEntity(c.mail.raw)
			if err != nil || len(e.fields) != 3 {
				t.Errorf("%v, %v", e.fields, err)
			}
		}},
		{"name, shared From", Config{FromName: "Zertifikate für alle", SharedFrom: true}, func(t *testing.T, ca *CA, c *challenged) {
			if got := header(t, c.mail.raw, "From"); !strings.HasSuffix(got, " <acme-challenge@"+defaultDomain+">") {
				t.Errorf("From is %q", got)
			}
		}},
		{"edits", Config{
			EditMail:   func(m []byte) []byte { return append([]byte("X-Before: 1\r\n"), m...) },
			EditSigned: func(m []byte) []byte { return append([]byte("X-After: 1\r\n"), m...) },
		}, func(t *testing.T, ca *CA, c *challenged) {
			if v := dkimOf(t, ca, c.mail.raw); v.Err != nil || header(t, c.mail.raw, "X-Before")+header(t, c.mail.raw, "X-After") != "11" {
				t.Errorf("%q, %v", c.mail.raw, v.Err)
			}
		}},
		{"delay", Config{MailDelay: time.Millisecond}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			box := newMailbox(t)
			test.cfg.Relay = box.addr
			ca := start(t, test.cfg)
			c := challenge(t, ca, box, alice)
			if test.check != nil {
				test.check(t, ca, c)
			}
			// Whatever the mail looks like, a right answer is right.
			if got := c.outcome(c.reply()); got.Verdict != VerdictGood {
				t.Errorf("the reply is %s: %s", got.Verdict, got.Reason)
			}
		})
	}
}

func TestTriggers(t *testing.T) {
	for _, trigger := range []MailTrigger{MailOnOrder, MailOnAuthz, MailOnPost} {
		t.Run(string(trigger), func(t *testing.T) {
			box := newMailbox(t)
			ca := start(t, Config{Relay: box.addr, MailTrigger: trigger})
			c := newClient(t, ca)
			o := c.order(alice)
			wantMailed(t, ca, o, trigger == MailOnOrder)
			a := c.authz(o, 0)
			c.authz(o, 0) // a second read sends nothing more
			wantMailed(t, ca, o, trigger != MailOnPost)
			if trigger == MailOnPost {
				if ch := c.postChallenge(a); ch.Status != acme.StatusProcessing {
					t.Errorf("the challenge is %s", ch.Status)
				}
			}
			mustSend(t, ca, c.replyTo(box.next(t), a, JoinString))
			c.postChallenge(a)
			c.finish(o, newKey(t))
			box.none(t)
		})
	}
}

// wantMailed looks into the CA whether the challenge was mailed, as there is
// no moment at which a mail is certain not to come.
func wantMailed(t testing.TB, ca *CA, o acme.Order, want bool) {
	t.Helper()
	ca.mu.Lock()
	defer ca.mu.Unlock()
	id := o.Authorizations[0][strings.LastIndex(o.Authorizations[0], "/")+1:]
	if got := ca.authzs[id].mailed; got != want {
		t.Errorf("mailed: %v, want %v", got, want)
	}
}

func TestCopies(t *testing.T) {
	box := newMailbox(t)
	ca := start(t, Config{Relay: box.addr, MailCopies: 3})
	c := challenge(t, ca, box, alice)
	for range 2 {
		if m := box.next(t); !bytes.Equal(m.raw, c.mail.raw) {
			t.Error("the copies differ")
		}
	}
	waitEvents(t, ca, EventMailSent, 3)
	box.none(t)
}

func TestRetry(t *testing.T) {
	box := newMailbox(t)
	box.fail = []error{
		&smtp.SMTPError{Code: 451, Message: "later"},
		&smtp.SMTPError{Code: 421, Message: "later still"},
	}
	ca := start(t, Config{Relay: box.addr, MailRetry: time.Millisecond})
	challenge(t, ca, box, alice)
	waitEvents(t, ca, EventMailSent, 1)
	if n := ca.Counters().Events[EventMailRetry]; n != 2 {
		t.Errorf("%d retries", n)
	}
}

// A relay that is not there, or not known yet, is temporary.
func TestRetryConnection(t *testing.T) {
	box := newMailbox(t)
	const gone = "127.0.0.1:1"
	ca := start(t, Config{MailRetry: time.Millisecond})
	c := newClient(t, ca)
	c.authz(c.order(alice), 0)
	waitEvents(t, ca, EventMailRetry, 1)
	ca.SetRelay(gone)
	waitEvents(t, ca, EventMailRetry, ca.Counters().Events[EventMailRetry]+2)
	ca.SetRelay(box.addr)
	box.next(t)
}

func TestRelayRefuses(t *testing.T) {
	box := newMailbox(t)
	box.fail = []error{&smtp.SMTPError{Code: 554, Message: "no such user"}}
	reasons := make(chan string, 1)
	ca := start(t, Config{Relay: box.addr, OnEvent: func(e Event) {
		if e.Kind == EventMailFailed {
			reasons <- e.Reason
		}
	}})
	c := newClient(t, ca)
	c.authz(c.order(alice), 0)
	waitEvents(t, ca, EventMailFailed, 1)
	if r := <-reasons; !strings.Contains(r, "no such user") {
		t.Errorf("the reason is %q", r)
	}
	if n := ca.Counters().Events[EventMailRetry]; n != 0 {
		t.Errorf("%d retries", n)
	}
}

func TestIsTemporary(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		{&smtp.SMTPError{Code: 450}, true},
		{&smtp.SMTPError{Code: 550}, false},
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, true},
		{permanent{errors.New("x")}, false},
		{errors.New("x"), true},
	} {
		if got := isTemporary(test.err); got != test.want {
			t.Errorf("%v: temporary %v", test.err, got)
		}
	}
}

func TestDeliverHook(t *testing.T) {
	var tries atomic.Int32
	got := make(chan received, 1)
	ca := start(t, Config{MailRetry: time.Millisecond, Deliver: func(_ context.Context, from, to string, msg []byte) error {
		if tries.Add(1) == 1 {
			return errors.New("not yet")
		}
		got <- received{from: from, to: to, raw: msg}
		return nil
	}})
	c := newClient(t, ca)
	a := c.authz(c.order(alice), 0)
	m := <-got
	if m.to != alice || m.from != a.Challenges[0].From {
		t.Errorf("from %q to %q", m.from, m.to)
	}
}

// RFC 6531 addresses go out and come in.
func TestSMTPUTF8(t *testing.T) {
	box := newMailbox(t)
	ca := start(t, Config{Relay: box.addr, Strict: true})
	const addr = "jürgen@bücher.test"
	c := challenge(t, ca, box, addr)
	if !c.mail.utf8 || c.mail.to != addr {
		t.Errorf("to %q, SMTPUTF8 %v", c.mail.to, c.mail.utf8)
	}
	if v := dkimOf(t, ca, c.mail.raw); v.Err != nil {
		t.Error(v.Err)
	}
	r := c.reply()
	r.sign = signer(t, ca, "bücher.test", requiredInReply)
	if got := c.outcome(r); got.Verdict != VerdictGood {
		t.Errorf("%s: %s", got.Verdict, got.Reason)
	}
}

func TestSMIME(t *testing.T) {
	for _, form := range []Protection{ProtectRFC9788, ProtectRFC822} {
		t.Run(string(form), func(t *testing.T) {
			box := newMailbox(t)
			ca := start(t, Config{Relay: box.addr, Sign: SignSMIME, SMIMEForm: form})
			c := challenge(t, ca, box, alice)
			part, sig := signedParts(t, c.mail.raw)
			p7, err := pkcs7.Parse(sig)
			if err != nil {
				t.Fatal(err)
			}
			p7.Content = part
			roots := parsePEM(t, ca.SMIMERootPEM)
			if err := p7.Verify(); err != nil {
				t.Errorf("the signature does not verify: %v", err)
			}
			cert := p7.GetOnlySigner()
			if err := cert.CheckSignatureFrom(roots[0]); err != nil || !slices.Equal(cert.EmailAddresses, []string{c.authz.Challenges[0].From}) {
				t.Errorf("signed by %q, %v", cert.EmailAddresses, err)
			}
			checkProtected(t, form, c.mail.raw, part)
			p7.Content = append(part, ' ')
			if err := p7.Verify(); err == nil {
				t.Error("a changed part verifies")
			}
			if got := c.outcome(c.reply()); got.Verdict != VerdictGood {
				t.Errorf("the reply is %s: %s", got.Verdict, got.Reason)
			}
		})
	}
}

// signedParts cuts a multipart/signed message into the bytes signed and the
// signature.
func signedParts(t testing.TB, raw []byte) (part, sig []byte) {
	t.Helper()
	mt, params, err := mime.ParseMediaType(header(t, raw, "Content-Type"))
	if err != nil || mt != "multipart/signed" || params["micalg"] != "sha-256" {
		t.Fatalf("%s %v, %v", mt, params, err)
	}
	_, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	between := bytes.Split(body, []byte("--"+params["boundary"]+"\r\n"))
	part = bytes.TrimSuffix(between[1], []byte("\r\n"))
	r := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	var last *multipart.Part
	for range 2 {
		if last, err = r.NextPart(); err != nil {
			t.Fatal(err)
		}
	}
	var b64 bytes.Buffer
	if _, err := b64.ReadFrom(last); err != nil {
		t.Fatal(err)
	}
	sig, err = base64.StdEncoding.DecodeString(strings.ReplaceAll(b64.String(), "\r\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return part, sig
}

// checkProtected finds the header inside the signed part equal to the one
// outside.
func checkProtected(t testing.TB, form Protection, raw, part []byte) {
	t.Helper()
	inner := part
	if form == ProtectRFC822 {
		if ct := header(t, part, "Content-Type"); !strings.HasPrefix(ct, "message/rfc822") {
			t.Errorf("the part is %s", ct)
		}
		_, inner, _ = bytes.Cut(part, []byte("\r\n\r\n"))
	} else if ct := header(t, part, "Content-Type"); !strings.HasSuffix(ct, `; hp="clear"`) {
		t.Errorf("the part is %s", ct)
	}
	for _, name := range []string{"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"} {
		if in, out := header(t, inner, name), header(t, raw, name); in != out || in == "" {
			t.Errorf("%s is %q inside and %q outside", name, in, out)
		}
	}
}
