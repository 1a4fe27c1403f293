package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"postseal/internal/cli"
	"postseal/internal/failure"
	"postseal/issuer"
	"postseal/issuer/store"
)

// The table that "postseal status" prints.
func TestWriteStatus(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.Local)
	s := &issuer.Status{
		Certificates: []issuer.CertStatus{
			{Name: "alice@example.test", Emails: []string{"alice@example.test"}, Server: "https://acme.castle.cloud/acme/directory", State: "valid", NotAfter: at.AddDate(0, 0, 90), DaysLeft: 90, RenewAt: at.AddDate(0, 0, 60), RenewSource: "ari"},
			{Name: "b@x.test-2", Emails: []string{"b@x.test", "c@x.test"}, Server: "https://127.0.0.1:1400/dir", State: "expired", NotAfter: at, RenewAt: at, RenewSource: "lifetime"},
		},
		Orders:  []issuer.OrderStatus{{Name: "d@x.test", Created: at, Server: "https://ca.example/dir", WaitingFor: "the CA", DryRun: true}, {Name: "e@x.test", Created: at, WaitingFor: "the CA", Running: true}},
		Pending: []issuer.PendingStatus{{Email: "d@x.test", From: "ca@ca.example", State: "pending", Expires: at}},
		Answers: []issuer.AnswerStatus{{Email: "d@x.test", Time: at, Phase: "failed", Reason: "550 5.7.26\nnot authenticated"}},
		Failed:  []issuer.FailedStatus{{Emails: []string{"f@x.test"}, Server: "https://ca.example/dir", Time: at, Since: at.AddDate(0, 0, -2), Reason: "the CA refused\tit"}},
		History: []issuer.HistoryStatus{{Emails: []string{"f@x.test"}, Server: "https://ca.example/dir", Time: at, Event: "issued", Serial: "0a"}},
	}
	var out bytes.Buffer
	writeStatus(&out, s)
	want := `CERTIFICATE         ADDRESSES           EXPIRES     DAYS  RENEWAL                STATE    CA
alice@example.test  alice@example.test  2027-02-20  90    2027-01-21 (ari)       valid    acme.castle.cloud
b@x.test-2          b@x.test c@x.test   2026-11-22  0     2026-11-22 (lifetime)  expired  127.0.0.1:1400

ORDER               SINCE             CA          WAITS FOR
d@x.test (dry run)  2026-11-22 12:00  ca.example  the CA (no process is running: the same command resumes it)
e@x.test            2026-11-22 12:00              the CA

CHALLENGE FOR  FROM           STATE    UNTIL             CA
d@x.test       ca@ca.example  pending  2026-11-22 12:00  ` + `

ANSWER FOR  TIME              PHASE   REASON
d@x.test    2026-11-22 12:00  failed  550 5.7.26 not authenticated

FAILED FOR  LAST              SINCE             CA          REASON
f@x.test    2026-11-22 12:00  2026-11-20 12:00  ca.example  the CA refused it

HISTORY OF  TIME              EVENT   CA          SERIAL  REASON
f@x.test    2026-11-22 12:00  issued  ca.example  0a      ` + `

`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// The bar shows what is done and what failed, and leaves the line for others.
func TestBar(t *testing.T) {
	var out bytes.Buffer
	b := newBar(&out, 10)
	b.draw()
	b.done, b.failed = 5, 2
	b.draw()
	for _, want := range []string{"0/10", "5/10", "2 failed"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in %q", want, out.String())
		}
	}
	b.clear()
	if !strings.HasSuffix(out.String(), "\r") {
		t.Errorf("the line is not free: %q", out.String())
	}
	var none *bar
	none.draw()
	none.clear()
}

// What a batch ends with: failures count most, then what waits, then nothing due.
func TestTally(t *testing.T) {
	hinted := failure.Failed("do this", "no\nway")
	waits := failure.Later("", "the time is up")
	notDue := failure.NotDue("", &issuer.NotDueError{Name: "n", NotAfter: time.Now()})
	for name, tc := range map[string]struct {
		errs []error
		code int
		text string
		hint string
	}{
		"all issued": {errs: []error{nil, nil}},
		"some":       {errs: []error{nil, notDue}},
		"none due":   {errs: []error{notDue, notDue}, code: cli.ExitNothingDue, text: "all 2 certificates are valid", hint: failure.Force},
		"one failed": {errs: []error{nil, hinted, waits}, code: cli.ExitFailed, text: "1 of 3 failed, the first: no way", hint: "do this"},
		"no hint":    {errs: []error{errors.New("x")}, code: cli.ExitFailed, text: "1 of 1 failed", hint: "only what is left"},
		"one waits":  {errs: []error{nil, waits}, code: cli.ExitTempFail, text: "1 of 2 are not done yet", hint: "run the same command again"},
	} {
		tally := &tally{counts: map[string]int{}}
		for _, err := range tc.errs {
			var res *issuer.Result
			if err == nil {
				res = &issuer.Result{Emails: []string{"a@x.test"}}
			}
			tally.add(newResult(&issuer.Request{Settings: store.Settings{Emails: []string{"a@x.test"}}}, res, err), false)
		}
		err := tally.err()
		if cli.ExitCode(err) != tc.code || err != nil && !strings.Contains(err.Error(), tc.text) || !strings.Contains(failure.HintOf(err), tc.hint) {
			t.Errorf("%s: exit %d, %v, hint %q", name, cli.ExitCode(err), err, failure.HintOf(err))
		}
		if len(tally.all) != 0 {
			t.Errorf("%s: results are kept without need", name)
		}
	}
}

// The [ca] table of the file reaches the issuer.
func TestCASettings(t *testing.T) {
	file := &cli.File{CA: map[string]cli.CA{"*": {TokenJoin: "bytes", Trigger: "post", Settle: "5s", Compat: []string{"serial"},
		DKIM: "strict", AutoSubmitted: "ignore", Unsigned: "allow", TrustedAuthservID: "mx.example"}}}
	s := caSettings(file)("https://ca.example/dir")
	if s.TokenJoin != "bytes" || s.Trigger != "post" || s.Settle != "5s" || s.Compat[0] != "serial" ||
		s.Policy.DKIM != "strict" || s.Policy.AutoSubmitted != "ignore" || s.Policy.Unsigned != "allow" || s.Policy.TrustedAuthservID != "mx.example" {
		t.Errorf("%+v", s)
	}
}
