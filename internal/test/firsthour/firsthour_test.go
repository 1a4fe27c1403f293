//go:build packages

package firsthour

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postseal/internal/test/machine"
)

var update = flag.Bool("update", false, "write what was printed into the document")

const (
	path     = "../../../contrib/first-hour.md"
	version  = "0.1.0" // of the package; the document shows it
	results  = "results"
	place    = "/srv" // where root works
	commands = 10     // at most, up to the first certificate
	patience = 5 * time.Minute
)

func TestMain(m *testing.M) {
	machine.Main(m)
	code := m.Run()
	kit.Remove()
	os.Exit(code)
}

// kit is what an admin has: the package, and the document to follow.
var kit = machine.Kits{Fill: func(dir string) error {
	build := exec.Command("go", "run", "postseal/internal/release", "-out", dir, "deb")
	build.Env = append(os.Environ(), "VERSION="+version, "DPKG_DEB_COMPRESSOR_LEVEL=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "first-hour.md"), text, 0o644)
}}

// result is what became of a command.
type result struct {
	Command string
	Output  string
	Took    time.Duration
}

func TestFirstHour(t *testing.T) {
	if machine.Inside() {
		follow(t)
		return
	}
	dir, err := kit.Path()
	if err != nil {
		t.Fatal(err)
	}
	report, err := machine.Run(t, machine.Spec{Image: "fresh", Host: host, Kit: dir, Boot: true, Limit: 2 * patience})
	if err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	doc := parse(string(text))
	compare(t, doc, readResults(t, filepath.Join(report, results)))
	if *update {
		if err := os.WriteFile(path, []byte(doc.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// compare holds what was printed against the document, and corrects that.
func compare(t *testing.T, doc document, done []result) {
	next, count, took := 0, 0, time.Duration(0)
	for i, p := range doc {
		if strings.TrimSpace(p.prose) == firstEnd {
			first(t, &doc[i+1], count, took)
		}
		if p.command == "" || next == len(done) {
			continue
		}
		r := done[next]
		next++
		count++
		took += r.Took
		if !same(p.output, r.Output) {
			t.Errorf("%sprints\n%s\nand not\n%s", p.command, r.Output, p.output)
			doc[i].output = r.Output
		}
	}
}

// first looks at what it took to come to the first certificate, which is the line
// below the mark in the document.
func first(t *testing.T, line *part, count int, took time.Duration) {
	t.Helper()
	text := fmt.Sprintf("From the fresh system to here: %d commands, and %.0f seconds of the machine's time.\n", count, took.Seconds())
	t.Log(text)
	if count > commands || took > patience {
		t.Errorf("more than %d commands or %s to the first certificate: %s", commands, patience, text)
	}
	if !same(line.prose, text) {
		t.Errorf("the document says %q and not %q", line.prose, text)
		line.prose = text
	}
}

func readResults(t *testing.T, name string) (all []result) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(strings.NewReader(string(data))); d.More(); {
		var r result
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// follow is root of the fresh machine, who does what the document says.
func follow(t *testing.T) {
	world(t)
	text, err := os.ReadFile(filepath.Join(machine.Kit, "first-hour.md"))
	must(t, err)
	out, err := os.Create(filepath.Join(machine.Report, results))
	must(t, err)
	defer out.Close()
	for _, p := range parse(string(text)) {
		if p.command == "" {
			continue
		}
		r := run(t, p)
		must(t, json.NewEncoder(out).Encode(r))
		if t.Failed() {
			return
		}
	}
}

// run runs one command. Its output goes to a file, which daemons that it starts may
// keep open.
func run(t *testing.T, p part) result {
	f, err := os.CreateTemp("", "output")
	must(t, err)
	defer f.Close()
	cmd := exec.Command("timeout", "120", "bash", "-c", p.script())
	cmd.Stdout, cmd.Stderr, cmd.Dir = f, f, place
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "COLUMNS=120")
	start := time.Now()
	err = cmd.Run()
	took := time.Since(start)
	printed, readErr := os.ReadFile(f.Name())
	must(t, readErr)
	if err != nil {
		journal, _ := exec.Command("journalctl", "--no-pager", "--lines=50").CombinedOutput()
		t.Errorf("%s%v\n%s\nThe journal:\n%s", p.command, err, printed, journal)
	}
	text := string(printed)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return result{p.command, text, took}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
