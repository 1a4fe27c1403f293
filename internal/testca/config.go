package testca

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// MailTrigger says which request makes the CA send its challenge mail.
type MailTrigger string

// The three moments seen in practice. RFC 8823, Section 3, item 4, has the
// second.
const (
	MailOnOrder MailTrigger = "order" // at newOrder
	MailOnAuthz MailTrigger = "authz" // at the first read of the authorization
	MailOnPost  MailTrigger = "post"  // at POST {} to the challenge URL
)

// Join says how token-part1 and token-part2 become the token. RFC 8823,
// Section 3, item 6, leaves it open.
type Join string

const (
	JoinString Join = "string" // the base64url texts are put together
	JoinBytes  Join = "bytes"  // the decoded bytes are
)

// Sign says how challenge mails are signed.
type Sign string

const (
	SignDKIM  Sign = "dkim"
	SignSMIME Sign = "smime"
	SignNone  Sign = "none"
	SignBad   Sign = "bad" // DKIM, with a body that was changed afterwards
)

// Validate says when the CA looks at the replies it received.
type Validate string

const (
	ValidateOnArrival Validate = "arrival" // when the reply comes in
	ValidateOnPost    Validate = "post"    // at POST {}, for ReplyWait
)

// Protection is the form of S/MIME header protection.
type Protection string

const (
	ProtectRFC9788 Protection = "hp"             // hp="clear" on the payload
	ProtectRFC822  Protection = "message/rfc822" // RFC 8551, Section 3.1
)

// SubjectForm is how a challenge mail spells its Subject.
type SubjectForm string

const (
	SubjectPlain   SubjectForm = "plain"
	SubjectFolded  SubjectForm = "folded"  // a line break inside token-part1
	SubjectEncoded SubjectForm = "encoded" // RFC 2047 encoded-words
)

// Config is a CA's behaviour. The zero value follows RFC 8555 and RFC 8823.
type Config struct {
	Dir        string // where files go and zone.txt is read; "" for none
	Listen     string // ACME over HTTPS; default 127.0.0.1:0
	SMTPListen string // replies come in here; default 127.0.0.1:0
	DNSListen  string // UDP and TCP; default 127.0.0.1:0
	Domain     string // of the CA's mail addresses; default ca.postseal-demo.example
	Network    bool   // the addresses need not be loopback: a network namespace of the test's own is around
	Relay      string // HOST:PORT that takes the challenge mails; see SetRelay

	// Deliver replaces SMTP for challenge mails. An error with a method
	// Temporary() bool that says true is tried again.
	Deliver func(ctx context.Context, from, to string, msg []byte) error

	// Tamper stands between the CA and its clients, for tests of a CA that lies, or of
	// somebody between.
	Tamper func(http.Handler) http.Handler

	// Now is the clock of certificates and renewal windows; nil for time.Now. All else,
	// orders too, goes by that of the machine.
	Now func() time.Time

	// OnEvent is told what happens, from several goroutines at once and
	// without a lock held.
	OnEvent func(Event)

	// Challenge mail.
	MailTrigger    MailTrigger
	MailDelay      time.Duration
	MailRetry      time.Duration // first wait after a 4xx, doubled up to 5s; default 100ms
	MailCopies     int           // default 1
	Part1Bytes     int           // length of token-part1 before base64url; default 16
	PadPart1       bool
	Sign           Sign
	SMIMEForm      Protection
	SubjectForm    SubjectForm
	FromName       string // display name before the From address
	SharedFrom     bool   // one From address for all orders
	ReplyTo        string // address for Reply-To; none when empty
	MinimalHeaders bool   // From, To and Subject only
	PresentHeaders bool   // h= lists the header fields present, no others
	ParentDomain   bool   // d= is the parent of the From domain
	DKIMEd25519    bool
	DKIMBits       int  // RSA key size; default 2048
	DKIMTesting    bool // t=y in the key record
	// EditMail changes a challenge mail before it is signed, EditSigned
	// after.
	EditMail, EditSigned func(msg []byte) []byte

	// Replies.
	Join       Join
	Validate   Validate
	ReplyWait  time.Duration // ValidateOnPost: default 2.5s; 10m with MailOnPost
	Strict     bool          // all of RFC 8823, Section 3.2
	Picky      bool          // what the fussiest CAs demand beyond it
	Serial     bool          // looking for one reply loses the others
	RefuseMail int           // the first N replies are answered 451
	PostAnswer string        // "pending" or "processing": status told at POST {}
	MuteErrors bool          // an invalid challenge carries no error

	// Accounts and orders.
	RequireEAB     bool
	NoTerms        bool
	Profiles       map[string]string // name to description; none when nil
	Certbot        bool              // identifiers are dns, CSR needs dNSName too
	IdentifierCase string            // "lower" or "upper": what the CA makes of identifiers
	ReuseAuthz     bool              // a valid authorization serves later orders
	AlwaysReady    bool              // newOrder is answered ready, no mail is sent
	AlwaysReplaced bool              // replaces is always answered 409
	AuthzLifetime  time.Duration     // default 24h

	// Finalize and certificates.
	FinalizeErrors int           // the first N requests are answered 500
	FinalizeFatal  bool          // 500, and the order is dead
	FinalizeStuck  bool          // 400 badCSR, and the order is processing for ever
	Processing     time.Duration // finalize is answered processing for so long
	RetryAfter     time.Duration // Retry-After beside "processing"; none when 0
	Lifetime       time.Duration // default 90 days
	EmptySubject   bool          // no CN in certificates
	ClientAuth     bool          // beside emailProtection
	OmitEKU        bool          // a signing-only certificate lacks emailProtection
	NoARI          bool
	ARIDue         bool          // renewal windows are open at once
	ARIPoll        time.Duration // Retry-After of a window; default 6h

	// Faults.
	BadNonce float64 // probability that a good nonce is refused
	Fail     float64 // probability that a request is answered 500
	Faults   []Fault
	Seed     uint64 // of the probabilities; 0 for a random one
}

const (
	defaultDomain    = "ca.postseal-demo.example"
	defaultReplyWait = 2500 * time.Millisecond
	loopbackAnyPort  = "127.0.0.1:0"
)

// withDefaults fills in what was left empty and refuses what makes no sense.
func (c Config) withDefaults() (Config, error) {
	or(&c.Listen, loopbackAnyPort)
	or(&c.SMTPListen, loopbackAnyPort)
	or(&c.DNSListen, loopbackAnyPort)
	or(&c.Domain, defaultDomain)
	or(&c.MailTrigger, MailOnAuthz)
	or(&c.Join, JoinString)
	or(&c.Sign, SignDKIM)
	or(&c.Validate, ValidateOnPost)
	or(&c.SMIMEForm, ProtectRFC9788)
	or(&c.SubjectForm, SubjectPlain)
	or(&c.MailCopies, 1)
	or(&c.MailRetry, 100*time.Millisecond)
	or(&c.Part1Bytes, 16)
	or(&c.DKIMBits, 2048)
	or(&c.AuthzLifetime, 24*time.Hour)
	or(&c.Lifetime, 90*24*time.Hour)
	or(&c.ARIPoll, defaultARIPoll)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.MailTrigger == MailOnPost {
		// The mail leaves inside the POST, so its answer needs a while.
		or(&c.ReplyWait, 10*time.Minute)
	}
	or(&c.ReplyWait, defaultReplyWait)
	return c, c.check()
}

// or gives *p the value def when it has none.
func or[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}

// Check finds what Start would refuse.
func (c Config) Check() error {
	_, err := c.withDefaults()
	return err
}

func (c Config) check() error {
	for _, addr := range []string{c.Listen, c.SMTPListen, c.DNSListen} {
		if err := CheckLoopback(addr); err != nil && !c.Network {
			return err
		}
	}
	switch {
	case !oneOf(c.MailTrigger, MailOnOrder, MailOnAuthz, MailOnPost):
		return fmt.Errorf("unknown mail trigger %q", c.MailTrigger)
	case !oneOf(c.Join, JoinString, JoinBytes):
		return fmt.Errorf("unknown join %q", c.Join)
	case !oneOf(c.Sign, SignDKIM, SignSMIME, SignNone, SignBad):
		return fmt.Errorf("unknown signature %q", c.Sign)
	case !oneOf(c.Validate, ValidateOnArrival, ValidateOnPost):
		return fmt.Errorf("unknown moment of validation %q", c.Validate)
	case !oneOf(c.SMIMEForm, ProtectRFC9788, ProtectRFC822):
		return fmt.Errorf("unknown header protection %q", c.SMIMEForm)
	case !oneOf(c.SubjectForm, SubjectPlain, SubjectFolded, SubjectEncoded):
		return fmt.Errorf("unknown form of the Subject %q", c.SubjectForm)
	case !oneOf(c.PostAnswer, "", statusPending, statusProcessing):
		return fmt.Errorf("unknown answer to POST %q", c.PostAnswer)
	case !oneOf(c.IdentifierCase, "", "lower", "upper"):
		return fmt.Errorf("unknown identifier case %q", c.IdentifierCase)
	case c.Part1Bytes < 1 || c.Part1Bytes > 4096:
		return fmt.Errorf("a token-part1 of %d bytes cannot be sent", c.Part1Bytes)
	case c.Lifetime < time.Second:
		return fmt.Errorf("a lifetime of %s is too short", c.Lifetime)
	case !probability(c.BadNonce) || !probability(c.Fail):
		return fmt.Errorf("a probability lies between 0 and 1")
	}
	return nil
}

func oneOf[T comparable](v T, all ...T) bool {
	for _, a := range all {
		if v == a {
			return true
		}
	}
	return false
}

func probability(p float64) bool { return p >= 0 && p <= 1 }

// CheckLoopback refuses addresses that others could reach: nobody must ever
// mistake this CA for a real one.
func CheckLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen address %q: %w", addr, err)
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("listen address %q is not a loopback address; the test CA serves this machine only", addr)
}
