package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/renameio/v2"

	"postseal/internal/failure"
	"postseal/internal/testca"
)

// caCmd is "postseal-demo ca": the test CA alone.
type caCmd struct {
	Dir    string `default:"./postseal-demo" type:"path" help:"Directory for ca.json, root.pem and zone.txt."`
	Listen string `default:"127.0.0.1:0" placeholder:"ADDR" help:"Loopback address of the ACME server."`

	MailTrigger string        `default:"authz" enum:"order,authz,post" help:"Request that makes the CA mail: order, authz or post."`
	Join        string        `default:"string" enum:"string,bytes" help:"How the token's parts are put together: string or bytes."`
	Part1Bytes  int           `default:"16" name:"part1-bytes" placeholder:"N" help:"Length of token-part1 before base64url (16)."`
	Sign        string        `default:"dkim" enum:"dkim,smime,none,bad" help:"Signature of challenge mails: dkim, smime, none or bad."`
	Validate    string        `default:"post" enum:"arrival,post" help:"When a reply counts: on arrival, or at POST (post)."`
	MailDelay   time.Duration `placeholder:"D" help:"Wait so long before mailing."`
	MailCopies  int           `default:"1" placeholder:"N" help:"Send each challenge mail N times."`
	BadNonce    chance        `placeholder:"P" help:"Probability that a good nonce is refused: 0.05 or 5%."`
	Fail        chance        `placeholder:"P" help:"Probability that a request is answered 500."`
	Lifetime    time.Duration `default:"2160h" placeholder:"D" help:"Lifetime of certificates (2160h)."`
	RequireEAB  bool          `name:"require-eab" help:"Want an external account binding; ca.json has one."`
	NoARI       bool          `name:"no-ari" help:"Offer no renewal information (RFC 9773)."`
	Relay       string        `placeholder:"HOST:PORT" help:"SMTP server the challenge mails go to."`
	Strict      bool          `help:"Check all of RFC 8823, Section 3.2, of the replies."`

	SMTPListen     string            `name:"smtp-listen" default:"127.0.0.1:0" placeholder:"ADDR" help:"Loopback address replies come in at."`
	DNSListen      string            `name:"dns-listen" default:"127.0.0.1:0" placeholder:"ADDR" help:"Loopback address of the DNS server."`
	Domain         string            `placeholder:"NAME" help:"Domain of the CA's mail addresses."`
	ReplyTo        string            `placeholder:"ADDR" help:"Reply-To of challenge mails."`
	ReplyWait      time.Duration     `placeholder:"D" help:"How long the CA looks for a reply after POST (2.5s)."`
	SharedFrom     bool              `help:"Mail all challenges from one address."`
	MinimalHeaders bool              `help:"Mail with From, To and Subject only."`
	PresentHeaders bool              `help:"List in h= only the header fields present."`
	ParentDomain   bool              `help:"Sign with d= the parent of the From domain."`
	SMIMEForm      string            `name:"smime-form" default:"hp" enum:"hp,message/rfc822" help:"S/MIME header protection: hp or message/rfc822."`
	SubjectForm    string            `default:"plain" enum:"plain,folded,encoded" help:"Spelling of the Subject: plain, folded or encoded."`
	PadPart1       bool              `name:"pad-part1" help:"Pad token-part1 with =."`
	DKIMBits       int               `name:"dkim-bits" default:"2048" placeholder:"N" help:"Size of the DKIM key (2048)."`
	DKIMTesting    bool              `name:"dkim-testing" help:"Put the DKIM key in testing mode (t=y)."`
	RefuseMail     int               `placeholder:"N" help:"Answer the first N replies 451."`
	PostAnswer     string            `default:"" enum:",pending,processing" help:"Status told at POST: pending or processing."`
	AlwaysReady    bool              `help:"Answer newOrder ready and send no mail."`
	AlwaysReplaced bool              `help:"Refuse each order with replaces as alreadyReplaced."`
	FinalizeErrors int               `placeholder:"N" help:"Answer the first N finalize requests 500."`
	FinalizeFatal  bool              `help:"Answer finalize 500 and give the order up."`
	OmitEKU        bool              `name:"omit-eku" help:"Leave emailProtection out of signing-only certificates."`
	Picky          bool              `help:"Take only the plainest of replies."`
	Serial         bool              `help:"Break when validations run in parallel."`
	Certbot        bool              `help:"Identifiers are of type dns; CSRs need dNSName too."`
	IdentifierCase string            `default:"" enum:",lower,upper" help:"Change the case of identifiers: lower or upper."`
	ReuseAuthz     bool              `help:"Reuse valid authorizations for later orders."`
	ARIDue         bool              `name:"ari-due" help:"Say of each certificate that it is due for renewal."`
	RetryAfter     time.Duration     `placeholder:"D" help:"Send Retry-After with what is processing."`
	Processing     time.Duration     `placeholder:"D" help:"Answer finalize with processing for so long."`
	EmptySubject   bool              `help:"Issue certificates without a common name."`
	ClientAuth     bool              `help:"Issue for clientAuth beside emailProtection."`
	Profiles       map[string]string `placeholder:"NAME=TEXT" help:"Offer certificate profiles."`
	Faults         []string          `name:"fault" placeholder:"KIND:TYPE[:COUNT[:DELAY]]" help:"Make requests go wrong, as in new-order:429:2."`
}

// Help is printed below the flags.
func (*caCmd) Help() string {
	return `The CA serves this machine only, keeps everything in memory, and has a new
root at each start. TXT records can be added to its DNS server in DIR/zone.txt,
one a line: NAME TXT VALUE.`
}

// chance is a probability; people write 0.1 or 10%.
type chance float64

// Decode reads a flag's value.
func (c *chance) Decode(ctx *kong.DecodeContext) error {
	var s string
	if err := ctx.Scan.PopValueInto("probability", &s); err != nil {
		return err
	}
	number, percent := strings.CutSuffix(s, "%")
	p, err := strconv.ParseFloat(number, 64)
	if percent {
		p /= 100
	}
	if err != nil || !(p >= 0 && p <= 1) {
		return fmt.Errorf("%q is not a probability between 0 and 1, or 0%% and 100%%", s)
	}
	*c = chance(p)
	return nil
}

// Run serves until SIGINT or SIGTERM.
func (c *caCmd) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return c.serve(ctx, os.Stdout)
}

// serve runs the CA until ctx ends, and tells w what happens.
func (c *caCmd) serve(ctx context.Context, w io.Writer) error {
	cfg, err := c.config()
	if err != nil {
		return failure.Usage("see \"postseal-demo ca --help\"", "%w", err)
	}
	// Whoever waits for the file must not find that of an earlier run.
	if err := os.Remove(filepath.Join(c.Dir, caFileName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w = &lockedWriter{w: w}
	cfg.OnEvent = func(e testca.Event) { io.WriteString(w, eventLine(e)) }
	ca, err := testca.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer ca.Close()
	about := c.describe(ca)
	if err := about.write(c.Dir); err != nil {
		return err
	}
	about.print(w)
	<-ctx.Done()
	return nil
}

// config turns the flags into a configuration and finds what is wrong with
// them.
func (c *caCmd) config() (testca.Config, error) {
	cfg := testca.Config{
		Dir: c.Dir, Listen: c.Listen, SMTPListen: c.SMTPListen, DNSListen: c.DNSListen,
		Domain: c.Domain, Relay: c.Relay,
		MailTrigger: testca.MailTrigger(c.MailTrigger), MailDelay: c.MailDelay, MailCopies: c.MailCopies,
		Part1Bytes: c.Part1Bytes, Sign: testca.Sign(c.Sign), SMIMEForm: testca.Protection(c.SMIMEForm),
		SharedFrom: c.SharedFrom, ReplyTo: c.ReplyTo, MinimalHeaders: c.MinimalHeaders,
		PresentHeaders: c.PresentHeaders, ParentDomain: c.ParentDomain,
		Join: testca.Join(c.Join), Validate: testca.Validate(c.Validate), ReplyWait: c.ReplyWait,
		Strict: c.Strict, Picky: c.Picky, Serial: c.Serial,
		RequireEAB: c.RequireEAB, Profiles: c.Profiles, Certbot: c.Certbot, IdentifierCase: c.IdentifierCase,
		ReuseAuthz: c.ReuseAuthz, Processing: c.Processing, RetryAfter: c.RetryAfter, Lifetime: c.Lifetime,
		EmptySubject: c.EmptySubject, ClientAuth: c.ClientAuth, NoARI: c.NoARI, ARIDue: c.ARIDue,
		SubjectForm: testca.SubjectForm(c.SubjectForm), PadPart1: c.PadPart1,
		DKIMBits: c.DKIMBits, DKIMTesting: c.DKIMTesting, RefuseMail: c.RefuseMail, PostAnswer: c.PostAnswer,
		AlwaysReady: c.AlwaysReady, AlwaysReplaced: c.AlwaysReplaced, FinalizeErrors: c.FinalizeErrors,
		FinalizeFatal: c.FinalizeFatal, OmitEKU: c.OmitEKU,
		BadNonce: float64(c.BadNonce), Fail: float64(c.Fail),
	}
	for _, s := range c.Faults {
		f, err := testca.ParseFault(s)
		if err != nil {
			return cfg, err
		}
		cfg.Faults = append(cfg.Faults, f)
	}
	return cfg, cfg.Check()
}

const caFileName = "ca.json"

// caFile is DIR/ca.json: what other programs need to find the CA.
type caFile struct {
	Directory string         `json:"directory"`
	Root      string         `json:"root"`
	SMTP      string         `json:"smtp"`
	DNS       string         `json:"dns"`
	Domain    string         `json:"domain"`
	SMIMERoot string         `json:"smime-root,omitempty"`
	EAB       *testca.EAB    `json:"eab,omitempty"`
	Knobs     map[string]any `json:"knobs"`
}

func (c *caCmd) describe(ca *testca.CA) caFile {
	f := caFile{
		Directory: ca.DirectoryURL, Root: ca.RootFile, SMTP: ca.SMTPAddr, DNS: ca.DNSAddr,
		Domain: ca.MailDomain, SMIMERoot: ca.SMIMERootFile, Knobs: c.knobs(),
	}
	if c.RequireEAB {
		f.EAB = &ca.EAB
	}
	return f
}

// knobs are the flags by their names, those of the command's contract always
// among them.
func (c *caCmd) knobs() map[string]any {
	return map[string]any{
		"mail-trigger": c.MailTrigger, "join": c.Join, "part1-bytes": c.Part1Bytes, "sign": c.Sign,
		"validate": c.Validate, "mail-delay": c.MailDelay.String(), "mail-copies": c.MailCopies,
		"bad-nonce": c.BadNonce, "fail": c.Fail, "lifetime": c.Lifetime.String(),
		"require-eab": c.RequireEAB, "no-ari": c.NoARI, "relay": c.Relay, "strict": c.Strict,
	}
}

// write puts the file in place in one go, so that whoever waits for it reads
// all of it. The EAB key inside is worth nothing outside of this process.
func (f caFile) write(dir string) error {
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(dir, caFileName), append(b, '\n'), 0o644, renameio.WithTempDir(dir))
}

// print shows the same to people, in one go.
func (f caFile) print(w io.Writer) {
	lines := [][2]string{
		{"directory", f.Directory}, {"root", f.Root}, {"smtp", f.SMTP}, {"dns", f.DNS},
		{"domain", f.Domain}, {"smime-root", f.SMIMERoot},
	}
	if f.EAB != nil {
		lines = append(lines, [2]string{"eab-kid", f.EAB.KeyID}, [2]string{"eab-hmac", f.EAB.HMACKey})
	}
	var text strings.Builder
	for _, l := range lines {
		if l[1] != "" {
			fmt.Fprintf(&text, "%-12s%s\n", l[0], l[1])
		}
	}
	io.WriteString(w, text.String())
}

// lockedWriter takes one write at a time: events come from many goroutines.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// eventLine is one line of the log.
func eventLine(e testca.Event) string {
	line := string(e.Kind)
	for _, s := range []string{
		strings.Join(e.Identifiers, " "), arrow(e.From, e.To), e.Subject, string(e.Verdict), e.Serial, e.Reason,
	} {
		if s != "" {
			line += " " + s
		}
	}
	return line + "\n"
}

func arrow(from, to string) string {
	if from == "" {
		return ""
	}
	return from + " -> " + to
}
