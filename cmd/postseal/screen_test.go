package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"postseal/internal/test/mta"
)

// Colours and bars are for a terminal that understands them, and colours never for
// whoever has set NO_COLOR. script(1) is the terminal.
func TestScreen(t *testing.T) {
	t.Parallel()
	mta.Need(t, "script")
	site := newBrokenSite(t)
	const (
		check = `postseal check --state . --smtp smtp://127.0.0.1:1 --resolver 127.0.0.1:1`
		batch = `postseal cert -n --each -e a@x.test -e b@x.test --agree-tos --timeout 1s`
	)
	for name, c := range map[string]struct {
		command    string
		env        []string
		terminal   bool
		colour, cr bool // escape sequences; a line that is written again
	}{
		"terminal":        {check, []string{"TERM=xterm"}, true, true, false},
		"NO_COLOR":        {check, []string{"TERM=xterm", "NO_COLOR=1"}, true, false, false},
		"empty NO_COLOR":  {check, []string{"TERM=xterm", "NO_COLOR="}, true, true, false},
		"dumb terminal":   {check, []string{"TERM=dumb"}, true, false, false},
		"no terminal":     {check, []string{"TERM=xterm"}, false, false, false},
		"JSON":            {check + " --json", []string{"TERM=xterm"}, true, false, false},
		"bar":             {batch, []string{"TERM=xterm", "NO_COLOR=1"}, true, false, true},
		"bar, dumb":       {batch, []string{"TERM=dumb"}, true, false, false},
		"bar, no screen":  {batch, []string{"TERM=xterm"}, false, false, false},
		"error":           {"postseal cert", []string{"TERM=xterm"}, true, false, false},
		"help":            {"postseal --help", []string{"TERM=xterm"}, true, false, false},
		"status":          {"postseal status", []string{"TERM=xterm"}, true, false, false},
		"a machine's own": {"postseal init -n --dry-run --via postfix", []string{"TERM=xterm"}, true, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := site.watch(t, c.command, c.terminal, c.env)
			if got := strings.Contains(out, "\x1b["); got != c.colour {
				t.Errorf("escape sequences: %v, want %v\n%q", got, c.colour, out)
			}
			if got := strings.Contains(strings.ReplaceAll(out, "\r\n", "\n"), "\r"); got != c.cr {
				t.Errorf("a line is written again: %v, want %v\n%q", got, c.cr, out)
			}
		})
	}
}

// watch runs a command line, on a terminal or not, and returns all that it writes.
func (s *brokenSite) watch(t *testing.T, command string, terminal bool, env []string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", command)
	if terminal {
		cmd = exec.Command("script", "-qec", command, "/dev/null")
	}
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + s.bin + ":" + os.Getenv("PATH"), "HOME=" + dir, "POSTSEAL_STATE=" + dir + "/state", "POSTSEAL_KEY_TYPE=p256",
		"POSTSEAL_SERVER=" + s.vars["CA"], "POSTSEAL_CA_BUNDLE=" + s.vars["ROOT"], "GORACE=atexit_sleep_ms=0", "SHELL=/bin/sh"}, env...)
	out, err := cmd.CombinedOutput()
	if len(out) == 0 {
		t.Fatalf("nothing was said: %v", err)
	}
	return string(out)
}
