package submit

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// talk is an SMTP server that answers by a table: it finds the longest key, in capitals, with
// which a line starts; "AUTH" steps continue with the lines themselves. An answer may have
// several lines. It keeps all that it received.
type talk struct {
	answers map[string]string
	got     chan []string
}

func startTalk(t *testing.T, network, addr string, answers map[string]string) (*talk, string) {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &talk{answers: answers, got: make(chan []string, 1)}
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		s.got <- s.speak(conn, "")
	}()
	return s, l.Addr().String()
}

// speak answers a line of the client; "" stands for the greeting.
func (s *talk) speak(conn net.Conn, line string) (got []string) {
	r := bufio.NewReader(conn)
	defaults := map[string]string{"": "220 hi", "EHLO": "250 hi", "LHLO": "250 hi", "HELO": "250 hi", "MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go on", ".": "250 ok", "QUIT": "221 bye"}
	for {
		say, best := "500 what?", -1
		for _, table := range []map[string]string{defaults, s.answers} {
			for key, answer := range table {
				if len(key) >= best && (key == "" && line == "" || key != "" && strings.HasPrefix(strings.ToUpper(line), strings.ToUpper(key))) {
					say, best = answer, len(key)
				}
			}
		}
		fmt.Fprint(conn, strings.ReplaceAll(say, "\n", "\r\n")+"\r\n")
		if line == "QUIT" || say[:3] == "421" {
			return got
		}
		for {
			next, err := r.ReadString('\n')
			if err != nil {
				return got
			}
			line = strings.TrimSuffix(next, "\r\n")
			if !strings.HasPrefix(say, "354") || line == "." {
				break
			}
		}
		got = append(got, line)
	}
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// converse sends a message by a table, and returns the error and the client's lines.
func converse(t *testing.T, user string, answers map[string]string) (said string, err error) {
	t.Helper()
	s, addr := startTalk(t, "tcp", "127.0.0.1:0", answers)
	server, err := ParseServer("smtp://" + user + addr)
	if err != nil {
		t.Fatal(err)
	}
	server.Password = "open sesame"
	server.Name = func() string { return "mx1.example.org" }
	err = server.Send(context.Background(), Envelope{alice, caFrom}, []byte("Subject: x\r\n\r\nhi\r\n"), func() error { return nil })
	return strings.Join(<-s.got, "\n"), err
}

// All the freedom that RFC 4954 and RFC 5321 leave a server in offering and accepting a
// login.
func TestLogin(t *testing.T) {
	name, password, plain := b64("alice"), b64("open sesame"), b64("\x00alice\x00open sesame")
	asks := map[string]string{name: "334 " + b64("Password:"), password: "235 2.7.0 ok"}
	for what, c := range map[string]struct {
		answers map[string]string
		said    string // by us
		err     string
	}{
		"PLAIN at once":                 {map[string]string{"EHLO": "250-hi\n250 AUTH PLAIN", "AUTH PLAIN " + plain: "235 ok"}, "AUTH PLAIN " + plain, ""},
		"PLAIN, asked for":              {map[string]string{"EHLO": "250-hi\n250 AUTH PLAIN", "AUTH PLAIN": "334 ", "AUTH PLAIN ": "501 5.5.4 no", plain: "235 ok"}, "AUTH PLAIN\n" + plain, ""},
		"PLAIN, asked for in spite":     {map[string]string{"EHLO": "250-hi\n250 AUTH PLAIN", "AUTH PLAIN": "334", plain: "235 ok"}, plain, ""},
		"LOGIN, asked for":              {map[string]string{"EHLO": "250-hi\n250 AUTH LOGIN", "AUTH LOGIN": "334 " + b64("Username:")}, "AUTH LOGIN\n" + name + "\n" + password, ""},
		"LOGIN, odd prompts":            {map[string]string{"EHLO": "250-hi\n250 AUTH LOGIN", "AUTH LOGIN": "334 Username:", name: "334"}, name + "\n" + password, ""},
		"LOGIN at once alone":           {map[string]string{"EHLO": "250-hi\n250 AUTH LOGIN", "AUTH LOGIN": "501 5.5.4 no", "AUTH LOGIN " + name: "334 " + b64("Password:")}, "AUTH LOGIN " + name + "\n" + password, ""},
		"LOGIN at once alone, else 500": {map[string]string{"EHLO": "250-hi\n250 AUTH LOGIN", "AUTH LOGIN": "500 what?", "AUTH LOGIN " + name: "334 " + b64("Password:")}, "AUTH LOGIN " + name + "\n" + password, ""},
		"LOGIN, in small":               {map[string]string{"EHLO": "250-hi\n250 auth login", "AUTH LOGIN": "334 " + b64("user")}, name + "\n" + password, ""},
		"AUTH=LOGIN":                    {map[string]string{"EHLO": "250-hi\n250 AUTH=LOGIN", "AUTH LOGIN": "334 " + b64("User Name\x00")}, name + "\n" + password, ""},
		"both forms, tabs":              {map[string]string{"EHLO": "250-hi\n250-AUTH=CRAM-MD5 \t NTLM\n250-SIZE\n250-Auth\tcram-md5   Plain\n250 X", "AUTH PLAIN " + plain: "235 ok"}, "AUTH PLAIN", ""},
		"PLAIN is named, and unknown":   {map[string]string{"EHLO": "250-hi\n250 AUTH PLAIN LOGIN", "AUTH PLAIN": "504 5.5.4 no", "AUTH LOGIN": "334 " + b64("Username:")}, name + "\n" + password, ""},
		"XOAUTH2 alone":                 {map[string]string{"EHLO": "250-hi\n250 AUTH XOAUTH2 OAUTHBEARER"}, "", "OAUTHBEARER, XOAUTH2, and not with PLAIN or LOGIN"},
		"CRAM-MD5 alone":                {map[string]string{"EHLO": "250-hi\n250 AUTH CRAM-MD5"}, "", "CRAM-MD5, and not with PLAIN or LOGIN"},
		"no login":                      {map[string]string{"EHLO": "250-hi\n250 AUTHORITY"}, "", "offers no login"},
		"a wrong password":              {map[string]string{"EHLO": "250-hi\n250 AUTH PLAIN", "AUTH": "535-5.7.8 wrong\n535 5.7.8 really"}, "", "look at the user in --smtp and at the password: 535 5.7.8 wrong really"},
		"a wrong password, tried once":  {map[string]string{"EHLO": "250-hi\n250 AUTH PLAIN LOGIN", "AUTH PLAIN": "535 no", "AUTH LOGIN": "334 " + b64("Username:")}, "", "535 no"},
		"a wrong password at LOGIN":     {map[string]string{"EHLO": "250-hi\n250 AUTH LOGIN", "AUTH LOGIN": "334 " + b64("Username:"), password: "535 no"}, "", "535 no"},
		"only over TLS":                 {map[string]string{"EHLO": "250-hi\n250 AUTH PLAIN", "AUTH": "538 5.7.11 TLS first"}, "", "538"},
		"asks without end":              {map[string]string{"EHLO": "250-hi\n250 AUTH PLAIN", "AUTH": "334 x", plain: "334 x"}, "*", "asks for more"},
		"asks without end, with LOGIN":  {map[string]string{"EHLO": "250-hi\n250 AUTH LOGIN", "AUTH": "334 x", name: "334 x", password: "334 x"}, "*", "asks for more"},
	} {
		t.Run(what, func(t *testing.T) {
			answers := map[string]string{}
			for _, table := range []map[string]string{asks, c.answers} {
				for key, answer := range table {
					answers[key] = answer
				}
			}
			said, err := converse(t, "alice@", answers)
			if !strings.Contains(said, c.said) {
				t.Errorf("%q was not said in\n%s", c.said, said)
			}
			failed := new(Error)
			if c.err == "" && err != nil || c.err != "" && (!errors.As(err, &failed) || failed.Class != Later || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%v, want later, %q", err, c.err)
			}
			if taken := strings.Contains(said, "RCPT"); taken != (c.err == "") {
				t.Errorf("sent: %v", taken)
			}
		})
	}
}

// A command has at most 512 bytes; a longer answer waits for its prompt.
func TestLoginLong(t *testing.T) {
	user := strings.Repeat("a", 400)
	said, err := converse(t, user+"@", map[string]string{"EHLO": "250-hi\n250 AUTH PLAIN", "AUTH PLAIN": "334 ", b64("\x00" + user + "\x00open sesame"): "235 ok"})
	if err != nil || !strings.Contains(said, "AUTH PLAIN\n") {
		t.Errorf("%v\n%s", err, said)
	}
}

// A refusal that concerns us is later, with what to change; one that concerns the message is
// final.
func TestVerdict(t *testing.T) {
	for answer, want := range map[string]struct {
		class  Class
		advice string
	}{
		"|554 no":           {Later, "turns this host away"},
		"|521 no mail here": {Later, "turns this host away"},
		"|421 busy":         {Later, "421 busy"},
		"EHLO|504 5.5.2 <mx1>: Helo command rejected: need fully-qualified hostname": {Later, "set helo"},
		"EHLO|550 bad name": {Later, "set helo"},
		"RCPT|504 5.5.2 <mx1>: Helo command rejected: need fully-qualified hostname":          {Later, "set helo"},
		"RCPT|550 Access denied - Invalid HELO name (See RFC2821 4.1.1.1)":                    {Later, "set helo"},
		"RCPT|554 5.7.1 <x[192.0.2.1]>: Client host rejected: Access denied":                  {Later, "does not take mail from this host"},
		"RCPT|554 5.7.1 <ca@ca.test>: Relay access denied":                                    {Failed, "554 5.7.1"},
		"RCPT|550 5.1.1 <ca@ca.test>: Recipient address rejected: User unknown":               {Failed, "550 5.1.1"},
		"RCPT|504 5.5.2 <ca@ca>: Recipient address rejected: need fully-qualified address":    {Failed, "504"},
		"MAIL|534 5.7.9 mechanism is too weak":                                                {Later, "wants a login"},
		"MAIL|553 5.7.1 not owned by user bob":                                                {Failed, "553"},
		"RCPT|550 Must issue a STARTTLS command first":                                        {Later, "wants a login or TLS"},
		"MAIL|530 5.7.0 Authentication required":                                              {Later, "wants a login"},
		"MAIL|530 5.7.0 Must issue a STARTTLS command first":                                  {Later, "wants a login or TLS"},
		"MAIL|550 5.7.1 authentication required":                                              {Later, "wants a login"},
		"MAIL|550 5.7.60 not authorised":                                                      {Later, "let it"},
		"MAIL|553 5.7.1 <alice@example.test>: Sender address rejected: not owned by user bob": {Failed, "553"},
		"MAIL|554 5.7.1 <alice@example.test>: Sender address rejected: Access denied":         {Failed, "554"},
		"MAIL|550 5.1.0 no such sender":                                                       {Failed, "550"},
		"RCPT|550 5.1.1 <helo@ca.test>: unknown in virtual mailbox table":                     {Failed, "550 5.1.1"},
		"RCPT|550 5.1.1 helo@ehlo.ca.test... User unknown":                                    {Failed, "550 5.1.1"},
		"MAIL|503 5.5.1 bad sequence":                                                         {Later, "MAIL"},
		"MAIL|550":                                                                            {Failed, "550"},
		"DATA|554 5.5.1 no valid recipients":                                                  {Failed, "554"},
		".|550 5.7.1 authentication required":                                                 {Failed, "550"},
		".|550-5.7.26 not signed\n550 5.7.26 see https://ca.test":                             {Failed, "550 5.7.26 not signed see https"},
		".|354 go on":           {Unknown, "354"},
		".|250-ok\n999 x":       {Unknown, "999"},
		".|451 4.3.0 later":     {Later, "451"},
		"RCPT|251 will forward": {},
		"EHLO|502 no EHLO":      {},
		"EHLO|500 no EHLO":      {},
		".|250":                 {},
		"|220-hi\n220-ho\n220":  {},
	} {
		step, says, _ := strings.Cut(answer, "|")
		said, err := converse(t, "", map[string]string{step: says})
		failed := new(Error)
		switch {
		case want.advice == "" && (err != nil || !strings.HasSuffix(said, "\nQUIT")):
			t.Errorf("%s: %v\n%s", answer, err, said)
		case want.advice != "" && (!errors.As(err, &failed) || failed.Class != want.class || !strings.Contains(err.Error(), want.advice)):
			t.Errorf("%s: %v (%+v), want class %d, %q", answer, err, failed, want.class, want.advice)
		}
	}
}

// The relevant keywords count in any case, order and form.
func TestKeywords(t *testing.T) {
	for _, ehlo := range []string{"250-hi\n250 STARTTLS", "250-hi\n250-x\n250-StartTls\n250 size 10", "250-hi\n250 starttls\t", "250-hi\n250-8bitmime\n250-starttls x\n250"} {
		said, err := converse(t, "", map[string]string{"EHLO": ehlo, "STARTTLS": "454 4.7.0 not now"})
		if err != nil || !strings.Contains(said, "STARTTLS\nMAIL") {
			t.Errorf("%q: %v\n%s", ehlo, err, said)
		}
		if strings.Contains(ehlo, "8bit") && !strings.Contains(said, "BODY=8BITMIME") {
			t.Errorf("%q: 8BITMIME is not seen", ehlo)
		}
		_, addr := startTalk(t, "tcp", "127.0.0.1:0", map[string]string{"EHLO": ehlo, "STARTTLS": "554 no"})
		server, err := ParseServer("smtp+starttls://" + addr)
		if err != nil {
			t.Fatal(err)
		}
		err = server.Send(context.Background(), Envelope{alice, caFrom}, nil, func() error { return nil })
		if failed := new(Error); !errors.As(err, &failed) || failed.Class != Later || !strings.Contains(err.Error(), "TLS settings") {
			t.Errorf("%q: %v", ehlo, err)
		}
	}
}

// Keywords count in any case within TLS, too, where no connection of ours could correct them.
func TestKeywordsWithinTLS(t *testing.T) {
	conf, root := certificate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &talk{answers: map[string]string{"EHLO": "250-hi\n250-8bitmime\n250-auth\tlogin plain\n250 smtputf8", "AUTH PLAIN " + b64("\x00alice\x00open sesame"): "235 ok"}}
	got := make(chan []string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		recite(keepOpen{conn}, []string{"220 hi", "250-hi\r\n250-size\r\n250 starttls", "220 go"})
		secured := tls.Server(conn, conf)
		hello, _ := bufio.NewReader(secured).ReadString('\n')
		got <- s.speak(secured, strings.TrimSpace(hello))
	}()
	_, port, _ := strings.Cut(l.Addr().String(), ":")
	err = submit(t, "smtp+starttls://alice@localhost:"+port, func(s *Server) { s.CAFile, s.Password = root, "open sesame" })
	said := strings.Join(<-got, "\n")
	if err != nil || !strings.Contains(said, "AUTH PLAIN") || !strings.Contains(said, "BODY=8BITMIME") {
		t.Errorf("%v\n%s", err, said)
	}
}

// keepOpen lets somebody else continue a connection.
type keepOpen struct{ net.Conn }

func (keepOpen) Close() error { return nil }

// Bytes that somebody adds after the reply to STARTTLS do not pass for the server's replies
// within TLS.
func TestStartTLSInjection(t *testing.T) {
	_, addr := startTalk(t, "tcp", "127.0.0.1:0", map[string]string{"EHLO": "250-hi\n250 STARTTLS", "STARTTLS": "220 go\n250 AUTH PLAIN"})
	server, err := ParseServer("smtp+starttls://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	err = server.Send(context.Background(), Envelope{alice, caFrom}, nil, func() error { return nil })
	if failed := new(Error); !errors.As(err, &failed) || failed.Class != Later || !strings.Contains(err.Error(), "clear text after STARTTLS") {
		t.Errorf("%v", err)
	}
}

// If TLS fails, the message goes in clear text only where the admin chose that.
func TestBrokenTLS(t *testing.T) {
	for scheme, want := range map[string]bool{"smtp": true, "smtp+starttls": false} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &talk{got: make(chan []string, 1)}
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			recite(conn, []string{"220 hi", "250-hi\r\n250 starttls", "220 go", "this is not TLS"})
			if conn, err = l.Accept(); err != nil {
				return
			}
			defer conn.Close()
			s.got <- s.speak(conn, "")
		}()
		server, err := ParseServer(scheme + "://" + l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		err = server.Send(context.Background(), Envelope{alice, caFrom}, []byte("Subject: x\r\n\r\nhi\r\n"), func() error { return nil })
		if failed := new(Error); (err == nil) != want || err != nil && (!errors.As(err, &failed) || failed.Class != Later) {
			t.Errorf("%s: %v", scheme, err)
		}
		l.Close()
		if want && err == nil {
			if said := strings.Join(<-s.got, "\n"); strings.Contains(said, "STARTTLS") || !strings.Contains(said, "RCPT") {
				t.Errorf("%s", said)
			}
		} else if len(s.got) > 0 {
			t.Errorf("in clear text: %q", <-s.got)
		}
	}
}

// The client does not listen for ever to a server that never ends its reply.
func TestEndlessReply(t *testing.T) {
	_, err := converse(t, "", map[string]string{"EHLO": strings.Repeat("250-x\n", maxReplies) + "250 ok"})
	if failed := new(Error); !errors.As(err, &failed) || failed.Class != Later {
		t.Errorf("%v", err)
	}
}

// The error fits into a log line, however long the server's reply.
func TestLongReply(t *testing.T) {
	for _, text := range []string{"\u00fc" + strings.Repeat("x", 700), strings.Repeat("\u00fc", 350), "x" + strings.Repeat("\u00fc", 350)} {
		_, err := converse(t, "", map[string]string{"RCPT": strings.Repeat("550-"+text+"\n", 20) + "550 no"})
		if failed := new(Error); !errors.As(err, &failed) || failed.Class != Failed || len(err.Error()) > maxText+len("550 ") || !utf8.ValidString(err.Error()) {
			t.Errorf("%v", err)
		}
	}
}

// An address with a line end cannot add a command.
func TestInjection(t *testing.T) {
	for _, env := range []Envelope{{alice, caFrom + ">\r\nRCPT TO:<eve@evil.test"}, {alice + ">\nRCPT TO:<eve@evil.test", caFrom}} {
		s, addr := startTalk(t, "tcp", "127.0.0.1:0", nil)
		server, err := ParseServer("smtp://" + addr)
		if err != nil {
			t.Fatal(err)
		}
		err = server.Send(context.Background(), env, nil, func() error { return nil })
		if failed := new(Error); !errors.As(err, &failed) || failed.Class != Failed {
			t.Errorf("%v", err)
		}
		if said := strings.Join(<-s.got, "\n"); strings.Contains(said, "eve") || strings.Contains(said, "DATA") {
			t.Errorf("%s", said)
		}
	}
}

// Without a name, EHLO gives the address that the server sees.
func TestAddressLiteral(t *testing.T) {
	for listen, want := range map[string]string{"127.0.0.1:0": "EHLO [127.0.0.1]", "[::1]:0": "EHLO [IPv6:::1]"} {
		s, addr := startTalk(t, "tcp", listen, nil)
		server, err := ParseServer("smtp://" + addr)
		if err != nil {
			t.Fatal(err)
		}
		server.Name = func() string { return "" }
		if err := server.Send(context.Background(), Envelope{alice, caFrom}, nil, func() error { return nil }); err != nil {
			t.Error(err)
		}
		if got := <-s.got; got[0] != want {
			t.Errorf("%q, want %q", got[0], want)
		}
	}
}

// A host names itself only by a name that others can know.
func TestHostName(t *testing.T) {
	for own, want := range map[string]string{
		"mx1.example.org": "mx1.example.org", "mx2": "mx2.example.org", // names that HostName looks up
		"": "", "unknown": "", "short": "", "slow": "", "localhost": "", "localhost.localdomain": "", "mx1.localdomain": "", "192.0.2.1": "", "[192.0.2.1]": "", "a_b.example.org": "",
	} {
		asked := ""
		got := hostName(func() (string, error) { return own, nil }, func(ctx context.Context, name string) (string, error) {
			asked = name
			if left := time.Until(func() time.Time { d, _ := ctx.Deadline(); return d }()); left <= 0 || left > nameTime {
				t.Errorf("%v for a look-up", left)
			}
			switch name {
			case "mx2":
				return "mx2.example.org.", nil
			case "short":
				return "short.", nil
			case "localhost":
				return "localhost.localdomain.", nil
			}
			return "", errors.New("no such host")
		})
		if got != want || asked == "mx1.example.org" {
			t.Errorf("%q: %q, want %q; %q was looked up", own, got, want, asked)
		}
	}
	if hostName(func() (string, error) { return "mx1.example.org", errors.New("no") }, nil) != "" {
		t.Error("a name in spite of an error")
	}
	if name := HostName()(); name != "" && !known(name) {
		t.Errorf("%q", name)
	}
}
