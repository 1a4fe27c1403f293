package check

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Options say what to look at. Empty fields are not looked at, or have the default
// of the flag of that name.
type Options struct {
	Config   Config
	State    string // the state directory
	Redis    string // URL of what both halves share, where that is not the directory
	MailUser string // who the mail half runs as; "" for the user "postseal"
	Version  string // of the program, for User-Agent
	Root     string // of the machine whose mail servers are looked at; "" for /

	Server   string // the CA's directory
	CABundle string
	Emails   []string
	Resolver string // HOST:PORT; "" for the system's

	PostfixConfig string // directory; "" for Postfix's own default
	Milter        string // unix:PATH or inet:PORT@HOST; "" for what Postfix says

	SMTP         string // URL
	Helo         string // name of this host in EHLO; "" for what the mail half finds out
	SMTPCA       string // PEM file
	SMTPPassword string
	MailTo       string // send a message in the form of a reply there
	Mailbox      string // Maildir or mbox file where it arrives
	Message      string // file: judge this copy of such a message
}

// Config is what the configuration file says and no flag does.
type Config struct {
	Path              string // "" if there is no file
	TrustedAuthservID string // of that table
	CATable           string // name of the [ca] table that applies; "" for none
	DKIM              []DKIMKey
	SMIMERoots        string
	SMTPPasswordFile  string
}

// DKIMKey is a key with which the mail half signs replies itself.
type DKIMKey struct{ Domain, Selector, Path string }

// Status is what a finding means.
type Status string

// The statuses. A warning is for what works and may not for long, or could not be
// looked at and somebody can help that. Skipped is what was not looked at: it is neither
// good nor bad, and the text says why.
const (
	OK      Status = "ok"
	Skipped Status = "skipped"
	Warning Status = "warning"
	Failure Status = "failure"
)

// Finding is one line of the outcome. The names of its JSON are stable.
type Finding struct {
	Check  string `json:"check"`
	Status Status `json:"status"`
	Text   string `json:"text"`
	Hint   string `json:"hint,omitempty"` // what to do
}

// report collects what one check finds.
type report struct {
	check string
	found []Finding
}

func (r *report) ok(format string, args ...any) { r.add(OK, "", format, args) }

func (r *report) skip(format string, args ...any) { r.add(Skipped, "", format, args) }

func (r *report) warn(hint, format string, args ...any) { r.add(Warning, hint, format, args) }

func (r *report) fail(hint, format string, args ...any) { r.add(Failure, hint, format, args) }

func (r *report) add(s Status, hint, format string, args []any) {
	r.found = append(r.found, Finding{r.check, s, fmt.Sprintf(format, args...), hint})
}

// checker is one run: the options, and what several checks need and is asked once.
type checker struct {
	Options
	postfix   func() (*postfix, error)
	directory func() (*directory, error)
	now       func() time.Time
}

// Times of the checks. The longest is that of a message that has to arrive.
const (
	oneCheck    = 8 * time.Second
	mailCheck   = oneCheck + arrival
	afterTheEnd = time.Second // for a check to notice that its time is over
)

// checks are run at the same time and told in this order.
var checks = []struct {
	name string
	time time.Duration
	run  func(*checker, context.Context, *report)
}{
	{"configuration", oneCheck, (*checker).checkConfig},
	{"state", oneCheck, (*checker).checkState},
	{"postfix", oneCheck, (*checker).checkPostfix},
	{"milter", oneCheck, (*checker).checkMilter},
	{"delivery", oneCheck, (*checker).checkDelivery},
	{"smtp", oneCheck, (*checker).checkSMTP},
	{"reply", mailCheck, (*checker).checkReply},
	{"ca", oneCheck, (*checker).checkCA},
	{"dns", oneCheck, (*checker).checkDNS},
	{"clock", oneCheck, (*checker).checkClock},
}

// Run looks at everything and tells each finding, in the order of the checks.
func Run(ctx context.Context, o Options, tell func(Finding)) {
	c := &checker{Options: o, now: time.Now}
	c.postfix = sync.OnceValues(func() (*postfix, error) { return askPostfix(ctx, o.PostfixConfig) })
	c.directory = sync.OnceValues(func() (*directory, error) { return askDirectory(ctx, o) })
	outcomes := make([]<-chan []Finding, len(checks))
	for n, check := range checks {
		outcomes[n] = bounded(ctx, check.name, check.time, func(ctx context.Context, r *report) { check.run(c, ctx, r) })
	}
	for _, outcome := range outcomes {
		for _, f := range <-outcome {
			tell(f)
		}
	}
}

// bounded runs a check that may hang where no context helps, in a file system for
// example. It is then left behind.
func bounded(ctx context.Context, name string, most time.Duration, run func(context.Context, *report)) <-chan []Finding {
	out, done := make(chan []Finding, 1), make(chan []Finding, 1)
	ctx, cancel := context.WithTimeout(ctx, most)
	go func() {
		defer cancel()
		r := &report{check: name}
		run(ctx, r)
		done <- r.found
	}()
	go func() {
		patience := time.NewTimer(most + afterTheEnd)
		defer patience.Stop()
		select {
		case found := <-done:
			out <- found
		case <-patience.C:
			r := &report{check: name}
			r.fail("look for a file system or a program that hangs", "no outcome after %s", most)
			out <- r.found
		}
	}()
	return out
}
