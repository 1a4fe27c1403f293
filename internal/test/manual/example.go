package manual

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// renderers show a page as its readers see it.
var renderers = [][]string{
	{"mandoc", "-T", "ascii", "-O", "width=1000"},
	{"groff", "-m", "mdoc", "-T", "ascii", "-P", "-cbou", "-r", "LL=1000n"},
}

// Examples takes the command lines out of the page's EXAMPLES as two renderers show
// them, hands each to a shell, and has parse look at the arguments that the program
// gets from there.
func Examples(t *testing.T, path, program string, parse func(args []string) error) {
	t.Helper()
	for _, renderer := range renderers {
		out, err := exec.Command(renderer[0], append(renderer[1:], path)...).Output()
		if err != nil {
			t.Fatalf("%s: %v", renderer[0], err)
		}
		lines := commandLines(overstrike.ReplaceAllString(string(out), ""), program)
		if len(lines) == 0 {
			t.Errorf("%s, shown by %s: EXAMPLES has no command", path, renderer[0])
		}
		for _, line := range lines {
			args, err := tryLine(t, program, line)
			if err == nil {
				err = parse(args)
			}
			if err != nil {
				t.Errorf("%s, shown by %s: %q: %v", path, renderer[0], line, err)
			}
		}
	}
}

var (
	// prompt stands before a command, and so does the time in a line of cron.
	prompt = regexp.MustCompile(`^(?:[#$] |(?:[\d*]+ ){5}root )`)
	// displayed are lines that are set off from the text.
	displayed = regexp.MustCompile(`^ {8,}\S`)
)

// commandLines returns the commands in EXAMPLES that a program is part of.
func commandLines(page, program string) (lines []string) {
	_, section, _ := strings.Cut(page, "\nEXAMPLES\n")
	section = regexp.MustCompile(`\n\S`).Split(section, 2)[0]
	section = regexp.MustCompile(`\\\n\s+`).ReplaceAllString(section, "")
	for line := range strings.Lines(section) {
		text := strings.TrimSpace(line)
		if !displayed.MatchString(line) || !prompt.MatchString(text) {
			continue
		}
		text = prompt.ReplaceAllString(text, "")
		if contains(text, program) && !strings.HasPrefix(text, "runuser ") && !strings.HasPrefix(text, "openssl ") {
			lines = append(lines, text)
		}
	}
	return lines
}

// tryLine runs a command line, in which something that notes its arguments and ends with
// status 2, as a run with nothing to do, stands for the program.
func tryLine(t *testing.T, program, line string) ([]string, error) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"challenge.eml", "users.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stand := program + `() { printf '%s\n' "$@" >args; return 2; }; `
	cmd := exec.Command("bash", "-c", stand+line)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState.ExitCode() != 2 {
		t.Errorf("bash says %s", out)
		return nil, err
	}
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	if len(args) <= 1 { // the line end that stands for none
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(args), "\n"), "\n"), err
}
