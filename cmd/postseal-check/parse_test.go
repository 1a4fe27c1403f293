package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"postseal/internal/challenge"

	"postseal/internal/check"
)

func TestParseMilters(t *testing.T) {
	for list, want := range map[string][]milterConf{
		"":                                      nil,
		"unix:a/b":                              {{"unix:a/b", ""}},
		"inet:localhost:8891, unix:a/b":         {{"inet:localhost:8891", ""}, {"unix:a/b", ""}},
		"{unix:a/b, default_action=accept}":     {{"unix:a/b", "accept"}},
		"{ unix:a/b default_action=quarantine}": {{"unix:a/b", "quarantine"}},
		"inet:[::1]:1 , { unix:a/b,connect_timeout=2s, default_action=accept } {unix:c}": {{"inet:[::1]:1", ""}, {"unix:a/b", "accept"}, {"unix:c", ""}},
		"{ unix:a/b": {{"unix:a/b", ""}},
	} {
		if got := parseMilters(list); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, want %+v", list, got, want)
		}
	}
}

func TestMilterAddr(t *testing.T) {
	for s, want := range map[string]string{
		"unix:/a/b":           "unix /a/b",
		"inet:8894@127.0.0.1": "tcp 127.0.0.1:8894",
		"inet:8894@::1":       "tcp [::1]:8894",
		"inet:localhost:8894": "tcp localhost:8894",
		"inet:8894":           "error",
		"unix:":               "error",
		"/a/b":                "error",
	} {
		network, addr, err := parseMilterAddr(s)
		got := network + " " + addr
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %s (%v), want %s", s, got, err, want)
		}
	}
}

func TestServices(t *testing.T) {
	got := parseServices([]string{
		"smtp       inet  n       -       y       -       -       smtpd",
		"submission inet  n       -       n       -       -       smtpd -o smtpd_milters=inet:localhost:8891 -o x=y",
		"465        inet  n       -       -       -       -       smtpd -o smtpd_milters=",
		"pickup     unix  n       -       y       60      1       pickup", "", "broken",
	})
	want := []smtpService{{"smtp", true, ""}, {"submission", false, "inet:localhost:8891"}, {"465", false, "-"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

// A sample passes its own checks.
func TestSample(t *testing.T) {
	id, text := challenge.Sample("alice@example.test", "ca@ca.test", time.Now())
	if !strings.Contains(string(text), "Message-ID: "+id+"\r\n") {
		t.Errorf("no %s in\n%s", id, text)
	}
	m, err := parseReceived(text)
	if err != nil {
		t.Fatal(err)
	}
	r := new(report)
	judgeHeader(r, m)
	judgeBody(r, m)
	if len(r.found) != 1 || r.found[0].Status != check.OK {
		t.Errorf("%+v\n%s", r.found, text)
	}
}

// An mbox file counts from its end, or from its start once it was emptied, and only when the
// message in it is whole.
func TestMbox(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mbox")
	write := func(text string, flag int) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|flag, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	message := func(id string) string { return "From x Thu Jan  1 00:00:00 2026\nMessage-ID: " + id + "\n\nbody\n\n" }
	write(message("<old>"), os.O_APPEND)
	box, err := openMailbox(path)
	if err != nil {
		t.Fatal(err)
	}
	write(message("<other>")+strings.TrimSuffix(message("<new>"), "\n"), os.O_APPEND)
	if got := box.look([]byte("<old>")); got != nil {
		t.Errorf("an old message: %q", got)
	}
	if got := box.look([]byte("<new>")); got != nil {
		t.Errorf("half a message: %q", got)
	}
	arrived := make(chan []byte)
	go func() {
		msg, _ := box.wait(t.Context(), "<new>")
		arrived <- msg
	}()
	write("\n", os.O_APPEND)
	if got := string(<-arrived); got != "Message-ID: <new>\n\nbody\n\n" && got != "Message-ID: <new>\n\nbody" {
		t.Errorf("%q", got)
	}
	write("From x\n<again>\n\n", os.O_TRUNC)
	if box.look([]byte("<again>")) == nil {
		t.Error("a file that was emptied is not read")
	}
}

func TestClock(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 10, 0, time.UTC)
	for _, c := range []struct{ before, after, want time.Duration }{
		{0, 0, 0},
		{500 * time.Millisecond, time.Second, 0}, // a date has no fractions
		{-time.Second, time.Second, 0},           // in between
		{time.Minute, time.Minute, time.Minute},
		{-time.Minute, -time.Minute, -time.Minute},
	} {
		if got := off(at.Add(c.before), at.Add(c.after), at); got != c.want {
			t.Errorf("%v to %v: %v, want %v", c.before, c.after, got, c.want)
		}
	}
}

func TestIssuer(t *testing.T) {
	for value, want := range map[string]string{
		"ca.example": "ca.example|", " CA.example ; account=1 ": "ca.example|account=1", ";": "|", "": "|", " ; x=y": "|x=y",
	} {
		if domain, parameters := (caa{value: value}).issuer(); domain+"|"+parameters != want {
			t.Errorf("%q: %q %q", value, domain, parameters)
		}
	}
}

// Servers that are silent, break off, or speak another protocol do not pass for a milter.
func TestTalk(t *testing.T) {
	for _, c := range []struct{ says, want string }{
		{"", "it closed the connection"},
		{"220 mail ESMTP\r\n", "does not speak the milter protocol"},
		{"\x00\x00\x00\x01c", "does not speak the milter protocol: milter: negotiate: unexpected code"},
		{"\x00\x00\x00\x0dO\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00", "unsupported milter version"},
		{"\x00\x00\x00\x0dO\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x30\x00\x00\x00\x00\x01p\x00\x00\x00\x01t", "answers an ordinary message with 't'"},
		{"\x00\x00\x00\x0dO\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00\x07", "speaks version 6 and looks at mail"},
	} {
		ours, theirs := net.Pipe()
		go func() {
			io.ReadFull(theirs, make([]byte, 17)) // the offer
			if c.says == "" {
				theirs.Close()
				return
			}
			go io.Copy(io.Discard, theirs)
			theirs.Write([]byte(c.says))
		}()
		r := new(report)
		talk(r, ours, "x")
		if len(r.found) != 1 || !strings.Contains(r.found[0].Text, c.want) {
			t.Errorf("%q: %+v, want %q", c.says, r.found, c.want)
		}
		ours.Close()
	}
}

func FuzzMilters(f *testing.F) {
	f.Add("{ unix:a/b, default_action=accept }, inet:localhost:1")
	f.Fuzz(func(t *testing.T, list string) {
		for _, m := range parseMilters(list) {
			if strings.ContainsAny(m.addr, " ,\t") {
				t.Errorf("%q: %q", list, m.addr)
			}
		}
		parseServices([]string{list})
	})
}

func FuzzReceived(f *testing.F) {
	_, text := challenge.Sample("alice@example.test", "ca@ca.test", time.Now())
	f.Add(text)
	f.Add([]byte("From x\nFrom: a@b\nDKIM-Signature: d=b; s=x; h=From:\n To; l=3\nSubject:\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseReceived(data)
		if err != nil {
			return
		}
		r := new(report)
		judgeHeader(r, m)
		judgeBody(r, m)
		if len(r.found) == 0 {
			t.Error("no judgement")
		}
	})
}

func FuzzCAA(f *testing.F) {
	f.Add([]byte("\x00\x09issuemailca.example"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if record, err := parseCAA(data); err == nil {
			record.issuer()
			if record.tag == "" {
				t.Errorf("%q has no tag", data)
			}
		}
	})
}

func FuzzMilterAnswer(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x0dO\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := new(report)
		talk(r, &canned{Reader: bytes.NewReader(data)}, "x")
		if len(r.found) != 1 {
			t.Error(fmt.Sprint(r.found))
		}
	})
}

// canned is a connection whose input is complete.
type canned struct {
	net.Conn
	*bytes.Reader
}

func (c *canned) Read(p []byte) (int, error)     { return c.Reader.Read(p) }
func (c *canned) Write(p []byte) (int, error)    { return len(p), nil }
func (*canned) Close() error                     { return nil }
func (*canned) SetReadDeadline(time.Time) error  { return nil }
func (*canned) SetWriteDeadline(time.Time) error { return nil }
