package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"postseal/internal/challenge"
	"postseal/internal/failure"
	"postseal/internal/mailhost"
	"postseal/internal/submit"
	"postseal/internal/testca"
	"postseal/issuer"
	"postseal/issuer/ca"
	"postseal/issuer/cert"
	"postseal/issuer/store"
	"postseal/milter"
	"postseal/state"
)

const (
	demoDomain   = "example.test"
	demoAddress  = "alice@" + demoDomain
	demoSelector = "demo"
	demoTimeout  = time.Minute
)

// demoCmd is the run that the README shows.
type demoCmd struct {
	Dir string `default:"./postseal-demo" placeholder:"DIR" help:"Directory for the certificate and everything else."`
}

// demo is what runs at the same time in one process; in life each part is a
// program, and only the state directory is between the last two.
type demo struct {
	dir   string
	out   *printer
	ca    *testca.CA
	host  *mailhost.Host
	state *state.Dir
	sock  string
}

func (c *demoCmd) run(ctx context.Context, w io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	d := &demo{dir: c.Dir, out: newPrinter(w), state: state.Open(filepath.Join(c.Dir, "state"))}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return failure.Failed("give a directory that can be written with --dir", "%w", err)
	}
	if _, err := d.state.Create(); err != nil {
		return failure.Failed("give a directory that can be written with --dir", "%w", err)
	}
	stop, err := d.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	result, err := d.order(ctx)
	if err != nil {
		return err
	}
	return d.show(result)
}

// start brings up the CA, the milter, and the mail host that has both.
func (d *demo) start(ctx context.Context) (stop func() error, err error) {
	var closers []func() error
	stop = func() (err error) {
		for i := len(closers) - 1; i >= 0; i-- {
			err = errors.Join(err, closers[i]())
		}
		return err
	}
	for _, part := range []func(context.Context) (func() error, error){d.startCA, d.startMilter, d.startHost} {
		closer, err := part(ctx)
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		closers = append(closers, closer)
	}
	return stop, nil
}

func (d *demo) startCA(ctx context.Context) (func() error, error) {
	ca, err := testca.Start(ctx, testca.Config{Dir: d.dir, Strict: true, Validate: testca.ValidateOnArrival, OnEvent: d.caEvent})
	if err != nil {
		return nil, err
	}
	d.ca = ca
	d.out.line("start", "test CA at %s", ca.DirectoryURL)
	return ca.Close, nil
}

// startMilter serves package milter on a unix socket, as postseal-milter does.
// The socket is not in the directory: its path could be too long for one.
func (d *demo) startMilter(ctx context.Context) (func() error, error) {
	tmp, err := os.MkdirTemp("", "postseal-demo-")
	if err != nil {
		return nil, err
	}
	d.sock = filepath.Join(tmp, "milter.sock")
	l, err := net.Listen("unix", d.sock)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(tmp))
	}
	index := d.state.Index()
	server := milter.New(milter.Config{Pending: index.Any, Answer: d.answer, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, l) }()
	d.out.line("start", "postseal-milter on unix:%s", d.sock)
	return func() error {
		cancel()
		defer index.Close()
		return errors.Join(<-done, os.RemoveAll(tmp))
	}, nil
}

func (d *demo) startHost(context.Context) (func() error, error) {
	key, record, err := newDKIMKey()
	if err != nil {
		return nil, err
	}
	d.host, err = mailhost.Start(mailhost.Config{
		Domain: demoDomain, Milter: "unix:" + d.sock, Relay: d.ca.SMTPAddr, DKIMKey: key, Selector: demoSelector,
		OnEvent: d.hostEvent,
	})
	if err != nil {
		return nil, err
	}
	d.ca.SetTXT(demoSelector+"._domainkey."+demoDomain, record)
	d.ca.SetRelay(d.host.Addr)
	d.out.line("start", "mail host of %s at %s", demoDomain, d.host.Addr)
	return d.host.Close, nil
}

// answer is what the milter calls with a whole challenge.
func (d *demo) answer(ctx context.Context, m challenge.Message) challenge.Outcome {
	server, err := submit.ParseServer("smtp://" + d.host.Addr)
	if err != nil {
		return challenge.Outcome{Verdict: challenge.Later, Reason: err.Error()}
	}
	if mail, err := mail.ReadMessage(bytes.NewReader(m.Raw)); err == nil {
		d.out.line("mail", "From: %s  To: %s", mail.Header.Get("From"), mail.Header.Get("To"))
		d.out.line("", "Subject: %s", mail.Header.Get("Subject"))
	}
	r := challenge.Responder{State: d.state, LookupTXT: challenge.Resolver(d.ca.DNSAddr), Send: server.Send}
	// Asked first only to show the verdict before the reply is on its way.
	for _, c := range r.Explain(ctx, m).Checks {
		if c.Name == "signature" {
			d.out.line("verify", "%s", signature(c))
		}
	}
	out := r.Answer(ctx, m)
	d.out.line(out.Verdict.String(), "%s: %s", out.Reason, out.ReplyID)
	return out
}

func signature(c challenge.Check) string {
	if c.Result != challenge.Passed {
		return "not genuine: " + c.Text
	}
	return "genuine: " + c.Text
}

// caEvent shows what the CA makes of the reply. The rest it tells the issuing half.
func (d *demo) caEvent(e testca.Event) {
	if e.Kind == testca.EventReply {
		d.out.line("reply", "the CA received it from %s: %s", e.From, strings.TrimSpace(string(e.Verdict)+" "+e.Reason))
	}
}

// hostEvent shows that the challenge is delivered like any other mail.
func (d *demo) hostEvent(e mailhost.Event) {
	if e.Kind == mailhost.Delivered {
		d.out.line("deliver", "the challenge is in the mailbox of %s", e.To)
	}
}

// order asks for the certificate, as "postseal cert" does.
func (d *demo) order(ctx context.Context) (*issuer.Result, error) {
	result, err := d.obtain(ctx)
	if err != nil {
		return nil, err
	}
	return result, nil
}

func (d *demo) obtain(ctx context.Context) (*issuer.Result, error) {
	i := issuer.New(issuer.Options{
		Dir: d.state, OnStep: d.step,
		Account: ca.AccountOptions{AgreeTerms: true, Contact: []string{"admin@" + demoDomain}},
	})
	return i.Obtain(ctx, issuer.Request{
		Settings: store.Settings{
			Emails: []string{demoAddress}, Server: d.ca.DirectoryURL, CABundle: d.ca.RootFile,
			Out: d.container(), Passphrase: cert.Passphrase{Kind: cert.PassGenerated},
		},
		Force: true,
	})
}

func (d *demo) container() string { return filepath.Join(d.dir, demoAddress+".p12") }

// shown are the steps of the issuing half that belong into the story, and the
// word each has in it.
var shown = map[issuer.StepKind]string{
	issuer.StepAccount: "account", issuer.StepOrder: "order", issuer.StepChallenge: "pending", issuer.StepValid: "valid",
	issuer.StepIssued: "issued", issuer.StepNote: "note",
}

func (d *demo) step(s issuer.Step) {
	if word, ok := shown[s.Kind]; ok {
		d.out.line(word, "%s", s.Text)
	}
}

// show leaves the container with its passphrase where people find them, and says
// how to look at them.
func (d *demo) show(r *issuer.Result) error {
	passphrase, err := os.ReadFile(r.PassphraseFile)
	if err != nil {
		return err
	}
	file := filepath.Join(d.dir, demoAddress+".passphrase")
	if err := state.WriteFile(file, passphrase, 0o600); err != nil {
		return err
	}
	d.out.text(`
%s
%s

Look at it:
  openssl pkcs12 -in %s -passin file:%s -nokeys -info
  openssl x509 -in %s -noout -text
`, d.container(), file, d.container(), file, filepath.Join(r.Dir, "cert.pem"))
	return nil
}

// printer writes the story, one event a line, with the time since the start.
type printer struct {
	mu    sync.Mutex
	w     io.Writer
	start time.Time
}

func newPrinter(w io.Writer) *printer { return &printer{w: w, start: time.Now()} }

func (p *printer) line(word, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, "%6.3f s  %-9s %s\n", time.Since(p.start).Seconds(), word, fmt.Sprintf(format, args...))
}

func (p *printer) text(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format, args...)
}
