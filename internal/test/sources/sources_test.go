package sources

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"postseal/internal/test/mta"
)

// world is what a source reads from.
type world struct {
	replace []string   // of the table's text: old, new, old, new, …
	within  []string   // command that runs another one where the source finds its world
	cut     func()     // makes the server return a part of the list; nil: it cannot
	stop    func()     // makes the source fail
	says    string     // what the error then has, a regular expression
	want    [][]string // addresses; nil: those of everybody, in one table
}

// everybody are the mailboxes of example.org that each server has. dave@example.net is
// there, too, where a server can have several domains.
var everybody = []string{"alice@example.org", "bob@example.org", "carol@example.org"}

// sources are the tables of the page, by their headings.
var sources = map[string]func(*testing.T) world{
	"Dovecot":         func(t *testing.T) world { return dovecot(t, passwdFile) },
	"Postfix tables":  func(t *testing.T) world { return postfixTables(t, "lmdb") },
	"Aliases":         func(t *testing.T) world { return postfixTables(t, "hash") },
	"LDAP":            ldap,
	"System users":    systemUsers,
	"PostgreSQL":      postgres,
	"SQLite":          sqlite,
	"A file":          file,
	"Several domains": severalDomains,
}

// Each table of the page lists all mailboxes, and fails when its server is away.
func TestSources(t *testing.T) {
	mta.NotShort(t)
	tables := readTables(t)
	for heading, start := range sources {
		t.Run(heading, func(t *testing.T) {
			t.Parallel()
			text, ok := tables[heading]
			if !ok {
				t.Fatalf("the page has no table under %q", heading)
			}
			try(t, text, start(t))
		})
	}
	for heading := range tables {
		if sources[heading] == nil {
			t.Errorf("the table under %q is not tried", heading)
		}
	}
}

// The same table does for a Dovecot with a database behind it.
func TestDovecotWithSQL(t *testing.T) {
	mta.NotShort(t)
	t.Parallel()
	try(t, readTables(t)["Dovecot"], dovecot(t, sqlUsers))
}

func try(t *testing.T, table string, w world) {
	t.Helper()
	if w.want == nil {
		w.want = [][]string{everybody}
	}
	p := newPostseal(t, strings.NewReplacer(w.replace...).Replace(table), w.within)
	for n, report := range p.plan() {
		if got := report.addresses(); !slices.Equal(got, w.want[n]) {
			t.Errorf("the source of %s has %q, want %q", report.Domain, got, w.want[n])
		}
	}
	// Without orders, so that there is a list to compare the next one with.
	if status, out := p.run("enroll"); status != 0 && status != 2 {
		t.Fatalf("exit status %d\n%s", status, out)
	}
	before := p.state()
	if w.cut != nil {
		w.cut()
		p.wantNothing(w.says, before)
	}
	w.stop()
	p.wantNothing(w.says, before)
}

// postseal is a postseal with a configuration and a state of its own.
type postseal struct {
	t      *testing.T
	bin    string
	dir    string
	within []string
}

func newPostseal(t *testing.T, tables string, within []string) *postseal {
	t.Helper()
	p := &postseal{t, filepath.Join(mta.Build(t, "postseal"), "postseal"), t.TempDir(), within}
	// What the tables do not say, and what makes a list remembered: any loss counts.
	tables = strings.ReplaceAll(tables, "[[enroll]]\n", "[[enroll]]\nnew-per-run = 0\n")
	write(t, filepath.Join(p.dir, "postseal.toml"), "state = '"+filepath.Join(p.dir, "state")+"'\nserver = 'https://127.0.0.1:1/'\n"+tables)
	return p
}

// run returns the exit status and all output.
func (p *postseal) run(args ...string) (int, string) {
	p.t.Helper()
	args = slices.Concat(p.within, []string{p.bin}, args, []string{"--config", filepath.Join(p.dir, "postseal.toml"), "--non-interactive"})
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = p.dir
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// report is what the plan says of a table.
type report struct {
	Domain string
	Error  string
	Steps  []struct{ Address, Action, Kind string }
}

// addresses returns whom the source lists and the table does not exclude.
func (r report) addresses() (all []string) {
	for _, step := range r.Steps {
		if step.Action != "excluded" {
			all = append(all, step.Address)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (p *postseal) plan() []report {
	p.t.Helper()
	status, out := p.run("enroll", "--plan", "--json")
	var document struct{ Tables []report }
	if err := json.Unmarshal([]byte(out), &document); err != nil {
		p.t.Fatalf("exit status %d, %v\n%s", status, err, out)
	}
	return document.Tables
}

// wantNothing wants a run that fails and changes nothing.
func (p *postseal) wantNothing(says, before string) {
	p.t.Helper()
	status, out := p.run("enroll")
	if status != 1 || !regexp.MustCompile("error: source of .*"+says).MatchString(out) {
		p.t.Errorf("exit status %d, want 1 and %q:\n%s", status, says, out)
	}
	if after := p.state(); after != before {
		p.t.Errorf("the state was\n%s\nand is\n%s", before, after)
	}
}

// state returns the names and contents of all files.
func (p *postseal) state() string {
	p.t.Helper()
	return shell(p.t, `cd "$0" && find . -path ./certs/.runs -prune -o -type f -printf '%p %T@\n' -exec cat {} + | sort`, filepath.Join(p.dir, "state"))
}

// readTables returns the configurations on the page, by their headings.
func readTables(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(mta.Root(t), "contrib/enroll/README.md"))
	must(t, err)
	all := map[string]string{}
	for _, m := range regexp.MustCompile("(?ms)^## ([^\n]+)\n\n```toml\n(.*?)^```").FindAllSubmatch(text, -1) {
		all[string(m[1])] = string(m[2])
	}
	return all
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	must(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// shell runs a line of shell, which must work, and returns what it printed.
func shell(t *testing.T, line string, args ...string) string {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", line}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
