package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

// serviceMilter runs postseal-milter as a service whose log goes to the journal.
func (y *yard) serviceMilter(j *mta.Journal) {
	y.t.Helper()
	cmd := j.Service(y.asMail(filepath.Join(y.bin, "postseal-milter"), "--config", y.config, "--listen", "unix:"+y.socket))
	y.must(cmd.Start())
	y.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			y.t.Errorf("postseal-milter: %v", err)
		}
	})
	mta.WaitFor(y.t, "the milter's entry", func() bool { return len(j.Entries("POSTSEAL_STATE="+y.state)) == 1 })
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// The three programs as services: each decision is one entry of systemd's journal, with
// the address, the CA, the order and the reason as fields, from a milter that has
// confined itself too.
func TestJournal(t *testing.T) {
	t.Parallel()
	y := newYard(t, testca.Config{Strict: true})
	j := mta.StartJournal(t)
	y.serviceMilter(j)
	want := func(field string, entries int) (found []mta.Entry) {
		t.Helper()
		mta.WaitFor(t, field, func() bool { found = j.Entries(field); return len(found) >= entries })
		if len(found) != entries {
			t.Errorf("%d entries with %s, want %d: %q", len(found), field, entries, found)
		}
		return found
	}

	y.orderAsService(j)
	answered := want("POSTSEAL_VERDICT=answered", 1)[0]
	y.wantDecision(answered, "postseal-milter", alice, "6", "the SMTP server took the reply")
	if !exists(filepath.Join(y.state, "answers", answered["POSTSEAL_ORDER"]+".json")) {
		t.Errorf("no answer of the order %q", answered["POSTSEAL_ORDER"])
	}
	for _, step := range []string{"wait", "answer", "issued"} {
		if e := want("POSTSEAL_STEP="+step, 1)[0]; e["SYSLOG_IDENTIFIER"] != "postseal" || e["POSTSEAL_CERTIFICATE"] != alice {
			t.Errorf("step %s: %q", step, e)
		}
	}

	// The same challenge for somebody else, as a forger would send it.
	const bob = "bob@example.test"
	msg, done := y.pendingMail(bob)
	forged := bytes.Replace(msg, []byte("Auto-Submitted:"), []byte("X-Other:"), 1)
	y.must(y.milter("", bob, forged))
	pipe := j.Service(y.pipeCommand(forged))
	y.must(pipe.Run())
	for _, e := range want("POSTSEAL_VERDICT=refused", 2) {
		y.wantDecision(e, e["SYSLOG_IDENTIFIER"], bob, "4", "DKIM")
	}
	want("SYSLOG_IDENTIFIER=postseal-pipe", 1)

	// Who waits for a reply that cannot leave: 75, and one line.
	down := j.Service(y.pipeCommand(msg, "--smtp", "smtp://127.0.0.1:1"))
	_ = down.Run() // the status says it
	if status := down.ProcessState.ExitCode(); status != 75 {
		t.Errorf("exit %d, want 75", status)
	}
	y.wantDecision(want("POSTSEAL_VERDICT=later", 1)[0], "postseal-pipe", bob, "4", "connection refused")
	y.must(y.pipe("", bob, msg))
	done()
	y.wantReplies(testca.VerdictGood, testca.VerdictGood)

	// What ends with an error is one, and belongs to the service.
	_ = j.Service(y.asMail(filepath.Join(y.bin, "postseal-pipe"), "--config", "/not/there")).Run() // as above
	for n, e := range want("PRIORITY=3", 2) {
		if kind := []string{"error", "hint"}[n]; !strings.HasPrefix(e["MESSAGE"], "postseal-pipe: "+kind+": ") {
			t.Errorf("last words: %q", e)
		}
	}
	t.Logf("an entry: %q", answered)
}

func (y *yard) orderAsService(j *mta.Journal) {
	y.t.Helper()
	cmd := y.certCommand(alice)
	cmd.Args = append(cmd.Args, "--verbose")
	service := j.Service(cmd)
	if err := service.Run(); err != nil {
		y.t.Fatalf("postseal cert: %v\n%s", err, j.Show("--output=cat"))
	}
}

func (y *yard) wantDecision(e mta.Entry, program, addr, priority, reason string) {
	y.t.Helper()
	if e["SYSLOG_IDENTIFIER"] != program || e["POSTSEAL_ADDRESS"] != addr || e["POSTSEAL_CA"] != y.ca.DirectoryURL ||
		e["PRIORITY"] != priority || e["POSTSEAL_ORDER"] == "" || !strings.Contains(e["POSTSEAL_REASON"], reason) ||
		!strings.HasPrefix(e["MESSAGE"], "challenge "+e["POSTSEAL_VERDICT"]+" address="+addr) {
		y.t.Errorf("want a decision of %s for %s, priority %s, %q:\n%q", program, addr, priority, reason, e)
	}
}
