package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postseal/internal/printable"
)

// A clock that was put back does not silence the notes until it has caught up.
func TestNoteFresh(t *testing.T) {
	for age, want := range map[time.Duration]bool{
		0: true, NoteEvery - time.Second: true, NoteEvery: false, -time.Second: false,
	} {
		if got := NewNote("1", "later", "", now).Fresh(now.Add(age)); got != want {
			t.Errorf("after %v: %v", age, got)
		}
	}
}

// A compromised mail half writes notes and signs of life of its own: none reaches a terminal,
// and what is not a record is named and left out.
func TestHostileNotes(t *testing.T) {
	d := newDir(t)
	var damaged []string
	d.Damaged = func(path string, err error) { damaged = append(damaged, filepath.Base(path)+": "+err.Error()) }
	for name, content := range map[string]string{
		"good.note.json":    `{"version":1,"id":"good","verdict":"later","reason":"\u001b[2J\u202e"}`,
		"other.note.json":   `{"version":1,"id":"good","verdict":"later","reason":"x"}`,
		"verdict.note.json": `{"version":1,"id":"verdict","verdict":"issued","reason":"x"}`,
		".alive-\x1b[2J":    `{"version":1,"time":"2026-06-01T12:00:00Z"}`,
		".alive-no-time":    `{"version":1}`,
		".alive-newer":      `{"version":2,"time":"2026-06-01T12:00:00Z"}`,
		".alive-older":      `{"time":"2026-06-01T12:00:00Z"}`,
	} {
		if err := os.WriteFile(d.Path("answers", name), []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	notes, err := d.Notes([]string{"good", "other", "verdict", "none"})
	if err != nil || len(notes) != 1 || notes[0].ID != "good" || !printable.Text(notes[0].Reason) {
		t.Errorf("notes %+v, %v", notes, err)
	}
	halves, err := d.MailHalves()
	if err != nil || len(halves) != 1 || !printable.Text(halves[0].Host) {
		t.Errorf("mail halves %+v, %v", halves, err)
	}
	if len(damaged) != 5 || !slices.Contains(damaged, ".alive-newer: "+(&NewerError{Version: 2}).Error()) {
		t.Errorf("reported %q", damaged)
	}
}

func TestMostHalves(t *testing.T) {
	d := newDir(t)
	for n := range MostHalves + 5 {
		if err := d.Alive(fmt.Sprint("mx", n), now.Add(time.Duration(n)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	halves, err := d.MailHalves()
	if err != nil || len(halves) != MostHalves || halves[0].Host != fmt.Sprint("mx", MostHalves+4) {
		t.Errorf("%d mail halves, %v", len(halves), err)
	}
}

// Each damaged record is named once, some of very many are, and a program that runs for long
// says it again.
func TestNaming(t *testing.T) {
	var n Naming
	var said []string
	report := func(name string) {
		n.Report(func(name string, err error) { said = append(said, name+": "+err.Error()) }, name, errors.New("torn"))
	}
	for range 3 {
		for k := range mostNamed + 10 {
			report(fmt.Sprint("file\n", k))
		}
	}
	if len(said) != mostNamed+1 || !strings.Contains(said[mostNamed], "more than 20") || !printable.Text(strings.Join(said, "")) {
		t.Errorf("said %q", said)
	}
	n.since = n.since.Add(-nameAgain - time.Second)
	report("file")
	if len(said) != mostNamed+2 {
		t.Errorf("an hour later: %q", said[mostNamed:])
	}
}
