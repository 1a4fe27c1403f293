package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postseal/state"
)

func newHistoryDisk(t *testing.T) *Disk {
	t.Helper()
	d := &Disk{Dir: state.Open(t.TempDir()), Now: time.Now}
	if err := os.Mkdir(d.Path("certs"), 0o700); err != nil {
		t.Fatal(err)
	}
	return d
}

// The last events stay, in order, whoever writes at the same time; the same event of a
// certificate is recorded once.
func TestHistory(t *testing.T) {
	d := newHistoryDisk(t)
	record := func(e Event) {
		if err := d.Record("a@x.test", e); err != nil {
			t.Error(err)
		}
	}
	for n := range 2 * maxHistory {
		record(Event{What: EventFailed, Reason: fmt.Sprint(n)})
	}
	record(Event{What: EventIssued, Serial: "01"})
	record(Event{What: EventIssued, Serial: "01"})
	record(Event{What: EventRevoked, Serial: "01"})
	all := d.Histories(func(name string, err error) { t.Error(name, err) })
	if len(all) != 1 {
		t.Fatal(all)
	}
	events := all["a@x.test"].Events
	last := events[len(events)-3:]
	if len(events) != maxHistory || last[0].Reason != "63" || last[1].What != EventIssued || last[2].What != EventRevoked {
		t.Errorf("%d events, the last are %+v", len(events), last)
	}
	info, err := os.Stat(d.historyPath("a@x.test"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			(&Disk{Dir: d.Dir, Now: d.Now}).Record("b@x.test", Event{What: EventFailed, Reason: fmt.Sprint(n)})
		})
	}
	wg.Wait()
	if h, err := readHistory(d.historyPath("b@x.test")); err != nil || len(h.Events) != 8 {
		t.Errorf("%+v, %v", h, err)
	}
}

// A damaged history is named, stops no other, and is replaced; a newer one is left alone.
func TestHistoryDamaged(t *testing.T) {
	d := newHistoryDisk(t)
	if err := d.Record("good", Event{What: EventOrdered}); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"torn": `{"version": 1, "ev`, "newer": `{"version": 2}`} {
		if err := os.WriteFile(d.historyPath(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var named []string
	all := d.Histories(func(name string, _ error) { named = append(named, name) })
	if len(all) != 1 || len(named) != 2 {
		t.Errorf("%v, %v", all, named)
	}
	if err := d.Record("torn", Event{What: EventOrdered}); err != nil {
		t.Error(err)
	}
	if err := d.Record("newer", Event{What: EventOrdered}); state.Newer(err) == nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(d.historyPath("newer")); string(text) != `{"version": 2}` {
		t.Error(string(text), err)
	}
}

// A history is removed a year after its last event.
func TestHistorySweep(t *testing.T) {
	d := newHistoryDisk(t)
	if err := d.Record("a@x.test", Event{What: EventOrdered}); err != nil {
		t.Fatal(err)
	}
	for _, days := range []int{300, 366} {
		d.Now = func() time.Time { return time.Now().AddDate(0, 0, days) }
		if err := d.Sweep(); err != nil || Exists(d.historyPath("a@x.test")) != (days < 365) {
			t.Errorf("after %d days: %v", days, err)
		}
	}
	if left, _ := filepath.Glob(d.Path("certs", historyDir, ".*")); len(left) != 0 {
		t.Error(strings.Join(left, " "))
	}
}
