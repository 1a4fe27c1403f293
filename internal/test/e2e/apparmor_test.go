package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"postseal/internal/check"
	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

// rule is a path rule of an AppArmor profile.
type rule struct {
	deny  bool
	path  *regexp.Regexp
	perms string
}

var (
	ruleLine    = regexp.MustCompile(`^\s*(deny\s+)?(?:owner\s+)?([/@][^\s,]*(?:\{[^}\s]*\}[^\s,]*)*)\s+([a-zA-Z]+)\s*,`)
	includeLine = regexp.MustCompile(`^\s*include\s+(?:if exists\s+)?<(abstractions/[^>]+)>`)
	variables   = strings.NewReplacer("@{PROC}", "/proc/", "@{sys}", "/sys/", "@{run}", "{/var,}/run", "@{pid}", "[0-9]*",
		"@{HOME}", "/{root,home/*}", "@{etc_ro}", "{/usr,}/etc/", "@{multiarch}", "*-linux-gnu*", "@{HOMEDIRS}", "/home")
	globs = strings.NewReplacer("**", ".*", "*", "[^/]*", "?", "[^/]", "{", "(?:", "}", ")", ",", "|", ".", `\.`, "+", `\+`)
)

// profile reads the path rules of a profile and of the abstractions that it includes.
func profile(t *testing.T, file string) (rules []rule) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if m := includeLine.FindStringSubmatch(line); m != nil {
			if included := "/etc/apparmor.d/" + m[1]; isFile(included) {
				rules = append(rules, profile(t, included)...)
			}
			continue
		}
		m := ruleLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		path := strings.ReplaceAll(variables.Replace(m[2]), "//", "/")
		expr, err := regexp.Compile("^" + globs.Replace(path) + "$")
		if err != nil {
			t.Fatalf("%s: %s: %v", file, line, err)
		}
		rules = append(rules, rule{m[1] != "", expr, m[3]})
	}
	return rules
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// lacking returns which of the rights to a path the rules do not give.
func lacking(rules []rule, path, rights string) string {
	given, denied := "", ""
	for _, r := range rules {
		switch {
		case !r.path.MatchString(path):
		case r.deny:
			denied += r.perms
		default:
			given += r.perms
		}
	}
	return strings.Map(func(right rune) rune {
		if strings.ContainsRune(given, right) && !strings.ContainsRune(denied, right) {
			return -1
		}
		return right
	}, rights)
}

var (
	opened    = regexp.MustCompile(`open(?:at)?\((?:AT_FDCWD(?:<[^>]*>)?, |(\d+)<([^>]*)>, )?"([^"]+)", ([A-Z_|]+).* = \d`)
	socketed  = regexp.MustCompile(`(?:connect|bind)\(.*sun_path="([^"]+)".* = (?:0|-1 EINPROGRESS)`)
	named     = regexp.MustCompile(`(?:rename|link|unlink|mkdir|chmod|truncate)[a-z0-9]*\((.*)\) = 0`)
	executed  = regexp.MustCompile(`execve\("([^"]+)".* = 0`)
	locked    = regexp.MustCompile(`(?:flock\(|fcntl\()\d+<([^>]+)>, (?:LOCK_|F_(?:OFD_)?SETLK)`)
	nameInArg = regexp.MustCompile(`(?:\d+<([^>]*)>, )?"([^"]+)"`)
)

// touched calls f with each path that a trace shows the program to have got, and the
// rights that took.
func touched(trace string, f func(path, rights string)) {
	for line := range strings.Lines(trace) {
		if m := opened.FindStringSubmatch(line); m != nil && !strings.Contains(m[4], "O_PATH") {
			rights := ""
			if !strings.Contains(m[4], "O_WRONLY") {
				rights = "r"
			}
			if strings.Contains(m[4], "O_WRONLY") || strings.Contains(m[4], "O_RDWR") || strings.Contains(m[4], "O_CREAT") {
				rights += "w"
			}
			f(below(m[2], m[3]), rights)
		} else if m := socketed.FindStringSubmatch(line); m != nil {
			f(m[1], "rw")
		} else if m := named.FindStringSubmatch(line); m != nil {
			for _, n := range nameInArg.FindAllStringSubmatch(m[1], -1) {
				f(below(n[1], n[2]), "w")
			}
		} else if m := executed.FindStringSubmatch(line); m != nil {
			f(m[1], "x")
		} else if m := locked.FindStringSubmatch(line); m != nil {
			f(m[1], "k")
		}
	}
}

func below(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// tracing makes a command of a user leave a trace in a file. Only root can look into
// programs of ours.
func (y *yard) tracing(cmd *exec.Cmd, user, file string) *exec.Cmd {
	y.t.Helper()
	strace, err := exec.LookPath("strace")
	y.must(err)
	// -D: the program is the child, and gets the signals.
	cmd.Args = append([]string{"strace", "-D", "-f", "-y", "-s", "4096", "-o", file, "-u", user,
		"-e", "trace=%file,connect,bind,flock,fcntl", cmd.Path}, cmd.Args[1:]...)
	cmd.Path, cmd.SysProcAttr = strace, nil
	return cmd
}

// traced reads a trace once it is whole.
func traced(t *testing.T, file string) (trace string) {
	t.Helper()
	mta.WaitFor(t, "the end of the trace", func() bool {
		text, _ := os.ReadFile(file) // it may not be there yet
		trace = string(text)
		lines := strings.Split(strings.TrimSpace(trace), "\n")
		return strings.Contains(lines[len(lines)-1], "+++ exited with")
	})
	return trace
}

// wantCovered wants a profile to allow what a trace shows, where the package has it.
func (y *yard) wantCovered(program, trace string) {
	y.t.Helper()
	rules := profile(y.t, filepath.Join(profiles, program))
	places := strings.NewReplacer(y.state, "/var/lib/postseal", y.socket, "/run/postseal/milter.sock",
		y.bin+"/postseal-check", "/usr/libexec/postseal/postseal-check", y.bin, "/usr/bin", y.dir, "/etc/postseal", "/proc/self/", "/proc/1/")
	seen := 0
	touched(trace, func(path, rights string) {
		seen++
		if path == y.bin+"/"+strings.TrimPrefix(filepath.Ext(program), ".") && rights == "x" {
			return // that is how it begins
		}
		name := places.Replace(path)
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			name += "/" // as AppArmor calls directories
		}
		if missing := lacking(rules, name, rights); missing != "" {
			y.t.Errorf("%s: no %q for %s", program, missing, name)
		}
	})
	if seen < 10 {
		y.t.Errorf("%s: only %d paths in the trace\n%s", program, seen, trace)
	}
}

const profiles = "../../../contrib/apparmor"

// static compiles programs as the package has them: without libraries and their files.
func static(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", dir+"/", "postseal/cmd/postseal", "postseal/cmd/postseal-check",
		"postseal/cmd/postseal-milter", "postseal/cmd/postseal-pipe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for path := dir; path != "/tmp" && path != "/"; path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// What the programs open, lock, rename and connect to while they answer a challenge and
// look at a machine, the AppArmor profiles allow. The kernel is not asked.
func TestAppArmor(t *testing.T) {
	mta.Need(t, "strace", "apparmor_parser")
	y := newYard(t, testca.Config{Strict: true})
	y.bin = static(t)
	traces := t.TempDir()
	trace := func(name string) string { return filepath.Join(traces, name) }

	metrics := "127.0.0.1:" + mta.FreePort(t)
	milter := y.milterCommand(y.dir)
	milter.Args = append(milter.Args, "--metrics", metrics)
	y.runMilter(y.tracing(milter, y.user.Name, trace("milter")), y.dir)
	y.order(alice)
	page, err := http.Get("http://" + metrics + "/metrics")
	y.must(err)
	_, err = io.Copy(io.Discard, page.Body)
	y.must(err)
	page.Body.Close()

	options, err := json.Marshal(check.Options{State: y.state, Milter: "unix:" + y.socket, Server: y.ca.DirectoryURL, CABundle: y.ca.RootFile,
		Resolver: y.ca.DNSAddr, SMTP: "smtp://" + y.ca.SMTPAddr, Emails: []string{alice}, MailUser: y.user.Name})
	y.must(err)
	look := exec.Command(filepath.Join(y.bin, "postseal-check"))
	look.Stdin = strings.NewReader(string(options))
	_, err = y.tracing(look, "root", trace("check")).Output()
	y.must(err)

	y.through(func(_, _ string, msg []byte) error {
		cmd := y.tracing(y.pipeCommand(msg), y.user.Name, trace("pipe"))
		return cmd.Run()
	})
	y.order("bob@example.test")
	y.must(milter.Process.Signal(syscall.SIGTERM))
	y.wantCovered("usr.bin.postseal-milter", traced(t, trace("milter")))
	y.wantCovered("usr.bin.postseal-pipe", traced(t, trace("pipe")))
	y.wantCovered("usr.libexec.postseal.postseal-check", traced(t, trace("check")))
}

// The parser of AppArmor takes the profiles, and none of the mail half's can reach a key.
func TestAppArmorProfiles(t *testing.T) {
	mta.Need(t, "apparmor_parser")
	files, err := filepath.Glob(profiles + "/usr.*")
	if err != nil || len(files) != 3 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, file := range files {
		if out, err := exec.Command("/usr/sbin/apparmor_parser", "-Q", "-K", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
		rules := profile(t, file)
		if len(rules) < 30 {
			t.Errorf("%s: %d path rules", file, len(rules))
		}
		for _, path := range []string{"/var/lib/postseal/certs/alice@example.org/privkey.pem", "/var/lib/postseal/accounts/one/key.pem",
			"/home/alice/.local/state/postseal/certs/alice@example.org/privkey.pem", "/etc/shadow"} {
			for _, right := range []string{"r", "w"} {
				if lacking(rules, path, right) == "" {
					t.Errorf("%s gives %q to %s", file, right, path)
				}
			}
		}
		if lacking(rules, "/bin/sh", "x") == "" {
			t.Errorf("%s lets a shell run", file)
		}
	}
}
