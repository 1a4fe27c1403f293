package pages

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"postseal/internal/cli"
)

// Every block says what it is, and what it is decides how it is checked.
func TestBlocks(t *testing.T) {
	programs := shown(t)
	for _, p := range pages(t) {
		for _, l := range p.stray {
			t.Errorf("%s:%d: code set off by spaces: put it between ``` lines, and say behind the first what it is (see doc.go)", p.name, l.line)
		}
		for _, b := range p.blocks {
			where := fmt.Sprintf("%s:%d", b.page, b.line)
			switch b.kind {
			case "sh":
				if len(b.commands()) == 0 {
					t.Errorf("%s: no command in it", where)
				}
			case "toml":
				loads(t, where, b.text)
			case "conf":
				if !contains(t, filepath.Join(root, b.file), b.text) {
					t.Errorf("%s: these lines are not in %s, which a recipe uses", where, b.file)
				}
			case "console":
				if b.page != firstHour {
					t.Errorf("%s: a session, and no test is known that runs it", where)
				}
			case "text":
				for line := range strings.Lines(b.text) {
					if programs[program(line)] {
						t.Errorf("%s: %q begins like a command; commands are in sh blocks, which are run", where, strings.TrimSpace(line))
					}
				}
			default:
				t.Errorf("%s: a block of %q; doc.go has what there is", where, b.kind)
			}
		}
	}
}

// loads has the programs read a configuration file.
func loads(t *testing.T, where, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "postseal.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cli.ReadFile(file); err != nil {
		t.Errorf("%s: %v", where, err)
	}
}

// contains reports whether a file has lines, however they are indented.
func contains(t *testing.T, name, lines string) bool {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Error(err)
		return true
	}
	fields := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	return strings.Contains(fields(string(data)), fields(lines))
}

// program returns the name of the program that a command begins with.
func program(command string) string {
	for word := range strings.FieldsSeq(command) {
		if strings.Contains(word, "=") && word[0] != '=' {
			continue // a variable for the program
		}
		return filepath.Base(strings.Trim(word, `'"`))
	}
	return ""
}

// shown returns the programs that blocks of shell start, ours, and those of mail servers
// that pages only mention.
func shown(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{"postqueue": true, "postsuper": true, "postconf": true, "smtpctl": true}
	for _, name := range programs {
		all[name] = true
	}
	for _, p := range pages(t) {
		for _, b := range p.section("") {
			for _, command := range b.commands() {
				all[program(command)] = true
			}
		}
	}
	delete(all, "cd")
	return all
}

// firstHour is the page with a session, which TestFirstHour runs.
const firstHour = "contrib/first-hour.md"

// said are commands that stand in a sentence and in no block, each with the reason. A
// longer one that begins with it is meant too.
var said = map[string]string{
	"make quick":                        "it runs this test",
	"make check":                        "it takes minutes, and `make test` begins with it",
	"make fuzz":                         "it takes minutes",
	"make reproducible":                 "it takes minutes; `make test` has a short one",
	"go test ./milter -run":             "`make test` runs that test",
	"go test -short":                    "it runs this test",
	"make microbench":                   "it takes minutes",
	"make crash":                        "it takes minutes; `make test` has a short one",
	"make soak":                         "it takes minutes; `make test` has a short one",
	"make site":                         "it takes minutes; `make test` has a short one",
	"go test -bench":                    "it takes minutes",
	"make packages":                     "it takes minutes",
	"make doors":                        "it takes minutes, and the stories about other mail servers are a part of it",
	"postsuper -d":                      "Postfix's, with the number of a mail behind it",
	"postqueue -p":                      "Postfix's; internal/test/recipes asks it for the same in JSON",
	"smtpctl schedule all":              "internal/test/recipes has OpenSMTPD try again with it",
	"exim4 -qff":                        "internal/test/recipes has Exim try again with it",
	"systemctl edit":                    "it opens an editor",
	"apt remove":                        "the tests of internal/test/release do it",
	"apt purge":                         "the tests of internal/test/release do it",
	"postseal-pipe < mail":              "as with challenge.eml in the README",
	"postseal renew":                    "postseal-renew.service runs it, in the story about contrib/systemd",
	"postseal cert -e ADDR --force":     "cmd/postseal/testdata/moving.txt",
	"postseal account deactivate":       "cmd/postseal/testdata/moving.txt",
	"postseal enroll --accept-gone":     "cmd/postseal/testdata/enroll.txt",
	"postseal account update":           "cmd/postseal/testdata/account.txt",
	"postseal cert --deploy-hook":       "the tests of internal/test/p12clients, with each of the hooks",
	"postseal revoke --revoke-hook":     "the same",
	"echo postseal postseal/purge-keys": "the package's tests preseed the answer",
	"postseal cert --interactive":       "cmd/postseal/testdata/interactive.txt",
	"postseal-demo ca":                  "the tests of cmd/postseal-demo",
	"postseal-pipe --print":             "the tests of cmd/postseal-pipe",
}

// placeholder is a word in capitals or an ellipsis, which is not part of a command.
var placeholder = regexp.MustCompile(`^<?(?:[A-Z][A-Z0-9_.]*|…)>?(?:\.eml)?$`)

// A command in a sentence is in a block too, which is run, or it is in said.
func TestCommandsInSentences(t *testing.T) {
	all, programs := pages(t), shown(t)
	var blocks []string
	for _, p := range all {
		for _, b := range p.section("") {
			blocks = append(blocks, b.commands()...)
		}
	}
	used := map[string]bool{}
	for _, p := range all {
		for _, c := range p.code {
			if !strings.Contains(c.text, " ") || !programs[program(c.text)] || !isCommand(c.text) {
				continue
			}
			if !slices.ContainsFunc(blocks, func(b string) bool { return shows(b, c.text) }) && !excused(c.text, used) {
				t.Errorf("%s:%d: %q is in no sh block, which would be run: put it into one, or into the list said with a reason", p.name, c.line, c.text)
			}
		}
	}
	for command := range said {
		if !used[command] {
			t.Errorf("the list said has %q, which no page needs (any more)", command)
		}
	}
}

// isCommand tells a command from the words of a log line, as in `sudo: a password …`.
func isCommand(text string) bool { return !strings.HasSuffix(strings.Fields(text)[0], ":") }

// shows reports whether a command that is run has all words of one that is said.
func shows(run, said string) bool {
	words := strings.Fields(strings.NewReplacer("<", " ", ">", " ").Replace(run))
	for word := range strings.FieldsSeq(strings.NewReplacer("<", " ", ">", " ").Replace(said)) {
		if !slices.Contains(words, word) && !placeholder.MatchString(word) {
			return false
		}
	}
	return true
}

// excused reports whether said has the command, and notes which entry that is.
func excused(text string, used map[string]bool) bool {
	for command := range said {
		if text == command || strings.HasPrefix(text, command+" ") {
			used[command] = true
			return true
		}
	}
	return false
}

// Links lead to files that are there, and to headings that are in them.
func TestLinks(t *testing.T) {
	all := pages(t)
	anchors := map[string][]string{}
	for _, p := range all {
		for _, h := range p.headings {
			anchors[p.name] = append(anchors[p.name], anchor(h))
		}
	}
	for _, p := range all {
		for _, l := range p.links {
			if strings.Contains(l.text, "://") || strings.HasPrefix(l.text, "mailto:") {
				continue
			}
			path, fragment, _ := strings.Cut(l.text, "#")
			to := filepath.Join(filepath.Dir(p.name), path)
			if path == "" {
				to = p.name
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s:%d: a link to %s, which is not there", p.name, l.line, l.text)
			} else if fragment != "" && !slices.Contains(anchors[to], fragment) {
				t.Errorf("%s:%d: a link to %s: no such heading", p.name, l.line, l.text)
			}
		}
	}
}

// anchor is what a heading is called in links.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

// CONTRIBUTING.md sends people to files and targets; TestLinks has those it links to.
func TestContributing(t *testing.T) {
	page := readPage(t, filepath.Join(root, "CONTRIBUTING.md"))
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	targets, files := 0, 0
	for _, c := range page.code {
		if target, ok := strings.CutPrefix(c.text, "make "); ok {
			targets++
			if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(target) + `:`).Match(makefile) {
				t.Errorf("%s:%d: there is no target %s", page.name, c.line, target)
			}
		}
		if !strings.Contains(c.text, " ") && strings.Contains(c.text, "/") && c.text != "bin/" {
			files++
			if _, err := os.Stat(filepath.Join(root, c.text)); err != nil {
				t.Errorf("%s:%d: there is no %s", page.name, c.line, c.text)
			}
		}
	}
	if targets < 10 || files < 4 {
		t.Errorf("%d targets and %d files are named", targets, files)
	}
}
