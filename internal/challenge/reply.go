package challenge

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// reply is a response message (RFC 8823, Section 3.2) before its encoding.
type reply struct {
	from      string // the address of the order, as the CA returned it
	to        string
	part1     string
	inReplyTo string // Message-ID of the challenge, "" if it is unfit to repeat
	id        string // Message-ID of the reply
	date      time.Time
	digest    string
}

// maxMessageID keeps In-Reply-To on a line that no mail server folds.
const maxMessageID = 500

// echo returns a challenge's Message-ID if it is fit to repeat, "" otherwise. The reply is
// valid without it (RFC 8823, Section 3.2, item 5).
func echo(id string) string {
	inner := strings.TrimSuffix(strings.TrimPrefix(id, "<"), ">")
	if inner == "" || id != "<"+inner+">" || len(id) > maxMessageID || strings.IndexFunc(inner, notInID) >= 0 {
		return ""
	}
	return id
}

func notInID(r rune) bool { return r <= ' ' || r >= 0x7f || r == '<' || r == '>' }

// newMessageID makes a Message-ID at the domain of an address.
func newMessageID(addr string) string {
	var random [16]byte
	rand.Read(random[:])
	return "<" + hex.EncodeToString(random[:]) + "@" + domainOf(addr) + ">"
}

// bytes writes the reply, byte for byte as CAs accept it. It folds nothing: a CA may compare
// lines. It adds no Auto-Submitted: filters at the CA drop automatic mail, and RFC 8823 does
// not list it among the fields to sign.
func (r *reply) bytes() []byte {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("From: %s", r.from)
	line("To: %s", r.to)
	line("Subject: Re: %s %s", label, r.part1)
	line("Date: %s", r.date.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	line("Message-ID: %s", r.id)
	if r.inReplyTo != "" {
		line("In-Reply-To: %s", r.inReplyTo)
	}
	line("MIME-Version: 1.0")
	line("Content-Type: text/plain; charset=us-ascii")
	line("Content-Transfer-Encoding: 7bit")
	line("")
	b.WriteString(Block(r.digest))
	return []byte(b.String())
}

// The lines around the digest (RFC 8823, Section 3.2, item 7).
const (
	BeginBlock = "-----BEGIN ACME RESPONSE-----"
	EndBlock   = "-----END ACME RESPONSE-----"
)

// Block returns the lines that carry the digest.
func Block(digest string) string {
	return BeginBlock + "\r\n" + digest + "\r\n" + EndBlock + "\r\n"
}

// Sample returns a message in the form of a response, and its Message-ID. Token and digest
// are random: it answers nothing.
func Sample(from, to string, now time.Time) (id string, raw []byte) {
	var random [16 + sha256.Size]byte
	rand.Read(random[:])
	r := &reply{
		from: from, to: to, part1: base64.RawURLEncoding.EncodeToString(random[:16]), inReplyTo: "<" + rand.Text() + "@ca.invalid>",
		id: newMessageID(from), date: now, digest: base64.RawURLEncoding.EncodeToString(random[16:]),
	}
	return r.id, r.bytes()
}
