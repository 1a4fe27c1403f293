package issuer

import (
	"bytes"
	"context"
	"encoding/json"
	"net/mail"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postseal/internal/failure"
	"postseal/internal/testca"
)

// A person pastes the Subject, first a wrong one, sends the draft, presses Enter.
func TestInteractive(t *testing.T) {
	t.Parallel()
	subjects := make(chan string, 1)
	w := newWorld(t, testca.Config{})
	ca, err := testca.Start(t.Context(), testca.Config{
		Dir: t.TempDir(), Join: testca.JoinBytes, Part1Bytes: 17,
		Deliver: func(_ context.Context, _, _ string, msg []byte) error {
			m, err := mail.ReadMessage(bytes.NewReader(msg))
			if err == nil {
				subjects <- "Subject: " + m.Header.Get("Subject")
			}
			return err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ca.Close()
	var out bytes.Buffer
	asked := 0
	dir := t.TempDir()
	person := &Interactive{Out: &out, Dir: dir, Ask: func(_ context.Context, prompt string) (string, error) {
		asked++
		switch {
		case asked == 1:
			return "Re: ACME: nonsense", nil
		case strings.Contains(prompt, "Subject"):
			return <-subjects, nil
		}
		return "", sendDraft(ca.SMTPAddr, filepath.Join(dir, alice+"-reply.eml"))
	}}
	req := w.request(alice)
	req.Server, req.CABundle, req.TokenJoin, req.Interactive = ca.DirectoryURL, ca.RootFile, "bytes", person
	w.obtain(req)
	for _, want := range []string{"That is not a challenge's Subject", "-----BEGIN ACME RESPONSE-----\n", "mailto:acme-challenge"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, out.String())
		}
	}
	if left := w.entries("pending"); len(left) != 0 {
		t.Errorf("pending: %v", left)
	}
}

func sendDraft(server, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	m, err := mail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		return err
	}
	if m.Header.Get("X-Unsent") != "1" {
		return os.ErrInvalid
	}
	return smtp.SendMail(server, nil, m.Header.Get("From"), []string{m.Header.Get("To")}, data)
}

func TestInteractiveGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	req := w.request(alice)
	req.Interactive = &Interactive{Out: new(bytes.Buffer), Dir: t.TempDir(), Ask: func(context.Context, string) (string, error) {
		return "", failure.Failed("", "no answer: EOF")
	}}
	if _, err := w.issuer().Obtain(t.Context(), req); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("%v", err)
	}
	if len(w.entries("orders")) != 1 {
		t.Error("the order is gone")
	}
}

func TestParseSubject(t *testing.T) {
	const token = "V4nE8NhYh6edBpfQTg5qqQ"
	for line, want := range map[string]string{
		"ACME: " + token: token, "ACME:" + token: token, "  Subject: ACME: V4nE8NhYh6e dBpfQTg5qqQ ": token,
		"subject:ACME:\t" + token + "==": token + "==",
		"ACME: " + token[1:]:             "", "Re:ACME: " + token: "", "Subject: re: ACME: " + token: "",
		"Re: ACME: " + token: "", "acme: " + token: "", token: "", "ACME: short": "", "ACME: " + token + "!": "", "": "",
	} {
		got, err := parseSubject(line)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", line, got, err)
		}
	}
}

func TestDraftLink(t *testing.T) {
	d := draft{from: alice, to: "ca+x@ca.example", part1: "abc", digest: "xyz"}
	link := d.mailto()
	if strings.ContainsAny(link, " \r\n") || !strings.HasPrefix(link, "mailto:ca+x@ca.example?subject=Re:%20ACME:%20abc&body=-----BEGIN") {
		t.Error(link)
	}
	if data, err := json.Marshal(d.block()); err != nil || !strings.Contains(string(data), `\r\n`) {
		t.Error("bare line feeds")
	}
}
