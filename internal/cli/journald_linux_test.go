package cli

import (
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"postseal/internal/test/mta"
)

const loggingVariable = "POSTSEAL_JOURNAL_TEST"

// loggingChild logs text that a stranger may choose.
func loggingChild() {
	log := slog.New(NewLogHandler())
	for n, value := range hostile {
		log.Warn("challenge refused", "number", n, "reason", value, "stack", "one\ntwo\n")
	}
	log.Info("the end")
	_, _ = os.Stdin.Read(make([]byte, 1)) // lives as long as a service
}

// systemd's own journal has as many entries as there were lines, each with its own reason,
// its lines, and nothing else.
func TestJournald(t *testing.T) {
	t.Parallel()
	j := mta.StartJournal(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), loggingVariable+"=1")
	service := j.Service(cmd)
	in, err := service.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	mta.WaitFor(t, "the last entry", func() bool { return len(j.Entries("MESSAGE=the end")) == 1 })
	in.Close()
	if err := service.Wait(); err != nil {
		t.Error(err)
	}
	for n, value := range hostile {
		entries := j.Entries("POSTSEAL_NUMBER=" + strconv.Itoa(n))
		if len(entries) != 1 {
			t.Errorf("%d entries of %.50q", len(entries), value)
			continue
		}
		e := entries[0]
		if e["POSTSEAL_REASON"] != oneLine(value) || e["POSTSEAL_STACK"] != "one\ntwo\n" || e["PRIORITY"] != "4" ||
			!strings.HasPrefix(e["MESSAGE"], "challenge refused number=") || e["SYSLOG_IDENTIFIER"] != "cli.test" {
			t.Errorf("%.50q became %.500q", value, e)
		}
	}
	if forged := j.Entries("PRIORITY=0"); len(forged) > 0 {
		t.Errorf("forged: %q", forged)
	}
	if lines := strings.Count(j.Show("--output=cat", "--identifier=cli.test"), "\n"); lines != len(hostile)+1 {
		t.Errorf("%d lines for %d", lines, len(hostile)+1)
	}
	t.Logf("%d hostile values, %d entries in the journal of %s", len(hostile), len(hostile), strings.Fields(j.Show("--version"))[1])
}
