package check

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"time"
)

// The lines around the digest of a reply (RFC 8823, Section 3.2, item 7).
const (
	beginBlock = "-----BEGIN ACME RESPONSE-----"
	endBlock   = "-----END ACME RESPONSE-----"
)

// digestLength is that of SHA-256 in base64url without padding. CAs look for one
// line of it.
const digestLength = 43

// mustSign is what the signature of a reply must cover, absent fields included
// (RFC 8823, Section 3.2, item 9).
var mustSign = []string{
	"From", "Sender", "Reply-To", "To", "CC", "Subject", "Date", "In-Reply-To", "References", "Message-ID",
	"Content-Type", "Content-Transfer-Encoding",
}

// sample is a message in the form of a reply. Its token and its digest are random:
// it answers nothing.
func sample(from, to string, now time.Time) (id, message string) {
	var random [64]byte // Message-ID, token-part1, digest
	rand.Read(random[:])
	_, domain, _ := strings.Cut(from, "@")
	id = "<" + hex.EncodeToString(random[:16]) + ".check@" + domain + ">"
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("From: %s", from)
	line("To: %s", to)
	line("Subject: Re: ACME: %s", base64.RawURLEncoding.EncodeToString(random[16:32]))
	line("Date: %s", now.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	line("Message-ID: %s", id)
	line("In-Reply-To: <%s@ca.invalid>", rand.Text())
	line("MIME-Version: 1.0")
	line("Content-Type: text/plain; charset=us-ascii")
	line("Content-Transfer-Encoding: 7bit")
	line("")
	line(beginBlock)
	line("%s", base64.RawURLEncoding.EncodeToString(random[32:]))
	line(endBlock)
	return id, b.String()
}

// signature is what matters of a DKIM-Signature (RFC 6376, Section 3.5).
type signature struct {
	domain, selector string
	covers           []string // lower case
	length           bool     // l= lets others append
}

// received is a message that came back.
type received struct {
	from       string
	signatures []signature
	header     mail.Header
	rawHeader  string
	body       string // LF
}

// parseReceived reads a message as it lies in a mailbox, with or without an mbox
// line above it.
func parseReceived(data []byte) (*received, error) {
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	if bytes.HasPrefix(data, []byte("From ")) {
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	msg, err := mail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("it is not a mail message: %w", err)
	}
	m := &received{header: msg.Header}
	m.rawHeader, m.body, _ = strings.Cut(string(data), "\n\n")
	if m.from, err = singleAddress(msg.Header.Get("From")); err != nil {
		return nil, err
	}
	for _, field := range msg.Header["Dkim-Signature"] {
		m.signatures = append(m.signatures, parseSignature(field))
	}
	return m, nil
}

func singleAddress(field string) (string, error) {
	addr, err := mail.ParseAddress(field)
	if err != nil {
		return "", errors.New("its From is not a single address")
	}
	return addr.Address, nil
}

func parseSignature(field string) (s signature) {
	for _, tag := range strings.Split(field, ";") {
		name, value, _ := strings.Cut(tag, "=")
		value = strings.Join(strings.Fields(value), "")
		switch strings.TrimSpace(name) {
		case "d":
			s.domain = value
		case "s":
			s.selector = value
		case "h":
			s.covers = strings.Split(strings.ToLower(value), ":")
		case "l":
			s.length = true
		}
	}
	return s
}

// missing returns what a signature should cover and does not.
func (s signature) missing() (names []string) {
	for _, name := range mustSign {
		if !slices.Contains(s.covers, strings.ToLower(name)) {
			names = append(names, name)
		}
	}
	return names
}

func domainOf(addr string) string { return addr[strings.LastIndexByte(addr, '@')+1:] }
