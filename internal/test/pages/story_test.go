package pages

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"postseal/internal/test/machine"
	"postseal/internal/testca"
)

// story is a page whose commands are run.
type story struct {
	page  string
	image string
	dir   string // where the commands are run, below the top; "" is contrib
	bare  bool   // the programs are not installed yet
	login string // who runs them; "" is root

	first []chapter         // what other pages say that this one builds upon
	setup string            // shell: what the machine is like before; "" if it is to be alone in the world
	hands map[string]hand   // what is done by hand before a command
	other map[string]other  // what is run in place of a command
	wants map[string]string // what a command must print, a regular expression
}

// chapter is the part of a page below a heading.
type chapter struct{ page, heading string }

// hand is something that a page says in words.
type hand struct{ says, does string }

// other is what is run in place of a command that cannot be run here, and why.
type other struct{ why, run string }

// limit is for all commands of a page together, on a machine with much else to do; and
// lifetime for the machine.
const (
	limit    = 10 * time.Minute
	lifetime = limit + 2*time.Minute
)

// tell runs the commands of a page, on the machine.
func (s story) tell(t *testing.T) {
	p := readPage(t, filepath.Join(root, s.page))
	ca := s.prepare(t)
	script, commands := s.script(t, p)
	text := s.run(t, script, ca)
	for i, out := range parse(text, len(commands)) {
		s.judge(t, commands[i], out)
	}
	if t.Failed() {
		journal, _ := exec.Command("journalctl", "--no-pager", "--lines=100").CombinedOutput()
		t.Logf("all that was printed:\n%s\nand the journal:\n%s", text, journal)
	}
}

// outcome is what came of a command.
type outcome struct {
	ran    bool
	status string
	took   float64 // seconds
	output string
}

func (s story) judge(t *testing.T, command string, out outcome) {
	switch {
	case !out.ran:
		t.Errorf("%s: not run, because of an earlier one: %s", s.page, command)
	case out.status != "0":
		t.Errorf("%s: exit %s: %s\n%s", s.page, out.status, command, out.output)
	case !regexp.MustCompile(s.wants[command]).MatchString(out.output):
		t.Errorf("%s: %s\nprinted nothing like %q:\n%s", s.page, command, s.wants[command], out.output)
	default:
		t.Logf("$ %s   (%.1f s)\n%s", command, out.took, out.output)
	}
}

// prepare makes the machine what the page takes for granted.
func (s story) prepare(t *testing.T) *testca.CA {
	for _, program := range programs {
		if !s.bare {
			must(t, os.Symlink(filepath.Join(machine.Kit, program), filepath.Join("/usr/bin", program)))
		}
	}
	for _, name := range []string{"you", "alice"} {
		shell(t, "useradd --create-home --user-group --shell /bin/bash "+name)
	}
	if s.setup == "" {
		return new(testca.CA)
	}
	must(t, os.WriteFile("/etc/mailname", []byte(domain+"\n"), 0o644))
	must(t, os.WriteFile("/etc/resolv.conf", []byte("nameserver 127.0.0.1\noptions timeout:2 attempts:1\n"), 0o644))
	key := makeKey(t)
	shell(t, s.setup)
	return startWorld(t, key)
}

// shell runs what is not a command of the page. It must work.
func shell(t *testing.T, script string) {
	t.Helper()
	f, err := os.CreateTemp("", "shell")
	must(t, err)
	cmd := exec.Command("timeout", "300", "bash", "-e", "-c", script)
	cmd.Stdout, cmd.Stderr = f, f // daemons keep no pipe of ours
	runErr := cmd.Run()
	out, err := os.ReadFile(f.Name())
	must(t, err)
	if runErr != nil {
		t.Fatalf("%s\n%v\n%s", script, runErr, out)
	}
}

// mark begins the lines by which the script tells where it is.
const mark = "@@readme"

// script is what the page says, with what is said in words at the right places.
func (s story) script(t *testing.T, p page) (script string, commands []string) {
	var b strings.Builder
	fmt.Fprintf(&b, "cd %s\n", s.place())
	for _, c := range s.first {
		for _, block := range readPage(t, filepath.Join(root, c.page)).section(c.heading) {
			for _, command := range block.commands() {
				fmt.Fprintf(&b, "%s || exit\n", command)
			}
		}
	}
	for _, block := range p.section("") {
		fmt.Fprintf(&b, "cd %s\n", s.place())
		for _, command := range block.commands() {
			if hand, ok := s.hands[command]; ok {
				fmt.Fprintf(&b, "(set -e\n%s\n) || exit\n", hand.does)
			}
			run := command
			if other, ok := s.other[command]; ok {
				run = other.run
			}
			if strings.HasPrefix(run, "journalctl") {
				b.WriteString("journalctl --sync\n") // what was just said is in it
			}
			fmt.Fprintf(&b, "echo; echo %s %d begins; b=$EPOCHREALTIME\n%s\ns=$?; echo; echo %s %d exit $s $b $EPOCHREALTIME; [ $s -eq 0 ] || exit 1\n",
				mark, len(commands), run, mark, len(commands))
			commands = append(commands, command)
		}
	}
	return b.String(), commands
}

// place is the directory in which every block begins.
func (s story) place() string {
	if s.dir != "" {
		return filepath.Join(root, s.dir)
	}
	return filepath.Join(root, "contrib")
}

// run runs the script in one shell and returns what it printed.
func (s story) run(t *testing.T, script string, ca *testca.CA) []byte {
	f, err := os.CreateTemp("", "story")
	must(t, err)
	args := []string{"timeout", "--kill-after=5", fmt.Sprint(limit.Seconds()), "bash", "-c", script}
	env := append(os.Environ(), environment(t, ca)...)
	if s.login != "" {
		args = append([]string{"runuser", "-u", s.login, "--"}, args...)
		env = append(env, "HOME=/home/"+s.login)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Env, cmd.Dir = f, f, env, "/"
	if err := cmd.Run(); err != nil {
		t.Errorf("%s: %v", s.page, err)
	}
	text, err := os.ReadFile(f.Name())
	must(t, err)
	return text
}

// environment is what an admin would have in the configuration file or say on the
// terminal: which CA, that its terms are agreed to, and small keys, to be quick; and Go,
// for the pages of those who have it. The copy of the source is not a Git clone, so the
// version is given.
func environment(t *testing.T, ca *testca.CA) []string {
	dirs := goDirs(t, machine.Kit)
	return []string{"POSTSEAL_CA_BUNDLE=" + rootFile, "POSTSEAL_SERVER=" + ca.DirectoryURL, "POSTSEAL_AGREE_TOS=true",
		"POSTSEAL_KEY_TYPE=p256", "POSTSEAL_TIMEOUT=5m", "TERM=dumb", "SYSTEMD_PAGER=", "DEBIAN_FRONTEND=noninteractive",
		"PATH=" + os.Getenv("PATH") + ":" + filepath.Join(dirs[0], "bin"), "GOCACHE=" + dirs[1], "GOMODCACHE=" + dirs[2], "GOPROXY=off",
		"VERSION=1.0.0", epoch}
}

// epoch is the time of a release, where no Git says it.
const epoch = "SOURCE_DATE_EPOCH=1767225600"

// parse finds what came of each command in what the script printed.
func parse(text []byte, n int) []outcome {
	all := make([]outcome, n)
	for i := range all {
		begin := fmt.Sprintf("\n%s %d begins\n", mark, i)
		end := fmt.Sprintf("\n%s %d exit ", mark, i)
		_, rest, ok := bytes.Cut(text, []byte(begin))
		if !ok {
			continue
		}
		output, rest, ok := bytes.Cut(rest, []byte(end))
		all[i] = outcome{ran: true, output: string(output)}
		var begun, ended float64
		if _, err := fmt.Sscan(string(rest), &all[i].status, &begun, &ended); !ok || err != nil {
			all[i].status = "none: it did not end"
		}
		all[i].took = ended - begun
	}
	return all
}
