package milter

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-milter"
	"github.com/emersion/go-msgauth/dkim"

	"postseal/internal/challenge"
)

// clientSession opens a session of go-milter's own client.
func clientSession(t *testing.T, network, addr string, steps milter.OptProtocol) *milter.ClientSession {
	t.Helper()
	s, err := milter.NewClientWithOptions(network, addr, milter.ClientOptions{
		ReadTimeout: patience, WriteTimeout: patience, ProtocolMask: steps,
	}).Session()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// One message after the other, as another mail server sends them.
func TestClient(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		for _, steps := range []milter.OptProtocol{allSteps, v2Steps, 0} {
			t.Run(fmt.Sprintf("%s/%#x", network, uint32(steps)), func(t *testing.T) {
				_, addr := serve(t, network, testConfig())
				s := clientSession(t, network, addr.String(), steps)
				wantAction(t, milter.ActContinue)(s.Conn("mx.example.net", milter.FamilyInet, 25, "192.0.2.1"))
				wantAction(t, milter.ActContinue)(s.Helo("mx.example.net"))
				for range 3 {
					sendClient(t, s, "Subject: lunch\r\n\r\n", milter.ActAccept)
					sendClient(t, s, acme+"\r\n\r\n", milter.ActContinue)
					_, act, err := s.BodyReadFrom(strings.NewReader("hello\r\n"))
					wantAction(t, milter.ActAccept)(act, err)
				}
			})
		}
	}
}

func wantAction(t *testing.T, want milter.ActionCode) func(*milter.Action, error) {
	t.Helper()
	return func(act *milter.Action, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if act.Code != want {
			t.Fatalf("action %q, want %q", byte(act.Code), byte(want))
		}
	}
}

// sendClient sends a message up to the end of its header, and expects that action.
func sendClient(t *testing.T, s *milter.ClientSession, header string, want milter.ActionCode) {
	t.Helper()
	if err := s.Macros(milter.CodeMail, "i", "4XyZ", "{mail_addr}", "ca@example.net"); err != nil {
		t.Fatal(err)
	}
	wantAction(t, milter.ActContinue)(s.Mail("ca@example.net", []string{"SIZE=100"}))
	wantAction(t, milter.ActContinue)(s.Rcpt("alice@example.test", nil))
	for _, line := range strings.Split(strings.TrimSuffix(header, "\r\n\r\n"), "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		wantAction(t, milter.ActContinue)(s.HeaderField(name, value))
	}
	wantAction(t, want)(s.HeaderEnd())
}

// A signature with simple canonicalisation (RFC 6376, Section 3.4.1) covers every space: it
// must survive the protocol.
func TestSimpleSignature(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	mail := "From:   CA\t<ca@example.net>  \r\nto:alice@example.test\r\nSubject: ACME:\r\n\t V4nE8NhYh6edBpfQTg5qqQ \r\n" +
		"X-Odd :  a \r\n \r\n  b\r\n\r\nline one \r\n\r\n\tline two\r\n"
	var signed bytes.Buffer
	err = dkim.Sign(&signed, strings.NewReader(mail), &dkim.SignOptions{
		Domain: "example.net", Selector: "s", Signer: private,
		HeaderCanonicalization: dkim.CanonicalizationSimple, BodyCanonicalization: dkim.CanonicalizationSimple,
		HeaderKeys: []string{"From", "To", "Subject", "X-Odd"},
	})
	if err != nil {
		t.Fatal(err)
	}
	a := new(answers)
	config := testConfig()
	config.Answer = a.answer
	_, addr := serve(t, "unix", config)
	p := connect(t, addr, 6, allSteps)
	header, body, _ := strings.Cut(signed.String(), "\r\n\r\n")
	p.toBody(fieldsOf(header)...)
	p.body(body)
	p.send(milter.CodeEOB, "")
	p.expect(milter.ActAccept)

	got := a.all()[0].Raw
	if !bytes.Equal(got, signed.Bytes()) {
		t.Errorf("got\n%q\nwant\n%q", got, signed.Bytes())
	}
	verifications, err := dkim.VerifyWithOptions(bytes.NewReader(got), &dkim.VerifyOptions{
		LookupTXT: func(string) ([]string, error) {
			return []string{"v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)}, nil
		},
	})
	if err != nil || len(verifications) != 1 || verifications[0].Err != nil {
		t.Errorf("verification: %v %+v", err, verifications)
	}
}

// fieldsOf splits a header block into fields with LF within, as mail servers hand
// them over.
func fieldsOf(header string) []string {
	header = strings.ReplaceAll(header, "\r\n", "\n")
	var fields []string
	for _, line := range strings.SplitAfter(header, "\n") {
		if line != "" && strings.ContainsAny(line[:1], " \t") {
			fields[len(fields)-1] += line
			continue
		}
		fields = append(fields, line)
	}
	for i := range fields {
		fields[i] = strings.TrimSuffix(fields[i], "\n")
	}
	return fields
}

// The core reads the milter's message as it was sent.
func TestCoreReadsIt(t *testing.T) {
	a := new(answers)
	config := testConfig()
	config.Answer = a.answer
	_, addr := serve(t, "unix", config)
	for _, o := range offers {
		p := connect(t, addr, o.version, o.steps)
		p.challengeMail()
		p.expect(milter.ActAccept)
	}
	for _, m := range a.all() {
		h, err := textproto.ReadHeader(bufio.NewReader(bytes.NewReader(m.Raw)))
		if err != nil || !challenge.IsChallenge(h.Get("Subject")) || h.Len() != 2 {
			t.Errorf("%q: %v", m.Raw, err)
		}
	}
}

// A decision may take time, but not for ever.
func TestAnswerTimeout(t *testing.T) {
	config := testConfig()
	config.AnswerTimeout = time.Millisecond
	config.Answer = func(ctx context.Context, _ challenge.Message) challenge.Outcome {
		<-ctx.Done()
		return challenge.Outcome{Verdict: challenge.Later}
	}
	_, addr := serve(t, "unix", config)
	p := connect(t, addr, 6, allSteps)
	p.challengeMail()
	p.expect(milter.ActReplyCode)
}
