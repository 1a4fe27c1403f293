package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

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

// draftDir is where the drafts of --interactive go: beside --out, else here.
func draftDir(out string) string {
	if out == "" {
		return "."
	}
	return filepath.Dir(out)
}

// whose names a certificate for people.
func whose(emails []string, kind string) string {
	if kind == "" {
		return join(emails)
	}
	return join(emails) + " (" + kind + ")"
}

func join(items []string) string { return strings.Join(items, ", ") }
