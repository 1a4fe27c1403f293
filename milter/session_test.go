package milter

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	"postseal/internal/challenge"
	"postseal/state"
)

const acme = "Subject: ACME: V4nE8NhYh6edBpfQTg5qqQ"

// offers are those of mail servers of all ages.
var offers = []struct {
	name    string
	version uint32
	steps   milter.OptProtocol
}{
	{"v6", 6, allSteps},
	{"v6, replies to everything", 6, allSteps &^ noReplies},
	{"v6, no leading space", 6, allSteps &^ milter.OptHeaderLeadingSpace},
	{"v6, nothing", 6, 0},
	{"v2", 2, v2Steps},
	{"v2, nothing", 2, 0},
	{"v9 of some day", 9, 0x7fffffff},
}

// everywhere runs a test with each offer over unix, TCP, and without the loop.
func everywhere(t *testing.T, config func() Config, test func(t *testing.T, p *peer)) {
	for _, network := range []string{"unix", "tcp", goroutines} {
		for _, o := range offers {
			t.Run(network+"/"+o.name, func(t *testing.T) {
				_, addr := serve(t, network, config())
				test(t, connect(t, addr, o.version, o.steps))
			})
		}
	}
}

func TestNothingPending(t *testing.T) {
	config := testConfig()
	config.Pending = func() (bool, error) { return false, nil }
	everywhere(t, func() Config { return config }, func(_ *testing.T, p *peer) {
		for range 3 {
			p.mail()
			p.expect(milter.ActAccept)
		}
	})
}

func TestOrdinaryMail(t *testing.T) {
	everywhere(t, testConfig, func(_ *testing.T, p *peer) {
		for range 3 {
			p.ordinaryMail()
		}
	})
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		verdict challenge.Verdict
		action  Action
		want    milter.ActionCode
		text    string
	}{
		{challenge.None, Discard, milter.ActAccept, ""},
		{challenge.Refused, Discard, milter.ActAccept, ""},
		{challenge.Later, Accept, milter.ActReplyCode, "451 4.7.1 cannot verify the challenge now, try again later\x00"},
		{challenge.Answered, Accept, milter.ActAccept, ""},
		{challenge.Answered, Discard, milter.ActDiscard, ""},
	} {
		t.Run(fmt.Sprint(c.verdict, c.action), func(t *testing.T) {
			a := &answers{outcome: challenge.Outcome{Verdict: c.verdict}}
			config := testConfig()
			config.Answer, config.OnAnswered = a.answer, c.action
			everywhere(t, func() Config { return config }, func(t *testing.T, p *peer) {
				for range 2 {
					p.challengeMail()
					if text := p.expect(c.want); text != c.text {
						t.Errorf("reply text %q, want %q", text, c.text)
					}
				}
				p.ordinaryMail()
			})
			if got, want := len(a.all()), 3*2*len(offers); got != want {
				t.Errorf("asked %d times, want %d", got, want)
			}
		})
	}
}

// Answer receives exactly the signed message, and nothing of another.
func TestMessage(t *testing.T) {
	a := new(answers)
	config := testConfig()
	config.Answer = a.answer
	_, addr := serve(t, "unix", config)
	p := connect(t, addr, 6, allSteps)

	p.mail()
	p.expect(milter.ActContinue)
	p.rcpt("gone@example.test")
	p.header("X-Gone: yes", acme)
	p.send(milter.CodeAbort, "")

	p.mail()
	p.expect(milter.ActContinue)
	p.rcpt("alice@example.test")
	p.rcpt("Bob@example.test")
	p.header("DKIM-Signature: a=b;\n\tc=d;\n e=f", "from:  \t<ca@example.net>  ", "SUBJECT:ACME:\n V4nE8N", "X-Empty:", "X-CRLF: a\r\n b", "X-Last: 1")
	p.send(milter.CodeEOH, "")
	p.expect(milter.ActContinue)
	p.body("one\r\n", "", "two\r\n")
	p.send(milter.CodeMacro, "Ei\x004XyZ\x00")
	p.send(milter.CodeEOB, "three")
	p.expect(milter.ActAccept)

	want := challenge.Message{
		Raw: []byte("DKIM-Signature: a=b;\r\n\tc=d;\r\n e=f\r\nfrom:  \t<ca@example.net>  \r\nSUBJECT:ACME:\r\n V4nE8N\r\n" +
			"X-Empty:\r\nX-CRLF: a\r\n b\r\nX-Last: 1\r\n\r\none\r\ntwo\r\nthree"),
	}
	if got := a.all(); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("got %d messages, the first\n%q\nwant\n%q", len(got), got[0].Raw, want.Raw)
	}
}

// Any of several Subjects makes a message a candidate: the core decides which of them counts.
func TestSeveralSubjects(t *testing.T) {
	_, addr := serve(t, "unix", testConfig())
	p := connect(t, addr, 6, allSteps)
	for _, fields := range [][]string{{acme, "Subject: lunch"}, {"Subject: lunch", acme}, {strings.Replace(acme, ":", " \t:", 1)}} {
		p.toBody(fields...)
		p.send(milter.CodeEOB, "")
		p.expect(milter.ActAccept)
	}
}

// RFC 8823, Section 3.1, item 1 and the label rule of the verdict none.
func TestNotSubjects(t *testing.T) {
	config := testConfig()
	config.Answer = func(context.Context, challenge.Message) challenge.Outcome {
		t.Error("asked")
		return challenge.Outcome{}
	}
	_, addr := serve(t, "unix", config)
	p := connect(t, addr, 6, allSteps)
	for _, field := range []string{"Subject: Re: " + acme, "Subject: acme: x", "X-Subject: ACME: x", "Subjects: ACME: x", "Subject:"} {
		p.mail()
		p.expect(milter.ActContinue)
		p.header(field)
		p.send(milter.CodeEOH, "")
		p.expect(milter.ActAccept)
	}
}

// A header beyond the bounds does not count, and no more of it is kept.
func TestHeaderBounds(t *testing.T) {
	many := make([]string, challenge.MaxFields)
	for i := range many {
		many[i] = "X: y"
	}
	for name, fields := range map[string][]string{
		"fields":         append(many, acme),
		"one long field": {acme, "X: " + strings.Repeat("x", challenge.MaxHeader)},
		"longer still":   {acme, "X: " + strings.Repeat("x", 1<<20-10)},
		"in all":         {acme, "X: " + strings.Repeat("x", 40<<10), "Y: " + strings.Repeat("y", 40<<10)},
	} {
		t.Run(name, func(t *testing.T) {
			s, addr := serve(t, "unix", testConfig())
			for _, o := range offers {
				p := connect(t, addr, o.version, o.steps)
				p.mail()
				p.expect(milter.ActContinue)
				p.rcpt("alice@example.test")
				p.header(fields...)
				p.send(milter.CodeEOH, "")
				p.expect(milter.ActAccept)
				p.challengeMail()
				p.expect(milter.ActAccept)
			}
			if n := s.Stats().Decided.Load(); n != uint64(len(offers)) {
				t.Errorf("%d messages were decided on, want only the %d small ones", n, len(offers))
			}
		})
	}
}

// The largest header that the core looks at reaches it.
func TestLargestHeader(t *testing.T) {
	config := testConfig()
	config.Answer = func(_ context.Context, m challenge.Message) challenge.Outcome {
		if !challenge.Candidate(m.Raw[:len(m.Raw)-len("body")]) {
			t.Errorf("%d bytes are too many", len(m.Raw))
		}
		return challenge.Outcome{}
	}
	s, addr := serve(t, "unix", config)
	p := connect(t, addr, 6, allSteps)
	many := []string{acme}
	for len(many) < challenge.MaxFields {
		many = append(many, "X: y")
	}
	rest := challenge.MaxHeader - len(acme+"\r\n"+"X: \r\n"+"Y: \r\n"+"\r\n")
	for _, fields := range [][]string{many, {acme, "X: " + strings.Repeat("x", rest/2), "Y: " + strings.Repeat("y", rest-rest/2)}} {
		p.toBody(fields...)
		p.send(milter.CodeEOB, "body")
		p.expect(milter.ActAccept)
	}
	if n := s.Stats().Decided.Load(); n != 2 {
		t.Errorf("%d messages were decided on, want 2", n)
	}
}

func TestLongFields(t *testing.T) {
	a := new(answers)
	config := testConfig()
	config.Answer = a.answer
	_, addr := serve(t, "unix", config)
	p := connect(t, addr, 6, allSteps)
	long := "X: " + strings.Repeat("x", 30<<10)
	p.toBody(long, acme)
	p.send(milter.CodeEOB, "")
	p.expect(milter.ActAccept)
	if got, want := string(a.all()[0].Raw), long+"\r\n"+acme+"\r\n\r\n"; got != want {
		t.Errorf("got %d bytes, want %d", len(got), len(want))
	}
}

func TestLargeMessage(t *testing.T) {
	chunk := strings.Repeat("x", milter.MaxBodyChunk)
	for _, c := range []struct {
		chunks    int
		rest      int // bytes after them
		truncated bool
	}{
		{15, 0, false}, {17, 0, true}, {40, 0, true},
		{15, challenge.MaxMessage - 15*len(chunk) - len(acme+"\r\n\r\n"), false},
		{15, challenge.MaxMessage - 15*len(chunk) - len(acme+"\r\n\r\n") + 1, true},
	} {
		a := new(answers)
		config := testConfig()
		config.Answer = a.answer
		_, addr := serve(t, "unix", config)
		p := connect(t, addr, 6, allSteps)
		p.toBody(acme)
		for range c.chunks {
			p.body(chunk)
		}
		p.body(chunk[:c.rest/2]) // a packet has at most 64 KiB
		p.send(milter.CodeEOB, chunk[:c.rest-c.rest/2])
		p.expect(milter.ActAccept)
		m := a.all()[0]
		if m.Truncated != c.truncated || len(m.Raw) > challenge.MaxMessage {
			t.Errorf("%d chunks: truncated %v, %d bytes", c.chunks, m.Truncated, len(m.Raw))
		}
		p.challengeMail()
		p.expect(milter.ActAccept)
		if next := a.all()[1]; next.Truncated {
			t.Errorf("%d chunks: the next message counts as truncated", c.chunks)
		}
	}
}

func TestAbortedAndNewConnection(t *testing.T) {
	a := new(answers)
	config := testConfig()
	config.Answer = a.answer
	_, addr := serve(t, "unix", config)
	p := connect(t, addr, 6, allSteps)
	for _, code := range []milter.Code{milter.CodeAbort, milter.CodeQuitNewConn} {
		p.toBody(acme)
		p.body("of the first message")
		p.send(code, "")
		p.ordinaryMail()
	}
	p.toBody(acme)
	p.ordinaryMail() // without an end of the message before it
	if n := len(a.all()); n != 0 {
		t.Errorf("%d messages were decided on, want none", n)
	}
	p.send(milter.CodeQuit, "")
	p.closed()
}

// The same offer may come again after QUIT_NC.
func TestNegotiateTwice(t *testing.T) {
	_, addr := serve(t, "unix", testConfig())
	p := connect(t, addr, 6, allSteps)
	p.ordinaryMail()
	p.send(milter.CodeQuitNewConn, "")
	p.negotiate(2, 0)
	p.ordinaryMail()
}

// Commands out of order do not change the decision.
func TestQuirkyOrder(t *testing.T) {
	a := new(answers)
	config := testConfig()
	config.Answer = a.answer
	_, addr := serve(t, "unix", config)
	p := connect(t, addr, 2, 0)
	p.send(milter.CodeAbort, "")
	p.step(milter.CodeConn, "", 0)
	p.step(milter.CodeConn, "host\x004\x00\x19127.0.0.1\x00", 0)
	p.step(milter.CodeHelo, "host\x00", 0)
	p.step(milter.CodeData, "", 0)
	p.step('U', "EXPN\x00", 0)
	p.rcpt("early@example.test")
	p.header(acme)
	p.body("early")
	p.send(milter.CodeEOH, "")
	p.expect(milter.ActAccept)
	p.send(milter.CodeEOB, "")
	p.expect(milter.ActAccept)
	p.challengeMail()
	p.expect(milter.ActAccept)
	p.send(milter.CodeEOB, "")
	p.expect(milter.ActAccept)
	p.mail()
	p.expect(milter.ActContinue)
	p.header(acme)
	p.send(milter.CodeEOB, "") // without the end of its header
	p.expect(milter.ActAccept)
	if got := a.all(); len(got) != 1 || strings.Contains(string(got[0].Raw), "early") {
		t.Errorf("decided on %d messages: %q", len(got), got[0].Raw)
	}
}

// The first MAIL after a record was written sees it.
func TestPendingRace(t *testing.T) {
	dir := state.Open(t.TempDir())
	if _, err := dir.Create(); err != nil {
		t.Fatal(err)
	}
	index := dir.Index()
	defer index.Close()
	config := testConfig()
	config.Pending = index.Any
	s, addr := serve(t, "unix", config)
	p := connect(t, addr, 6, allSteps)
	record := state.Pending{ID: "1", Email: "alice@example.test", Server: "https://ca.example.net/dir", Thumbprint: "x"}
	const rounds = 200
	for range rounds {
		p.mail()
		p.expect(milter.ActAccept)
		if err := dir.Put(&record); err != nil {
			t.Fatal(err)
		}
		p.challengeMail()
		p.expect(milter.ActAccept)
		if err := dir.Remove(record.Email, record.Server, ""); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Stats().Decided.Load(); n != rounds {
		t.Errorf("%d of %d challenges were seen", n, rounds)
	}
}

func TestPendingUnknown(t *testing.T) {
	config := testConfig()
	config.Pending = func() (bool, error) { return false, errors.New("no such directory") }
	s, addr := serve(t, "unix", config)
	p := connect(t, addr, 6, allSteps)
	p.challengeMail()
	p.expect(milter.ActAccept)
	if s.Stats().Decided.Load() != 1 || s.Stats().PendingErrors.Load() != 1 {
		t.Error("the challenge was not looked at")
	}
}

// By default a decision ends before Postfix does without it (milter_content_timeout), and a
// connection lives longer than Postfix keeps one.
func TestDefaultTimes(t *testing.T) {
	c := Config{}.withDefaults()
	if c.AnswerTimeout > 25*time.Second || c.IdleTimeout < 6*time.Minute || c.DrainTimeout < c.AnswerTimeout {
		t.Errorf("%+v", c)
	}
}

// The counters are what an admin sees of ordinary mail.
func TestStats(t *testing.T) {
	var nobody atomic.Bool
	config := testConfig()
	config.Pending = func() (bool, error) { return !nobody.Load(), nil }
	s, addr := serve(t, "unix", config)
	p := connect(t, addr, 6, allSteps)
	p.ordinaryMail()
	p.ordinaryMail()
	p.challengeMail()
	p.expect(milter.ActAccept)
	nobody.Store(true)
	for range 3 {
		p.mail()
		p.expect(milter.ActAccept)
	}
	x := s.Stats()
	got := []uint64{x.Messages.Load(), x.AcceptedAtHeader.Load(), x.Decided.Load(), x.AcceptedAtMail.Load(), x.BrokenConnections.Load()}
	if want := []uint64{6, 2, 1, 3, 0}; !slices.Equal(got, want) {
		t.Errorf("%d, want %d", got, want)
	}
}

// A message that an order waits for has one line in the log, with its own queue id; any other
// has none.
func TestLogLine(t *testing.T) {
	log := new(logged)
	outcomes := []challenge.Outcome{
		{Verdict: challenge.Refused, Email: "alice@example.test", Reason: "unsigned"},
		{Verdict: challenge.Later, Email: "alice@example.test"},
		{Verdict: challenge.Answered, Email: "alice@example.test"},
		{Reason: "nobody waits"},
	}
	config := testConfig()
	config.Logger = log.logger()
	config.Answer = func(context.Context, challenge.Message) (next challenge.Outcome) {
		next, outcomes = outcomes[0], outcomes[1:]
		return next
	}
	_, addr := serve(t, "unix", config)
	p := connect(t, addr, 6, allSteps)
	for _, macros := range []string{"Ei\x004XyZ\x00", "E{i}\x005XyZ\x00", "", "Ei\x006XyZ\x00"} {
		p.toBody(acme)
		if macros != "" {
			p.send(milter.CodeMacro, macros)
		}
		p.send(milter.CodeEOB, "")
		p.reply()
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	want := []string{
		`level=WARN msg="challenge refused" verdict=refused address=alice@example.test reason=unsigned queue=4XyZ`,
		`level=WARN msg="challenge later" verdict=later address=alice@example.test queue=5XyZ`,
		`level=INFO msg="challenge answered" verdict=answered address=alice@example.test`,
	}
	if len(lines) != len(want) {
		t.Fatalf("%q", lines)
	}
	for i := range want {
		if !strings.HasSuffix(lines[i], want[i]) {
			t.Errorf("%s, want %s", lines[i], want[i])
		}
	}
}

// A panic ends one connection.
func TestPanic(t *testing.T) {
	config := testConfig()
	config.Answer = func(context.Context, challenge.Message) challenge.Outcome { panic("test") }
	_, addr := serve(t, "unix", config)
	p := connect(t, addr, 6, allSteps)
	p.challengeMail()
	p.closed()
	connect(t, addr, 6, allSteps).ordinaryMail()
}
