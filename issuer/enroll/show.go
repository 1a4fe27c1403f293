package enroll

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"
)

// Report is the plan of a table, for people and programs. The field names of its JSON are
// stable.
type Report struct {
	Domain    string         `json:"domain"`
	Addresses int            `json:"addresses"` // in the source, without those that are excluded
	Source    Counts         `json:"source"`
	Counts    map[Action]int `json:"counts"` // of the steps
	Steps     []Step         `json:"steps"`
	Error     string         `json:"error,omitempty"` // why nothing of this table is done
}

// NewReport returns the report of a plan, or of the error of ReadSource or Plan.
func NewReport(t Table, list Source, steps []Step, err error) Report {
	r := Report{Domain: t.Domain, Addresses: len(list.Addresses), Source: list.Counts, Counts: map[Action]int{}, Steps: steps}
	if r.Source.InvalidLines == nil {
		r.Source.InvalidLines = []int{}
	}
	if steps == nil {
		r.Steps = []Step{}
	}
	if err != nil {
		r.Error = err.Error()
	}
	for _, s := range steps {
		r.Counts[s.Action]++
	}
	return r
}

// Does reports whether a run would have something to do.
func (r Report) Does() bool {
	for a, n := range r.Counts {
		if n > 0 && a.Does() {
			return true
		}
	}
	return false
}

// Write writes the report as text: what there is to do in figures, then a line for each
// address and kind, those first about which something is done.
func (r Report) Write(to io.Writer) error {
	w := bufio.NewWriter(to)
	fmt.Fprintln(w, r.Line())
	for _, s := range r.Steps {
		fmt.Fprintf(w, "  %-8s  %s  %s\n", s.Action, s.who(), s.Why)
	}
	return w.Flush()
}

// Line is the first line of Write: what the source has, and the figures or the error.
func (r Report) Line() string {
	line := r.Domain + ": " + count(r.Addresses, "address", "addresses")
	if about := r.Source.String(); about != "" {
		line += " (" + about + ")"
	}
	if r.Error != "" {
		return line + ": " + r.Error
	}
	var counts []string
	for _, a := range actions {
		if n := r.Counts[a]; n > 0 {
			counts = append(counts, fmt.Sprintf("%s %d", a, n))
		}
	}
	return line + ": " + cmp.Or(strings.Join(counts, ", "), "nothing to do")
}

func (s Step) who() string {
	if s.Kind == "" {
		return s.Address
	}
	return s.Address + " " + s.Kind
}

// String names what is not 0, such as "2 lines of other domains, 1 invalid line: 17".
func (c Counts) String() string {
	var parts []string
	add := func(n int, one, more string) {
		if n > 0 {
			parts = append(parts, count(n, one, more))
		}
	}
	add(c.Other, "line of another domain", "lines of other domains")
	add(c.Twice, "line twice", "lines twice")
	add(c.Invalid, "invalid line", "invalid lines")
	if c.Invalid > 0 {
		text := fmt.Sprint(c.InvalidLines)
		parts[len(parts)-1] += ": " + strings.ReplaceAll(strings.Trim(text, "[]"), " ", ", ")
		if c.Invalid > len(c.InvalidLines) {
			parts[len(parts)-1] += ", …"
		}
	}
	return strings.Join(parts, ", ")
}

func count(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}
