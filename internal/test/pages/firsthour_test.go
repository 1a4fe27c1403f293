//go:build packages

package pages

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

var update = flag.Bool("update", false, "write what was printed into the page")

const (
	results  = "results"
	place    = "/srv" // where root works
	commands = 10     // at most, up to the first certificate
	patience = 5 * time.Minute

	// firstEnd is behind the command that gets the first certificate.
	firstEnd = "```\n<!-- first certificate -->\n"

	// host is the machine's name. Were it below example.test, Debian's Postfix would hand
	// that domain's mail to the relay.
	host = "mx1.provider.test"

	// caDNS is where the CA's DNS server is, which the page starts.
	caDNS = "127.0.0.1:5353"
)

// result is what became of a command.
type result struct {
	Command string
	Output  string
	Took    time.Duration
}

// The first hour passes as its page says.
func TestFirstHour(t *testing.T) {
	if machine.Inside() {
		follow(t)
		return
	}
	dir, err := kit.Path()
	must(t, err)
	addPackage(t, dir)
	report, err := machine.Run(t, machine.Spec{Image: "fresh", Host: host, Kit: dir, Boot: true, Limit: 2 * patience})
	if err != nil {
		t.Error(err)
	}
	name := filepath.Join(root, firstHour)
	text, err := os.ReadFile(name)
	must(t, err)
	corrected := compare(t, string(text), readPage(t, name).session(), readResults(t, filepath.Join(report, results)))
	if *update {
		must(t, os.WriteFile(name, []byte(corrected), 0o644))
	}
}

// addPackage makes the package, of the version that the page shows, and adds it to the kit.
func addPackage(t *testing.T, kit string) {
	t.Helper()
	build := exec.Command("sh", "-c", ".ci/release deb && mv dist/*.deb ..")
	build.Dir = filepath.Join(kit, "src")
	build.Env = append(os.Environ(), "VERSION=0.1.0", epoch)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// compare holds what was printed against the page, and returns that with what was printed.
func compare(t *testing.T, text string, steps []step, done []result) string {
	var b strings.Builder
	took := time.Duration(0)
	for i, r := range done {
		s := steps[i]
		before, after, _ := strings.Cut(text, s.command+s.output)
		took += r.Took
		if !same(s.output, r.Output) {
			t.Errorf("%sprints\n%s\nand not\n%s", s.command, r.Output, s.output)
			s.output = r.Output
		}
		b.WriteString(before + s.command + s.output)
		if rest, ok := strings.CutPrefix(after, firstEnd); ok {
			line, rest, _ := strings.Cut(rest, "\n")
			after = firstEnd + first(t, line, i+1, took) + "\n" + rest
		}
		text = after
	}
	return b.String() + text
}

// first looks at what it took to come to the first certificate, which is the line
// below the mark in the page, and returns what it ought to say.
func first(t *testing.T, line string, count int, took time.Duration) string {
	t.Helper()
	text := fmt.Sprintf("From the fresh system to here: %d commands, and %.0f seconds of the machine's time.", count, took.Seconds())
	t.Log(text)
	if count > commands || took > patience {
		t.Errorf("more than %d commands or %s to the first certificate: %s", commands, patience, text)
	}
	if same(line, text) {
		return line
	}
	t.Errorf("the page says %q and not %q", line, text)
	return text
}

func readResults(t *testing.T, name string) (all []result) {
	t.Helper()
	data, err := os.ReadFile(name)
	must(t, err)
	for d := json.NewDecoder(strings.NewReader(string(data))); d.More(); {
		var r result
		must(t, d.Decode(&r))
		all = append(all, r)
	}
	return all
}

// follow is root of the fresh machine, who does what the page says.
func follow(t *testing.T) {
	freshHost(t)
	out, err := os.Create(filepath.Join(machine.Report, results))
	must(t, err)
	defer out.Close()
	for _, s := range readPage(t, filepath.Join(root, firstHour)).session() {
		r := run(t, s)
		must(t, json.NewEncoder(out).Encode(r))
		if t.Failed() {
			return
		}
	}
}

// run runs one command. Its output goes to a file, which daemons that it starts may
// keep open.
func run(t *testing.T, s step) result {
	f, err := os.CreateTemp("", "output")
	must(t, err)
	defer f.Close()
	cmd := exec.Command("timeout", "120", "bash", "-c", s.script())
	cmd.Stdout, cmd.Stderr, cmd.Dir = f, f, place
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "COLUMNS=120")
	start := time.Now()
	err = cmd.Run()
	took := time.Since(start)
	printed, readErr := os.ReadFile(f.Name())
	must(t, readErr)
	if err != nil {
		journal, _ := exec.Command("journalctl", "--no-pager", "--lines=50").CombinedOutput()
		t.Errorf("%s%v\n%s\nThe journal:\n%s", s.command, err, printed, journal)
	}
	text := string(printed)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return result{s.command, text, took}
}

// freshHost is what a host at a provider has before its admin comes: names, DNS, users,
// packages that were fetched, and a preset for Postfix that sends mail through the
// provider's relay. The relay is played by the CA's mail host.
func freshHost(t *testing.T) {
	must(t, os.Remove("/usr/sbin/policy-rc.d")) // of the image: packages start nothing there
	for name, text := range map[string]string{
		"/etc/mailname":    "example.test\n",
		"/etc/hostname":    host + "\n",
		"/etc/hosts":       "127.0.0.1 " + host + " mx1 localhost\n",
		"/etc/resolv.conf": "nameserver 127.0.0.1\n",
	} {
		must(t, os.WriteFile(name, []byte(text), 0o644))
	}
	must(t, exec.Command("useradd", "--create-home", "alice").Run())
	debs, err := filepath.Glob(machine.Kit + "/*.deb")
	must(t, err)
	for _, deb := range debs {
		data, err := os.ReadFile(deb)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(place, filepath.Base(deb)), data, 0o644))
	}
	must(t, machine.ServeDNS(caDNS, func(name string) (n machine.Name, known bool) {
		switch name {
		case "example.test":
			n.Mail = host
		case host:
			n.Address = "127.0.0.1"
		}
		return n, true
	}))
	presets := exec.Command("debconf-set-selections")
	presets.Stdin = strings.NewReader("postfix postfix/main_mailer_type select Internet with smarthost\n" +
		"postfix postfix/relayhost string [127.0.0.1]:2525\n")
	must(t, presets.Run())
}
