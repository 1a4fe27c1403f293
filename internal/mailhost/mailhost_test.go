package mailhost

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-milter"
	"github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-smtp"

	"postseal/internal/challenge"
)

const letter = "From: alice@example.test\r\nTo:  bob@far.test\r\nSubject: one\r\n two\r\n\r\nhello\r\n"

// journal collects events.
type journal struct {
	mu     sync.Mutex
	events []Event
}

func (j *journal) add(e Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, e)
}

func (j *journal) kinds() (kinds []Kind) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

func start(t *testing.T, config Config) (*Host, *journal) {
	t.Helper()
	j := &journal{}
	config.OnEvent = j.add
	if config.Domain == "" {
		config.Domain = "example.test"
	}
	h, err := Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h, j
}

// dial opens an SMTP connection.
func dial(t *testing.T, addr string) *smtp.Client {
	t.Helper()
	c, err := smtp.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func submit(c *smtp.Client, from string, to []string, msg string) error {
	if err := c.Mail(from, &smtp.MailOptions{UTF8: true}); err != nil {
		return err
	}
	for _, rcpt := range to {
		if err := c.Rcpt(rcpt, nil); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, msg); err != nil {
		return err
	}
	return w.Close()
}

func code(err error) int {
	var e *smtp.SMTPError
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// filter is a milter whose steps are functions; those that are nil continue.
type filter struct {
	milter.NoOpMilter
	mail, rcpt func(string) (milter.Response, error)
	end        func(*milter.Modifier) (milter.Response, error)
	saw        func(name, value string)
	body       func([]byte)
}

func (f *filter) MailFrom(from string, _ *milter.Modifier) (milter.Response, error) {
	if f.mail == nil {
		return milter.RespContinue, nil
	}
	return f.mail(from)
}

func (f *filter) RcptTo(to string, _ *milter.Modifier) (milter.Response, error) {
	if f.rcpt == nil {
		return milter.RespContinue, nil
	}
	return f.rcpt(to)
}

func (f *filter) Header(name, value string, _ *milter.Modifier) (milter.Response, error) {
	if f.saw != nil {
		f.saw(name, value)
	}
	return milter.RespContinue, nil
}

func (f *filter) BodyChunk(chunk []byte, _ *milter.Modifier) (milter.Response, error) {
	if f.body != nil {
		f.body(slices.Clone(chunk))
	}
	return milter.RespContinue, nil
}

func (f *filter) Body(m *milter.Modifier) (milter.Response, error) {
	if f.end == nil {
		return milter.RespContinue, nil
	}
	return f.end(m)
}

// serveMilter starts a milter and returns its address.
func serveMilter(t *testing.T, f *filter, steps milter.OptProtocol) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "milter")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &milter.Server{
		NewMilter: func() milter.Milter { return f },
		Actions:   milter.OptAddHeader,
		Protocol:  steps,
	}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return "unix:" + socket
}

func TestDelivery(t *testing.T) {
	h, j := start(t, Config{})
	c := dial(t, h.Addr)
	for _, to := range []string{"Bob@Example.TEST", "jürgen@example.test"} {
		if err := submit(c, "ca@far.test", []string{to}, letter); err != nil {
			t.Fatal(err)
		}
		mail := h.Mailbox(strings.ToLower(to))
		if len(mail) != 1 || !bytes.HasSuffix(mail[0], []byte("\r\n"+letter)) || !bytes.HasPrefix(mail[0], []byte("Return-Path: <ca@far.test>\r\n")) {
			t.Errorf("mailbox of %s: %q", to, mail)
		}
	}
	if got := j.kinds(); !slices.Equal(got, []Kind{Accepted, Delivered, Accepted, Delivered}) {
		t.Errorf("events %q", got)
	}
	if got := j.events[1]; got.Subject != "one two" || got.To != "Bob@Example.TEST" {
		t.Errorf("event %+v", got)
	}
	if err := submit(c, "ca@far.test", []string{"bob@far.test"}, letter); code(err) != 550 {
		t.Errorf("another domain without a relay: %v", err)
	}
}

func TestVerdicts(t *testing.T) {
	for _, test := range []struct {
		name     string
		response milter.Response
		code     int // 0: the client is told 250
		mail     int // messages delivered
		event    Kind
	}{
		{"continue", milter.RespContinue, 0, 1, Accepted},
		{"accept", milter.RespAccept, 0, 1, Accepted},
		{"discard", milter.RespDiscard, 0, 0, Discarded},
		{"tempfail", milter.RespTempFail, 451, 0, Refused},
		{"reject", milter.RespReject, 550, 0, Refused},
		{"reply code", milter.NewResponseStr('y', "452 4.3.1 full"), 452, 0, Refused},
		{"nonsense", milter.NewResponseStr('Z', ""), 0, 1, Unasked},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer := func(*milter.Modifier) (milter.Response, error) { return test.response, nil }
			h, j := start(t, Config{Milter: serveMilter(t, &filter{end: answer}, 0)})
			c := dial(t, h.Addr)
			for n := 1; n <= 2; n++ { // the second one on the same connection
				if err := submit(c, "ca@far.test", []string{"bob@example.test"}, letter); code(err) != test.code {
					t.Fatalf("message %d: %v, want %d", n, err, test.code)
				}
				if got := len(h.Mailbox("bob@example.test")); got != n*test.mail {
					t.Errorf("message %d: %d in the mailbox", n, got)
				}
			}
			if got := j.kinds(); got[0] != test.event || !slices.Contains(got[1:], test.event) {
				t.Errorf("events %q", got)
			}
		})
	}
}

func TestEarlyVerdicts(t *testing.T) {
	asked := 0
	f := &filter{
		mail: func(from string) (milter.Response, error) {
			switch from {
			case "spam@far.test":
				return milter.RespReject, nil
			case "friend@far.test":
				return milter.RespAccept, nil
			}
			return milter.RespContinue, nil
		},
		rcpt: func(to string) (milter.Response, error) {
			if to == "nobody@example.test" {
				return milter.RespReject, nil
			}
			return milter.RespContinue, nil
		},
		end: func(*milter.Modifier) (milter.Response, error) { asked++; return milter.RespContinue, nil },
	}
	h, _ := start(t, Config{Milter: serveMilter(t, f, 0)})
	c := dial(t, h.Addr)
	if err := submit(c, "spam@far.test", []string{"bob@example.test"}, letter); code(err) != 550 {
		t.Errorf("MAIL refused: %v", err)
	}
	if err := submit(c, "friend@far.test", []string{"nobody@example.test"}, letter); err != nil || asked != 0 {
		t.Errorf("accepted at MAIL: %v, asked %d times about more", err, asked)
	}
	if err := submit(c, "x@far.test", []string{"bob@example.test", "nobody@example.test"}, letter); code(err) != 550 {
		t.Errorf("RCPT refused: %v", err)
	}
	// The recipient that was taken still stands.
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, letter)
	if err := w.Close(); err != nil || asked != 1 || len(h.Mailbox("bob@example.test")) != 1 {
		t.Errorf("the other recipient: %v, asked %d times", err, asked)
	}
}

// TestForm checks what a milter sees of a message, with and without the option
// that keeps the space behind the colon.
func TestForm(t *testing.T) {
	long := strings.Repeat("0123456789abcde\r\n", 10000)
	for _, test := range []struct {
		name  string
		steps milter.OptProtocol
		want  []string
	}{
		{"plain", 0, []string{"From|alice@example.test", "To| bob@far.test", "Subject|one\n two"}},
		{"space", milter.OptHeaderLeadingSpace, []string{"From| alice@example.test", "To|  bob@far.test", "Subject| one\n two"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var saw []string
			var body bytes.Buffer
			f := &filter{
				saw:  func(name, value string) { saw = append(saw, name+"|"+value) },
				body: func(chunk []byte) { body.Write(chunk) },
				end: func(m *milter.Modifier) (milter.Response, error) {
					return milter.RespAccept, m.AddHeader("X-Seen", "yes")
				},
			}
			h, _ := start(t, Config{Milter: serveMilter(t, f, test.steps)})
			if err := submit(dial(t, h.Addr), "ca@far.test", []string{"bob@example.test"}, letter+long); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(saw, test.want) {
				t.Errorf("header %q, want %q", saw, test.want)
			}
			if body.String() != "hello\r\n"+long {
				t.Errorf("a body of %d bytes, want %d", body.Len(), len(long)+7)
			}
			if mail := h.Mailbox("bob@example.test")[0]; !bytes.Contains(mail, []byte("\r\nX-Seen: yes\r\n")) {
				t.Errorf("no added field in %.300q", mail)
			}
		})
	}
}

// TestNoMilter: a milter that is not there or breaks off lets mail pass.
func TestNoMilter(t *testing.T) {
	broken := func(*milter.Modifier) (milter.Response, error) { return nil, errors.New("broken") }
	for name, addr := range map[string]string{
		"missing":   "unix:" + filepath.Join(t.TempDir(), "none"),
		"breaks":    serveMilter(t, &filter{end: broken}, 0),
		"no milter": "inet:" + portOfNobody(t) + "@127.0.0.1",
	} {
		h, j := start(t, Config{Milter: addr})
		if err := submit(dial(t, h.Addr), "ca@far.test", []string{"bob@example.test"}, letter); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := j.kinds(); !slices.Equal(got, []Kind{Unasked, Delivered}) {
			t.Errorf("%s: events %q", name, got)
		}
	}
}

func portOfNobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func TestRelay(t *testing.T) {
	far, _ := start(t, Config{Domain: "far.test"})
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	h, j := start(t, Config{Relay: far.Addr, DKIMKey: crypto.Signer(private), Selector: "s1"})
	c := dial(t, h.Addr)
	if err := submit(c, "alice@example.test", []string{"bob@far.test", "carol@example.test"}, letter); err != nil {
		t.Fatal(err)
	}
	if got := j.kinds(); !slices.Equal(got, []Kind{Accepted, Relayed, Delivered}) || !j.events[1].Signed {
		t.Errorf("events %q", got)
	}
	_, signed, _ := bytes.Cut(far.Mailbox("bob@far.test")[0], []byte("ESMTP; "))
	_, signed, _ = bytes.Cut(signed, []byte("\r\n"))
	checkSignature(t, signed, public)

	// A From that is not ours is not signed.
	other := strings.Replace(letter, "alice@example.test", "eve@far.test", 1)
	if err := submit(c, "alice@example.test", []string{"bob@far.test"}, other); err != nil {
		t.Fatal(err)
	}
	if mail := far.Mailbox("bob@far.test")[1]; bytes.Contains(mail, []byte("DKIM-Signature")) {
		t.Errorf("signed for another domain: %q", mail)
	}
}

func checkSignature(t *testing.T, msg []byte, public ed25519.PublicKey) {
	t.Helper()
	verifications, err := dkim.VerifyWithOptions(bytes.NewReader(msg), &dkim.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) {
			if name != "s1._domainkey.example.test" {
				return nil, errors.New("no such name: " + name)
			}
			return []string{"v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)}, nil
		},
	})
	if err != nil || len(verifications) != 1 || verifications[0].Err != nil {
		t.Fatalf("verifications %+v, %v", verifications, err)
	}
	if got := verifications[0].HeaderKeys; !slices.EqualFunc(got, challenge.ReplyFields, strings.EqualFold) {
		t.Errorf("h=%q", got)
	}
}

// TestRelayRefuses: the client hears the relay's words, or 451 if there are none.
func TestRelayRefuses(t *testing.T) {
	answer := milter.Response(milter.RespReject)
	f := &filter{end: func(*milter.Modifier) (milter.Response, error) { return answer, nil }}
	far, _ := start(t, Config{Domain: "far.test", Milter: serveMilter(t, f, 0)})
	h, j := start(t, Config{Relay: far.Addr})
	c := dial(t, h.Addr)
	send := func() error { return submit(c, "alice@example.test", []string{"bob@far.test"}, letter) }
	if err := send(); code(err) != 550 {
		t.Errorf("refused by the relay: %v", err)
	}
	answer = milter.RespTempFail
	if err := send(); code(err) != 451 {
		t.Errorf("put off by the relay: %v", err)
	}
	if got := j.kinds(); !slices.Equal(got, []Kind{Accepted, Returned, Accepted, Returned}) {
		t.Errorf("events %q", got)
	}
	gone, _ := start(t, Config{Relay: "127.0.0.1:" + portOfNobody(t)})
	if err := submit(dial(t, gone.Addr), "alice@example.test", []string{"bob@far.test"}, letter); code(err) != 451 {
		t.Errorf("no relay there: %v", err)
	}
}

func TestConfig(t *testing.T) {
	for name, config := range map[string]Config{
		"no domain":    {},
		"milter":       {Domain: "example.test", Milter: "/run/milter"},
		"not loopback": {Domain: "example.test", Listen: "0.0.0.0:0"},
		"no address":   {Domain: "example.test", Listen: "nonsense"},
	} {
		if h, err := Start(config); err == nil {
			h.Close()
			t.Errorf("%s: started", name)
		}
	}
}

// TestClose: connections that are open do not keep the host from ending.
func TestClose(t *testing.T) {
	f := &filter{}
	h, err := Start(Config{Domain: "example.test", Milter: serveMilter(t, f, 0)})
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, h.Addr)
	if err := c.Mail("ca@far.test", nil); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil { // returns though the peer has said no QUIT
		t.Error(err)
	}
	if err := c.Noop(); err == nil {
		t.Error("the connection is still served")
	}
}

func TestParse(t *testing.T) {
	for _, test := range []struct{ msg, fields, body string }{
		{"A: b\r\n\r\nbody\r\n", "A| b", "body\r\n"},
		{"A:b\r\nC: d\r\n\te\r\n\r\n", "A|b,C| d\r\n\te", ""},
		{"A: b\r\nno field\r\nbody", "A| b", "no field\r\nbody"},
		{" fold\r\n", "", " fold\r\n"},
		{"A: b", "A| b", ""},
		{"", "", ""},
	} {
		fields, body := parse([]byte(test.msg))
		var got []string
		for _, f := range fields {
			got = append(got, f.name+"|"+f.value)
		}
		if s := strings.Join(got, ","); s != test.fields || string(body) != test.body {
			t.Errorf("%q: fields %q, body %q", test.msg, s, body)
		}
	}
}
