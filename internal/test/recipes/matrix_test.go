//go:build doors

package recipes

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"postseal/internal/test/machine"
)

// The columns of the matrix: what is shown of each neighbour.
const (
	answered = iota // postseal cert ends with a container
	forged          // a forged challenge is ordinary mail; no exit status loses mail
	stopped         // ordinary mail flows without us
	retried         // the way out was blocked and the challenge is answered later
	columns
)

var columnNames = [columns]string{"answered", "forged, exits", "stopped", "retried"}

// cell is one result.
type cell struct {
	Test   string        `json:"-"`
	Row    string        `json:"row"`
	Column int           `json:"column"`
	Failed bool          `json:"failed"`
	Note   string        `json:"note"` // what stands in the table instead of "ok"
	Time   time.Duration `json:"time"`
}

// row is what a test claims about one neighbour. Every column has a check.
type row [columns]check

type check struct {
	note string // "" for plain ok
	run  func(*site)
}

// run makes the four checks in the order of the columns and writes the cells. Each
// check runs even if one before it failed.
func (r row) run(s *site, name string) {
	for column, c := range r {
		start := time.Now()
		ok := s.t.Run(name+": "+columnNames[column], func(t *testing.T) {
			sub := *s
			sub.t = t
			c.run(&sub)
		})
		writeCell(cell{Row: name, Column: column, Failed: !ok, Note: c.note, Time: time.Since(start)})
	}
}

func writeCell(c cell) {
	f, err := os.OpenFile(filepath.Join(machine.Report, cellsFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if err := json.NewEncoder(f).Encode(c); err != nil {
		panic(err)
	}
}

// table is the matrix.
type table struct {
	sync.Mutex
	cells []cell
}

var matrix table

func (m *table) add(cells []cell) {
	m.Lock()
	defer m.Unlock()
	m.cells = append(m.cells, cells...)
}

// print writes a line for each neighbour, in the order in which they ended. What
// has no result shows as missing; the test of its machine has failed then.
func (m *table) print(w io.Writer) {
	if len(m.cells) == 0 {
		return
	}
	var rows []string
	at := map[string]*[columns]string{}
	for _, c := range m.cells {
		if at[c.Row] == nil {
			at[c.Row] = &[columns]string{"missing", "missing", "missing", "missing"}
			rows = append(rows, c.Row)
		}
		at[c.Row][c.Column] = c.text()
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(tw, "\nneighbour")
	for _, name := range columnNames {
		fmt.Fprint(tw, "\t", name)
	}
	fmt.Fprintln(tw)
	for _, name := range rows {
		fmt.Fprint(tw, name)
		for _, text := range at[name] {
			fmt.Fprint(tw, "\t", text)
		}
		fmt.Fprintln(tw)
	}
	tw.Flush()
}

func (c cell) text() string {
	text := "ok"
	if c.Note != "" {
		text = c.Note
	}
	if c.Failed {
		text = "FAIL"
	}
	return fmt.Sprintf("%s %.1fs", text, c.Time.Seconds())
}
