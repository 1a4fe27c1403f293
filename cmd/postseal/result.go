package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/schollz/progressbar/v3"

	"postseal/internal/cli"
	"postseal/internal/failure"
	"postseal/issuer"
)

// The outcomes of an order, in JSON and in the summary of a batch.
const (
	outcomeIssued  = "issued"
	outcomeNotDue  = "not_due"
	outcomeWaiting = "waiting" // run again to resume
	outcomeFailed  = "failed"
)

// result is one certificate in the JSON of cert and renew. The names are stable.
type result struct {
	Status string `json:"status"`
	issuer.Result
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// newResult describes what Obtain returned.
func newResult(req *issuer.Request, res *issuer.Result, err error) result {
	r := result{Status: outcomeIssued, Result: issuer.Result{Emails: req.Emails, Kind: req.Kind}}
	if res != nil {
		r.Result = *res
	}
	if err == nil {
		return r
	}
	r.Error, r.Hint = cli.OneLine(err.Error()), typed(failure.HintOf(err))
	notDue, isNotDue := errors.AsType[*issuer.NotDueError](err)
	switch {
	case isNotDue:
		r.Status, r.Name, r.Dir, r.NotAfter = outcomeNotDue, notDue.Name, notDue.Dir, notDue.NotAfter
	case failure.KindOf(err) == failure.KindLater:
		r.Status = outcomeWaiting
	default:
		r.Status = outcomeFailed
	}
	return r
}

// results is the JSON document of cert and renew.
type results struct {
	Results []result `json:"results"`
}

// one orders one certificate and says what came of it.
func (s *session) one(ctx context.Context, req issuer.Request) error {
	res, err := s.issuer.Obtain(ctx, req)
	s.voice.done()
	if s.JSON {
		if jsonErr := printJSON(results{[]result{newResult(&req, res, err)}}); jsonErr != nil {
			return jsonErr
		}
		return err
	}
	if res != nil {
		fmt.Println(describe(res))
	}
	return err
}

// describe is the line about a new certificate.
func describe(res *issuer.Result) string {
	until := day(res.NotAfter)
	if res.DryRun {
		return fmt.Sprintf("%s: dry run succeeded: a certificate valid until %s was issued and thrown away", whose(res.Emails, res.Kind), until)
	}
	line := fmt.Sprintf("%s: %s, valid until %s", whose(res.Emails, res.Kind), res.P12, until)
	if res.PassphraseFile != "" {
		line += ", passphrase in " + res.PassphraseFile
	}
	return line
}

// anyone returns a person to ask even where stdin is not a terminal: --interactive
// was asked for.
func anyone(t *terminal) *terminal {
	if t == nil {
		return &terminal{bufio.NewReader(os.Stdin)}
	}
	return t
}

// whose names a certificate for people.
func whose(emails []string, kind string) string {
	if kind == "" {
		return join(emails)
	}
	return join(emails) + " (" + kind + ")"
}

func join(items []string) string { return strings.Join(items, ", ") }

// tally is what came of a batch.
type tally struct {
	total  int
	counts map[string]int
	failed []result // and waiting ones
	all    []result // for JSON only: a batch may be large
}

func (t *tally) add(r result, keep bool) {
	t.total++
	t.counts[r.Status]++
	if r.Status == outcomeFailed || r.Status == outcomeWaiting {
		t.failed = append(t.failed, r)
	}
	if keep {
		t.all = append(t.all, r)
	}
}

// obtain obtains certificates and says a line about each, or draws a bar on a terminal. It
// calls done with each outcome, one call at a time.
func (s *session) obtain(ctx context.Context, reqs []issuer.Request, jobs int, done func(n int, err error)) *tally {
	t := &tally{counts: map[string]int{}, all: []result{}}
	s.voice.batch(len(reqs))
	s.issuer.Batch(ctx, reqs, jobs, func(n int, res *issuer.Result, err error) {
		done(n, err)
		r := newResult(&reqs[n], res, err)
		t.add(r, s.JSON)
		s.voice.result(r)
	})
	s.voice.done()
	return t
}

// many obtains certificates; failures with their reasons come at the end.
func (s *session) many(ctx context.Context, reqs []issuer.Request, jobs int) error {
	t := s.obtain(ctx, reqs, jobs, func(int, error) {})
	if s.JSON {
		if err := printJSON(results{t.all}); err != nil {
			return err
		}
	} else {
		t.summary()
	}
	return t.err()
}

// batch begins to count.
func (v *voice) batch(total int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.many = total > 1
	if v.screen && total > 1 && !v.verbose {
		v.bar = newBar(os.Stderr, total)
		v.bar.draw()
	}
}

// result is told of the end of one certificate, one at a time.
func (v *voice) result(r result) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.bar == nil {
		if !v.json {
			fmt.Println(r.line())
		}
		return
	}
	v.bar.done++
	if r.Status == outcomeFailed {
		v.bar.failed++
	}
	v.bar.draw()
}

// line is the line about one result.
func (r result) line() string {
	switch r.Status {
	case outcomeIssued:
		return fmt.Sprintf("%s: issued, valid until %s", whose(r.Emails, r.Kind), day(r.NotAfter))
	case outcomeNotDue:
		return fmt.Sprintf("%s: nothing due, valid until %s", whose(r.Emails, r.Kind), day(r.NotAfter))
	}
	return fmt.Sprintf("%s: %s: %s", whose(r.Emails, r.Kind), r.Status, r.Error)
}

// summary is the table at the end.
func (t *tally) summary() {
	if t.total < 2 {
		return
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nissued\tnot due\twaiting\tfailed\ttotal\n%d\t%d\t%d\t%d\t%d\n", t.counts[outcomeIssued],
		t.counts[outcomeNotDue], t.counts[outcomeWaiting], t.counts[outcomeFailed], t.total)
	w.Flush()
	if len(t.failed) == 0 {
		return
	}
	fmt.Println()
	for _, r := range t.failed {
		fmt.Println(strings.TrimSpace(r.line()))
	}
}

// err is the exit status of a batch: a failure counts most, then a wait.
func (t *tally) err() error {
	const again = "run the same command again: it does only what is left"
	failed, waiting := t.counts[outcomeFailed], t.counts[outcomeWaiting]
	switch {
	case failed > 0:
		first := t.failed[slices.IndexFunc(t.failed, func(r result) bool { return r.Status == outcomeFailed })]
		return failure.Failed(cmp.Or(first.Hint, again), "%d of %d failed, the first: %s", failed, t.total, first.Error)
	case waiting > 0:
		return failure.Later(again, "%d of %d are not done yet", waiting, t.total)
	case t.counts[outcomeIssued] == 0:
		return failure.NotDue(failure.Force, fmt.Errorf("nothing is due: all %d certificates are valid", t.total))
	}
	return nil
}

// bar is the progress of a batch on a terminal, in its last line. A nil bar does
// nothing. The voice guards it.
type bar struct {
	*progressbar.ProgressBar
	done, failed int
}

func newBar(w io.Writer, total int) *bar {
	return &bar{ProgressBar: progressbar.NewOptions(total,
		progressbar.OptionSetWriter(w), progressbar.OptionSetWidth(30), progressbar.OptionShowCount(),
		progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())}
}

// draw shows the bar. The terminal may be gone; the batch goes on.
func (b *bar) draw() {
	if b == nil {
		return
	}
	if b.failed > 0 {
		b.Describe(fmt.Sprintf("%d failed", b.failed))
	}
	_ = b.Set(b.done)
}

// clear makes room for a line.
func (b *bar) clear() {
	if b != nil {
		_ = b.Clear()
	}
}
