package store

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"postseal/state"
)

// The last run of each command is remembered, wherever there is something to be watched; a
// damaged record is named, and the next run writes another.
func TestRuns(t *testing.T) {
	dir := t.TempDir()
	d := &Disk{Dir: state.Open(dir), Now: time.Now}
	at := time.Unix(1_800_000_000, 0).UTC()
	record := func(command string, r Run) {
		t.Helper()
		if err := d.RecordRun(command, r); err != nil {
			t.Fatal(err)
		}
	}
	record(RunRenew, Run{Ended: at})
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("a state directory was begun: %v, %v", entries, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "certs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if r, err := d.LastRun(RunRenew); r != nil || err != nil {
		t.Errorf("%+v, %v", r, err)
	}
	record(RunRenew, Run{Ended: at, Status: 75})
	record(RunEnroll, Run{Ended: at})
	record(RunEnroll, Run{Ended: at.Add(time.Hour), Status: 1})
	for command, want := range map[string]Run{RunRenew: {Version, at, 75}, RunEnroll: {Version, at.Add(time.Hour), 1}} {
		if r, err := d.LastRun(command); err != nil || *r != want {
			t.Errorf("%s: %+v, %v", command, r, err)
		}
	}
	if err := os.WriteFile(d.runPath(RunRenew), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := d.LastRun(RunRenew); r != nil || err == nil {
		t.Errorf("a damaged record: %+v, %v", r, err)
	}
	record(RunRenew, Run{Ended: at})
	if r, err := d.LastRun(RunRenew); err != nil || r.Status != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if certs, err := d.Certificates(func(name string, err error) { t.Error(name, err) }); err != nil || len(certs) > 0 {
		t.Errorf("it is taken for a certificate: %v, %v", certs, err)
	}
}
