// Command postseal-check looks at everything that has to be right before postseal can answer
// a challenge: the configuration, the state directory, Postfix, the milter, the SMTP server,
// the CA, the DNS and the clock. "postseal check" starts it, passes it the Options of package
// check, and prints its findings; nobody else has a use for it.
//
// It is a separate program because it talks to servers and reads mail, and postseal has the
// keys. It has no key and no account: of their files it sees names, owners and modes, and its
// parent passes it the public halves that it compares with the DNS. Once it has asked
// postconf for the configuration of Postfix, it gives up writing files and starting programs
// if the kernel allows (Landlock).
//
// It changes nothing, and sends no mail unless asked to. The checks do not depend on each
// other: each has its own time, and says what it can when another one has failed.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"postseal/internal/check"
	"postseal/internal/cli"
	"postseal/internal/printable"
	"postseal/state"
)

func main() {
	_ = cli.NoDump() // the options may include a password
	var o check.Options
	in := json.NewDecoder(os.Stdin)
	in.DisallowUnknownFields() // the parent may be of another version
	if err := in.Decode(&o); err != nil {
		fmt.Fprintf(os.Stderr, "postseal-check: error: what to look at: %v\npostseal-check: hint: run: postseal check\n", err)
		os.Exit(64)
	}
	ctx := context.Background()
	c := prepare(ctx, o)
	_, _ = c.postfix() // it starts no other program; the check of Postfix reports errors
	_ = cli.Confine(cli.Needs{Read: []string{"/"}})
	out := json.NewEncoder(os.Stdout)
	c.run(ctx, func(f check.Finding) {
		f.Text, f.Hint = line(f.Text), line(f.Hint)
		if err := out.Encode(f); err != nil {
			os.Exit(1) // the parent has gone
		}
	})
}

// maxText bounds the text of one finding, in bytes.
const maxText = 4000

// line makes foreign text one printable line.
func line(s string) string { return printable.Line(strings.Join(strings.Fields(s), " "), maxText) }

// report collects the findings of one check.
type report struct {
	check string
	found []check.Finding
}

func (r *report) ok(format string, args ...any) { r.add(check.OK, "", format, args) }

func (r *report) skip(format string, args ...any) { r.add(check.Skipped, "", format, args) }

func (r *report) warn(hint, format string, args ...any) { r.add(check.Warning, hint, format, args) }

func (r *report) fail(hint, format string, args ...any) { r.add(check.Failure, hint, format, args) }

// unseen reports something that this user may not look at.
func (r *report) unseen(what string, err error) {
	r.warn("run this as root", "%s cannot be looked at by %s: %v", what, me(), state.Cause(err))
}

func (r *report) add(s check.Status, hint, format string, args []any) {
	r.found = append(r.found, check.Finding{Check: r.check, Status: s, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// checker is one run: the options, and answers that several checks share.
type checker struct {
	check.Options
	postfix   func() (*postfix, error)
	directory func() (*directory, error)
	now       func() time.Time
}

// Time limits of the checks. The longest is for a message that has to arrive.
const (
	oneCheck    = 8 * time.Second
	mailCheck   = oneCheck + arrival
	afterTheEnd = time.Second // for a check to notice that its time has ended
)

// checks run at the same time; their findings appear in this order.
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

func prepare(ctx context.Context, o check.Options) *checker {
	c := &checker{Options: o, now: time.Now}
	c.postfix = sync.OnceValues(func() (*postfix, error) { return askPostfix(ctx, o.PostfixConfig) })
	c.directory = sync.OnceValues(func() (*directory, error) { return askDirectory(ctx, o) })
	return c
}

// run makes all checks and passes each finding to tell, in the order of the checks.
func (c *checker) run(ctx context.Context, tell func(check.Finding)) {
	outcomes := make([]<-chan []check.Finding, len(checks))
	for n, one := range checks {
		outcomes[n] = bounded(ctx, one.name, one.time, func(ctx context.Context, r *report) { one.run(c, ctx, r) })
	}
	for _, outcome := range outcomes {
		for _, f := range <-outcome {
			tell(f)
		}
	}
}

// bounded runs a check that may hang where no context helps, such as in a file system. It
// then leaves the check behind.
func bounded(ctx context.Context, name string, most time.Duration, run func(context.Context, *report)) <-chan []check.Finding {
	outcome := make(chan []check.Finding, 2) // the first counts
	ctx, cancel := context.WithTimeout(ctx, most)
	go func() {
		defer cancel()
		r := &report{check: name}
		run(ctx, r)
		outcome <- r.found
	}()
	time.AfterFunc(most+afterTheEnd, func() {
		r := &report{check: name}
		r.fail("look for a file system or a program that hangs", "no outcome after %s", most)
		outcome <- r.found
	})
	return outcome
}
