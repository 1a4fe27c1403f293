package pipe

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"postseal/internal/challenge"
	"postseal/state"
)

const (
	ordinary = "From: bob@example.test\nTo: alice@example.test\nSubject: lunch\n\nAt noon?\n"
	acme     = "From: ca@ca.example\nTo: alice@example.test\nSubject: ACME: V4nE8NhYh6edBpfQTg5qqQ\n\nA challenge.\n"
)

// run hands a message to a pipe whose responder knows of no order.
func run(t *testing.T, mode Mode, mail string) (challenge.Outcome, string) {
	t.Helper()
	dir := state.Open(t.TempDir() + "/state")
	if _, err := dir.Create(); err != nil {
		t.Fatal(err)
	}
	p := Pipe{Mode: mode, Responder: func() (*challenge.Responder, error) {
		return &challenge.Responder{State: dir}, nil
	}}
	var stdout bytes.Buffer
	out, err := p.Run(context.Background(), strings.NewReader(mail), &stdout)
	if err != nil {
		t.Fatal(err)
	}
	return out, stdout.String()
}

// Ordinary mail costs nothing, and is read to its end: a mail server whose write fails takes
// that for a failed delivery.
func TestOrdinaryMailSetsNothingUp(t *testing.T) {
	r := strings.NewReader(ordinary + strings.Repeat("x", 5<<20))
	p := Pipe{Responder: func() (*challenge.Responder, error) {
		t.Error("the responder was set up")
		return nil, nil
	}}
	out, err := p.Run(context.Background(), r, io.Discard)
	if err != nil || out.Verdict != challenge.None || out.Concerns() {
		t.Errorf("got %+v, %v", out, err)
	}
	if r.Len() != 0 {
		t.Errorf("%d bytes were not read", r.Len())
	}
}

func TestNothingOnStdout(t *testing.T) {
	for _, mail := range []string{ordinary, acme, "", "From bob Mon"} {
		for _, mode := range []Mode{Reply, Print} {
			if _, stdout := run(t, mode, mail); stdout != "" {
				t.Errorf("mode %d wrote %q for %q", mode, stdout, mail)
			}
		}
	}
}

// A filter must write the message and our field, and nothing else.
func TestPassthrough(t *testing.T) {
	const none = "Postseal-Status: none; the Subject is not that of a challenge"
	const nobody = "Postseal-Status: none; nobody waits for a challenge to this address"
	huge := strings.Repeat("a", 70<<10)
	for _, c := range []struct{ name, mail, want string }{
		{"LF", ordinary, none + "\n" + ordinary},
		{"CRLF", crlf(ordinary), none + "\r\n" + crlf(ordinary)},
		{"a challenge nobody waits for", acme, nobody + "\n" + acme},
		{"below an mbox line", "From bob Mon\n" + ordinary, "From bob Mon\n" + none + "\n" + ordinary},
		{"a forged status", "Postseal-Status: answered\n" + ordinary, none + "\n" + ordinary},
		{
			"a forged status, folded and in odd case",
			"From: a\npostseal-STATUS : answered;\n\tyes\n really\nTo: b\n\nPostseal-Status: kept\n",
			none + "\nFrom: a\nTo: b\n\nPostseal-Status: kept\n",
		},
		{"a field that only starts alike", "Postseal-Statuses: 1\n\n", none + "\nPostseal-Statuses: 1\n\n"},
		{"a forged status behind 64 KiB", "A: " + huge + "\nPostseal-Status: answered\n\nhi\n", none + "\nA: " + huge + "\n\nhi\n"},
		{"a status in a body of CRLF", crlf("From: a\n\nPostseal-Status: kept\n"), none + "\r\n" + crlf("From: a\n\nPostseal-Status: kept\n")},
		{"no line end", "Subject: x", none + "\nSubject: x"},
		{"no body", "Subject: x\n", none + "\nSubject: x\n"},
		{"no final line end", "Subject: x\n\nbye", none + "\nSubject: x\n\nbye"},
		{"8-bit and NUL", "Subject: \xff\x00\n\n\x00\xfe\n", none + "\nSubject: \xff\x00\n\n\x00\xfe\n"},
		{"empty", "", none + "\n"},
		{"a large body", ordinary + huge + huge, none + "\n" + ordinary + huge + huge},
		{
			"a challenge of 2 MiB", acme + strings.Repeat("a", 2<<20),
			nobody + "\n" + acme + strings.Repeat("a", 2<<20),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, got := run(t, Passthrough, c.mail); got != c.want {
				t.Errorf("got  %.300q\nwant %.300q", got, c.want)
			}
		})
	}
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// What was not decided has no status of its own, and says why.
func TestStatus(t *testing.T) {
	for want, out := range map[string]challenge.Outcome{
		"none; no answer": {Verdict: challenge.Later, Reason: "no answer"}, "refused; unsigned": {Verdict: challenge.Refused, Reason: "unsigned"},
		"answered": {Verdict: challenge.Answered}, "none": {},
	} {
		if got := status(out); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Even after an error: a filter that writes no message loses it.
func TestPassthroughSurvivesFailure(t *testing.T) {
	p := Pipe{Mode: Passthrough, Responder: func() (*challenge.Responder, error) {
		return nil, errors.New("the key file is unreadable")
	}}
	var stdout bytes.Buffer
	_, err := p.Run(context.Background(), strings.NewReader(acme), &stdout)
	if err == nil {
		t.Error("no error")
	}
	if want := "Postseal-Status: none; the key file is unreadable\n" + acme; stdout.String() != want {
		t.Errorf("got %q, want %q", stdout.String(), want)
	}
}

func TestReadErrorIsNoVerdict(t *testing.T) {
	for _, part := range []string{"Subject: x\n", ordinary, acme} {
		broken := io.MultiReader(strings.NewReader(part), brokenReader{})
		p := Pipe{Responder: func() (*challenge.Responder, error) {
			t.Error("the responder was set up")
			return nil, errors.New("no")
		}}
		if _, err := p.Run(context.Background(), broken, io.Discard); err == nil || !strings.Contains(err.Error(), "cannot read the message") {
			t.Errorf("%q was taken for a whole message: %v", part, err)
		}
	}
}

// Who cannot write has to say so, or a filter loses the message.
func TestWriteError(t *testing.T) {
	dir := state.Open(t.TempDir() + "/state")
	if _, err := dir.Create(); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[Mode]string{Passthrough: "cannot write the message: no space", Print: "no space", Explain: "no space"} {
		p := Pipe{Mode: mode, Responder: func() (*challenge.Responder, error) { return &challenge.Responder{State: dir}, nil }}
		if _, err := p.Run(context.Background(), strings.NewReader(acme), brokenWriter{}); err == nil || err.Error() != want {
			t.Errorf("mode %d: %v, want %q", mode, err, want)
		}
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space") }

// A message of the largest size is read whole, and one byte more is noticed.
func TestLargestMessage(t *testing.T) {
	for more, want := range []string{"ok    size", "FAIL  size"} {
		if _, got := run(t, Explain, acme+strings.Repeat("x", challenge.MaxMessage-len(acme)+more)); !strings.Contains(got, want) {
			t.Errorf("%d more: %s", more, got)
		}
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("input/output error") }

// The pipe cuts the line of an mbox file off the top of stdin, once. A line that looks like
// it but is a From in obsolete syntax counts, and anywhere else it is not a field.
func TestMboxLine(t *testing.T) {
	const line = "From eve@evil.example Mon Jun  1 12:00:00 2026\n"
	for _, c := range []struct{ mail, want string }{
		{line + acme, "ok    header fields\n"},
		{crlf(line + acme), "ok    header fields\n"},
		{line + line + acme, `FAIL  header fields   the header has a line that is not a field: "From eve`},
		{"X: y\n" + line + acme, `FAIL  header fields   the header has a line that is not a field: "From eve`},
		{line + "From : eve@evil.example\n" + acme, "FAIL  header fields   the header has 2 From fields\n"},
		{"From : eve@evil.example\n" + acme, "FAIL  header fields   the header has 2 From fields\n"},
		{"From \t: eve@evil.example\n" + acme, "FAIL  header fields   the header has 2 From fields\n"},
	} {
		if _, got := run(t, Explain, c.mail); !strings.Contains(got, c.want) {
			t.Errorf("%q is not said of %q:\n%s", c.want, c.mail, got)
		}
	}
}

func TestExplainUnsigned(t *testing.T) {
	_, got := run(t, Explain, acme)
	for _, want := range []string{
		"ok    To              alice@example.test\n",
		"ok    token-part1     V4nE8NhYh6edBpfQTg5qqQ\n",
		"FAIL  signature       the message is not signed\n",
		"verdict: none; nobody waits for a challenge to this address\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
}
