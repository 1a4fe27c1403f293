package challenge

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"postseal/internal/submit"
	"postseal/state"
)

// maxLookups bounds the look-ups for one message, whatever it contains.
const maxLookups = 8

// A goldenCase is one file of testdata/golden: a message, the world it arrives in
// and what is to come of it. The sections of a file are
//
//	readme        why the case exists
//	now           the time of receipt
//	msg           the message, lines to be ended with CRLF; or
//	msg.quoted    the message as Go strings, one a line, byte for byte
//	dns           NAME TXT "string"... (strings of one record are joined), or
//	              NAME servfail|refused|timeout|nxdomain
//	pending.json  the records of who waits
//	roots.pem     whom to trust with S/MIME; may be missing
//	result        verdict, part of the reason, look-ups; of a reply its To, Subject,
//	              In-Reply-To and digest
type goldenCase struct {
	readme, now string
	msg         []byte
	dns         map[string]answer
	pending     []*state.Pending
	roots       *x509.CertPool
	result      map[string]string
	lookups     int
	sent        []string
	envelopes   []submit.Envelope
}

// answer is what the DNS says about a name.
type answer struct {
	records []string
	fault   error
}

// faults are the errors of package resolve.
var faults = map[string]*net.DNSError{
	"servfail": {Err: "server misbehaving", IsTemporary: true},
	"refused":  {Err: "server misbehaving", IsTemporary: true},
	"timeout":  {Err: "i/o timeout", IsTimeout: true, IsTemporary: true},
	"nxdomain": {Err: "no such host", IsNotFound: true},
}

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil || len(files) < 170 {
		t.Fatalf("%d golden cases, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			g, err := parseGolden(data)
			if err != nil {
				t.Fatal(err)
			}
			g.check(t)
		})
	}
}

// check runs the case, and checks what all cases have in common.
func (g *goldenCase) check(t *testing.T) {
	r := g.responder(t)
	m := Message{Raw: g.msg}
	explained := r.Explain(context.Background(), m)
	g.lookups = 0
	out := r.Answer(context.Background(), m)
	if got, want := out.Verdict.String(), g.result["verdict"]; got != want {
		t.Fatalf("verdict %s (%s), want %s\nreadme: %s", got, out.Reason, want, g.readme)
	}
	if want := g.result["reason"]; !strings.Contains(out.Reason, want) {
		t.Errorf("reason %q, want one with %q", out.Reason, want)
	}
	if strings.ContainsAny(out.Reason, "\r\n\x00\x1b") {
		t.Errorf("reason %q is not a line for a log", out.Reason)
	}
	if want, _ := strconv.Atoi(g.result["lookups"]); g.lookups != want || g.lookups > maxLookups {
		t.Errorf("%d look-ups, want %d", g.lookups, want)
	}
	if explained.Verdict != out.Verdict {
		t.Errorf("explained as %v (%s), answered as %v", explained.Verdict, explained.Reason, out.Verdict)
	}
	checkExplained(t, explained)
	g.checkSent(t, out)
	again := r.Answer(context.Background(), m)
	if out.Verdict == Answered && (again.Verdict != Answered || len(g.sent) != 1) {
		t.Errorf("second delivery: %v (%s), %d replies", again.Verdict, again.Reason, len(g.sent))
	}
}

// checkExplained checks that a refused message has a failed check with the reason, that each
// check that was not made says why, and that no line has a gap.
func checkExplained(t *testing.T, out Outcome) {
	failed := false
	for _, c := range out.Checks {
		failed = failed || c.Result == Failed && c.Text == out.Reason
		if c.Result != Passed && strings.TrimSpace(c.Text) == "" || strings.HasPrefix(c.Text, " ") ||
			strings.Contains(c.Text, "by )") || strings.HasSuffix(c.Text, ": ") {
			t.Errorf("%s, result %d: %q", c.Name, c.Result, c.Text)
		}
	}
	if out.Verdict == Refused && !failed {
		t.Errorf("no check failed with %q: %+v", out.Reason, out.Checks)
	}
}

// checkSent checks that a reply exists if the case expects one, and that a reader with only
// the RFC finds all it needs in it.
func (g *goldenCase) checkSent(t *testing.T, out Outcome) {
	if out.Verdict != Answered {
		if len(g.sent) != 0 {
			t.Errorf("sent %q", g.sent)
		}
		return
	}
	if len(g.sent) != 1 {
		t.Fatalf("%d replies, want 1", len(g.sent))
	}
	got, err := readReply(g.sent[0])
	if err != nil {
		t.Fatalf("%v in %q", err, g.sent[0])
	}
	for name, value := range map[string]string{
		"from": got.from, "to": got.to, "subject": got.subject, "in-reply-to": got.inReplyTo, "digest": got.digest,
	} {
		if value != g.result[name] {
			t.Errorf("%s of the reply is %q, want %q", name, value, g.result[name])
		}
	}
	if want := (submit.Envelope{From: got.from, To: got.to}); g.envelopes[0] != want {
		t.Errorf("envelope %v, want %v", g.envelopes[0], want)
	}
}

func (g *goldenCase) responder(t testing.TB) *Responder {
	now, err := time.Parse(time.RFC3339, g.now)
	if err != nil {
		t.Fatal(err)
	}
	dir := state.Open(filepath.Join(t.TempDir(), "state"))
	if _, err := dir.Create(); err != nil {
		t.Fatal(err)
	}
	for _, p := range g.pending {
		if err := dir.Put(p); err != nil {
			t.Fatal(err)
		}
	}
	return &Responder{
		State: dir, LookupTXT: g.lookup, Send: g.send, TokenWait: time.Millisecond,
		Now:   func() time.Time { return now },
		Roots: func() (*x509.CertPool, error) { return g.roots, nil },
	}
}

// lookup behaves as Resolver does, without a network.
func (g *goldenCase) lookup(_ context.Context, name string) ([]string, error) {
	g.lookups++
	name, err := absolute(name)
	if err != nil {
		return nil, err
	}
	a, ok := g.dns[strings.ToLower(strings.TrimSuffix(name, "."))]
	if !ok {
		a.fault = faults["nxdomain"]
	}
	return a.records, a.fault
}

func (g *goldenCase) send(_ context.Context, env submit.Envelope, raw []byte, beforeDot func() error) error {
	g.envelopes, g.sent = append(g.envelopes, env), append(g.sent, string(raw))
	return beforeDot()
}

// parseGolden reads a file.
func parseGolden(data []byte) (*goldenCase, error) {
	g := &goldenCase{dns: map[string]answer{}, result: map[string]string{}}
	for _, f := range txtar.Parse(data).Files {
		if err := g.section(f.Name, f.Data); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return g, nil
}

func (g *goldenCase) section(name string, data []byte) (err error) {
	text := strings.TrimSpace(string(data))
	switch name {
	case "readme":
		g.readme = text
	case "now":
		g.now = text
	case "msg":
		g.msg = bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))
	case "msg.quoted":
		g.msg, err = unquoteLines(text)
	case "dns":
		err = g.readDNS(text)
	case "pending.json":
		err = json.Unmarshal(data, &g.pending)
	case "roots.pem":
		g.roots = x509.NewCertPool()
		if !g.roots.AppendCertsFromPEM(data) {
			err = fmt.Errorf("no certificate")
		}
	case "result":
		for _, line := range strings.Split(text, "\n") {
			key, value, _ := strings.Cut(line, ":")
			g.result[key] = strings.TrimPrefix(value, " ")
		}
	default:
		err = fmt.Errorf("unknown section")
	}
	return err
}

func unquoteLines(text string) ([]byte, error) {
	var all []byte
	for line := range strings.Lines(text) {
		s, err := strconv.Unquote(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, err
		}
		all = append(all, s...)
	}
	return all, nil
}

func (g *goldenCase) readDNS(text string) error {
	for _, line := range strings.Split(text, "\n") {
		name, rest, _ := strings.Cut(line, " ")
		if name == "" {
			continue
		}
		a := g.dns[name]
		if fault, ok := faults[rest]; ok {
			a.fault = fault
		} else {
			record, err := readTXT(rest)
			if err != nil {
				return err
			}
			a.records = append(a.records, record)
		}
		g.dns[name] = a
	}
	return nil
}

// readTXT joins the strings of one TXT record, as net.Resolver does.
func readTXT(s string) (record string, err error) {
	s, ok := strings.CutPrefix(s, "TXT ")
	for ok && s != "" {
		quoted, err := strconv.QuotedPrefix(s)
		if err != nil {
			return "", err
		}
		part, err := strconv.Unquote(quoted)
		if err != nil {
			return "", err
		}
		record += part
		s = strings.TrimPrefix(s[len(quoted):], " ")
	}
	if !ok {
		return "", fmt.Errorf("%q is not an answer", s)
	}
	return record, nil
}
