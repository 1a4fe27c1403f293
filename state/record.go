package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"postseal/internal/printable"
)

// Version is the version of the state directory that this package reads and writes.
const Version = 1

// Pending is a challenge that an order waits for: all that the mail half may know.
type Pending struct {
	Version    int       `json:"version"`
	ID         string    `json:"id"`         // names the answer; new for each order and address
	Email      string    `json:"email"`      // as the CA returned it: the From of the reply
	Server     string    `json:"server"`     // URL of the ACME directory
	From       string    `json:"from"`       // who will send the challenge; "" while ordering
	Token      string    `json:"token"`      // token-part2; "" while ordering
	Thumbprint string    `json:"thumbprint"` // of the account key (RFC 7638)
	Join       string    `json:"join"`       // "string" or "bytes"
	Created    time.Time `json:"created"`
	Expires    time.Time `json:"expires"`
	Policy     Policy    `json:"policy"`

	// Part1 is a digest of the token-part1 in a mail. The mail half sets it before it
	// claims, so that the answer says which challenge it was. It is not part of the record.
	Part1 string `json:"-"`
}

// Policy says which departures from RFC 8823 this CA may make. Empty fields mean the default,
// the first value of each.
type Policy struct {
	DKIM              string `json:"dkim,omitempty"`                // default | strict | relaxed-parent
	AutoSubmitted     string `json:"auto-submitted,omitempty"`      // require | ignore
	Unsigned          string `json:"unsigned,omitempty"`            // refuse | allow
	TrustedAuthservID string `json:"trusted-authserv-id,omitempty"` // RFC 8601
}

// Ordering reports whether the tokens are still missing, because the client has not read the
// authorization yet.
func (p *Pending) Ordering() bool { return p.Token == "" }

// Abandoned returns the state of an attempt whose process died: nil if a new delivery may
// claim it. An attempt that ended stays as it is.
func (a *Answer) Abandoned() *Answer {
	switch a.Phase {
	case Sending:
		a.Phase, a.Reason = Unknown, "the answering process ended while the reply was being sent"
	case Claimed:
		return nil
	}
	return a
}

// Over reports whether an answer is an outcome that ends a wait and differs from seen.
func (a *Answer) Over(seen *Answer) bool {
	if a == nil || seen != nil && seen.Phase == a.Phase && seen.Claimed.Equal(a.Claimed) {
		return false
	}
	return a.Phase == Sent || a.Phase == Failed || a.Phase == Unknown
}

// Phase is how far an answer has come; see the package's table.
type Phase string

// The phases of an answer.
const (
	Claimed Phase = "claimed"
	Sending Phase = "sending"
	Sent    Phase = "sent"
	Failed  Phase = "failed"
	Unknown Phase = "unknown"
)

// Answer is what the mail half did about one challenge.
type Answer struct {
	Version    int        `json:"version"`
	ID         string     `json:"id"` // that of the Pending record
	Phase      Phase      `json:"phase"`
	Email      string     `json:"email"`
	Server     string     `json:"server"`
	MessageIDs MessageIDs `json:"message-ids"`
	Part1      string     `json:"part1,omitempty"` // that of Pending: which challenge this answers
	Claimed    time.Time  `json:"claimed"`
	Ended      time.Time  `json:"ended,omitzero"` // when it was sent, failed or lost
	Reason     string     `json:"reason,omitempty"`
}

// MessageIDs are the Message-ID of the challenge and that of the reply.
type MessageIDs struct {
	Challenge string `json:"challenge"`
	Reply     string `json:"reply"`
}

// MaxID bounds an id, in bytes.
const MaxID = 64

// LegalID reports whether a text may be an id, which becomes part of a file name.
func LegalID(id string) bool {
	return id != "" && len(id) <= MaxID && strings.IndexFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) < 0
}

// ParsePending reads a record of a known version.
func ParsePending(data []byte) (*Pending, error) {
	p := new(Pending)
	if err := decode(data, p); err != nil {
		return nil, err
	}
	if err := checkRecord(p.Version, p.ID); err != nil {
		return nil, err
	}
	if p.Email == "" || p.Thumbprint == "" {
		return nil, fmt.Errorf("email or thumbprint is missing")
	}
	return p, nil
}

// ParseAnswer reads an answer of a known version.
func ParseAnswer(data []byte) (*Answer, error) {
	a := new(Answer)
	if err := decode(data, a); err != nil {
		return nil, err
	}
	if err := checkRecord(a.Version, a.ID); err != nil {
		return nil, err
	}
	switch a.Phase {
	case Claimed, Sending, Sent, Failed, Unknown:
		for _, text := range []*string{&a.Email, &a.Server, &a.MessageIDs.Challenge, &a.MessageIDs.Reply, &a.Reason} {
			*text = printable.Line(*text, MaxText)
		}
		return a, nil
	}
	return nil, fmt.Errorf("unknown phase %.20q", a.Phase)
}

func decode(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		if newer := VersionOf(data); newer > Version { // perhaps with other types than ours
			return &NewerError{Version: newer}
		}
		return notWhole(err)
	}
	return nil
}

// notWhole says what is wrong with a record without quoting it: the name may lead to a file
// that not everybody may read.
func notWhole(err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("not a whole record: invalid JSON at byte %d", syntax.Offset)
	}
	return errors.New("not a record: a field is not of the right kind")
}

func checkRecord(version int, id string) error {
	if version > Version {
		return &NewerError{Version: version}
	}
	if version != Version {
		return fmt.Errorf("version %d, and this is postseal for version %d", version, Version)
	}
	if !LegalID(id) {
		return fmt.Errorf("invalid id %.20q", id)
	}
	return nil
}

// Key returns the form of an address for look-ups: lower case, the domain in A-labels (RFC
// 5890). Two addresses are the same mailbox to postseal if their keys are equal.
func Key(addr string) string {
	at := strings.LastIndexByte(addr, '@')
	if at < 0 {
		return lower(addr)
	}
	return lower(addr[:at]) + "@" + Domain(addr[at+1:])
}

// lower is strings.ToLower except for letters outside ASCII whose lower case is in it. The
// Kelvin sign and the dotted capital I become k and i, and no mail server delivers to one
// mailbox what names the other.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if l := unicode.ToLower(r); r < utf8.RuneSelf || l >= utf8.RuneSelf {
			return l
		}
		return r
	}, s)
}

// maxDomain bounds a domain before its conversion to A-labels, in bytes: 63 characters in
// each of four labels take less, and the conversion takes quadratic time.
const maxDomain = 1 << 10

// Domain returns the form in which domains are compared: A-labels, lower case, no final dot.
// A name that IDNA rejects, perhaps for an underscore, equals another only byte for byte,
// apart from ASCII case: a resolver may well convert it letter by letter.
func Domain(name string) string {
	name = strings.TrimSuffix(name, ".")
	if len(name) <= maxDomain {
		if ascii, err := idna.Lookup.ToASCII(name); err == nil {
			return strings.ToLower(ascii)
		}
	}
	return lowerASCII(name)
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r | 0x20
		}
		return r
	}, s)
}
