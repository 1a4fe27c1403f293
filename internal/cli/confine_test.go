//go:build linux

package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

const confinedVariable = "POSTSEAL_CONFINE_TEST"

// TestMain lets the test binary be a program that confines itself, or one that logs.
func TestMain(m *testing.M) {
	switch needs := os.Getenv(confinedVariable); {
	case needs != "":
		confinedChild(needs)
	case os.Getenv(loggingVariable) != "":
		loggingChild()
	default:
		os.Exit(m.Run())
	}
}

// confinedChild confines itself and then does what stdin says, one action a line, with a line
// in answer to each.
func confinedChild(needs string) {
	var n Needs
	if err := json.Unmarshal([]byte(needs), &n); err != nil {
		panic(err)
	}
	fmt.Println(word(Confine(n)))
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		deed, path, _ := strings.Cut(in.Text(), " ")
		fmt.Println(deeds[deed](path))
	}
}

func word(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, fs.ErrPermission):
		return "denied"
	}
	return err.Error()
}

var deeds = map[string]func(path string) string{
	"read":   func(path string) string { _, err := os.ReadFile(path); return word(err) },
	"list":   func(path string) string { _, err := os.ReadDir(path); return word(err) },
	"make":   func(path string) string { return word(os.WriteFile(path, []byte("new"), 0o600)) },
	"remove": func(path string) string { return word(os.Remove(path)) },
	"mkdir":  func(path string) string { return word(os.Mkdir(path, 0o700)) },
	"link":   func(path string) string { return word(os.Symlink("x", path)) },
	"run":    func(path string) string { return word(exec.Command(path).Run()) },
	// As package state writes: a temporary file, a second name, and replacing a file.
	"state": func(path string) string {
		tmp := path + ".tmp"
		return word(errors.Join(os.WriteFile(tmp, nil, 0o640), os.Link(tmp, path), os.Rename(tmp, path+".2"), os.Chmod(path, 0o600)))
	},
	"tell":    func(path string) string { return word(tell(path)) },
	"threads": func(path string) string { return onThreads(func() string { return deedRead(path) }) },
	"privs":   func(string) string { return onThreads(privileges) },
}

// tell sends a datagram to a unix socket, as the log does to the journal.
func tell(path string) error {
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte("MESSAGE=x\n"))
	return err
}

func deedRead(path string) string { _, err := os.ReadFile(path); return word(err) }

func privileges() string {
	dump, err1 := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	none, err2 := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	return fmt.Sprint("dumpable ", dump, " no_new_privs ", none, errors.Join(err1, err2))
}

// onThreads returns the result of f on several system threads, if they agree.
func onThreads(f func() string) string {
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		said  []string
	)
	for range 8 {
		group.Go(func() {
			runtime.LockOSThread()
			s := f()
			mu.Lock()
			defer mu.Unlock()
			said = append(said, s)
		})
	}
	group.Wait()
	slices.Sort(said)
	return strings.Join(slices.Compact(said), "; ")
}

// prisoner is a child.
type prisoner struct {
	*testing.T
	in  *os.File
	out *bufio.Scanner
}

// confined starts a child that has confined itself to n. The programs must also work on a
// kernel without Landlock, and then say so; the rules can be tested only with it.
func confined(t *testing.T, n Needs) (p *prisoner, rules bool) {
	t.Helper()
	needs, err := json.Marshal(n)
	check(t, err)
	r, w, err := os.Pipe()
	check(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), confinedVariable+"="+string(needs))
	cmd.Stdin, cmd.Stderr = r, os.Stderr
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	r.Close()
	t.Cleanup(func() {
		w.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	p = &prisoner{t, w, bufio.NewScanner(out)}
	_, none := ll.LandlockGetABIVersion()
	if said := p.line(); said != "ok" && (none == nil || !strings.Contains(said, "Landlock")) {
		t.Fatalf("Self: %s", said)
	}
	return p, none == nil
}

func (p *prisoner) line() string {
	p.Helper()
	if !p.out.Scan() {
		p.Fatalf("the child is gone: %v", p.out.Err())
	}
	return p.out.Text()
}

func (p *prisoner) want(deed, path, want string) {
	p.Helper()
	_, err := fmt.Fprintln(p.in, deed, path)
	check(p.T, err)
	if got := p.line(); got != want {
		p.Errorf("%s %s: %s, want %s", deed, path, got, want)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tree makes a state directory as the mail half sees it, with other files around it.
func tree(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, sub := range []string{"state/pending", "state/answers", "state/accounts", "socket", "etc", "run"} {
		check(t, os.MkdirAll(filepath.Join(dir, sub), 0o700))
	}
	for _, file := range []string{"state/pending/a.json", "state/accounts/key.pem", "socket/s", "etc/roots.pem", "etc/other", "run/resolv"} {
		check(t, os.WriteFile(filepath.Join(dir, file), []byte("old"), 0o600))
	}
	return dir
}

// Allowed actions work as before; all others are denied, even to root.
func TestSelf(t *testing.T) {
	dir := tree(t)
	p, rules := confined(t, Needs{
		Read: []string{dir + "/state/pending", dir + "/etc/roots.pem"}, Write: []string{dir + "/state/answers"}, Remove: []string{dir + "/socket"},
	})
	p.want("privs", "", "dumpable 0 no_new_privs 1 <nil>")
	for _, deed := range []string{
		"read state/pending/a.json", "list state/pending", "read etc/roots.pem",
		"state state/answers/1.json", "read state/answers/1.json", "list state/answers", "make state/answers/1.json",
		"remove state/answers/1.json", "remove socket/s",
	} {
		deed, path, _ := strings.Cut(deed, " ")
		p.want(deed, filepath.Join(dir, path), "ok")
	}
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "/run/socket", Net: "unixgram"})
	check(t, err)
	defer l.Close()
	p.want("tell", dir+"/run/socket", "ok") // a program may connect to the journal late, or again
	p.want("read", "/etc/hosts", "ok")
	p.want("list", "/etc/ssl/certs", "ok")
	if !rules {
		return
	}
	for _, deed := range []string{
		"read state/accounts/key.pem", "list state/accounts", "list state", "make state/accounts/key.pem", "remove state/accounts/key.pem",
		"make state/pending/a.json", "make state/pending/b.json", "remove state/pending/a.json", "make etc/roots.pem",
		"read etc/other", "list etc", "make socket/s", "mkdir state/answers/d", "link state/answers/l", "threads state/accounts/key.pem",
	} {
		deed, path, _ := strings.Cut(deed, " ")
		p.want(deed, filepath.Join(dir, path), "denied")
	}
	p.want("read", "/etc/passwd", "denied")
	p.want("read", "/proc/self/environ", "denied")
	p.want("run", "/bin/true", "denied")
}

// A state directory that is made after the program confined itself is usable, and so are
// missing parts of one.
func TestSelfBeforeTheDirectory(t *testing.T) {
	for _, missing := range []string{"state", "state/pending", "state/answers"} {
		t.Run(missing, func(t *testing.T) {
			dir := tree(t)
			check(t, os.RemoveAll(filepath.Join(dir, missing)))
			p, _ := confined(t, Needs{Read: []string{Nearest(dir + "/state/pending")}, Write: []string{dir + "/state/answers"}})
			for _, sub := range []string{"state/pending", "state/answers"} {
				check(t, os.MkdirAll(filepath.Join(dir, sub), 0o700))
			}
			check(t, os.WriteFile(dir+"/state/pending/a.json", nil, 0o600))
			p.want("read", dir+"/state/pending/a.json", "ok")
			p.want("list", dir+"/state/pending", "ok")
			p.want("state", dir+"/state/answers/1.json", "ok")
		})
	}
}

// A long-running program reads files that were replaced meanwhile, even through a link.
func TestSelfReplacedFiles(t *testing.T) {
	dir := tree(t)
	link := dir + "/etc/resolv.conf"
	check(t, os.Symlink(dir+"/run/resolv", link))
	p, rules := confined(t, Needs{Read: []string{link}, Lasting: true})
	p.want("read", link, "ok")
	for _, name := range []string{dir + "/run/resolv", link} {
		check(t, os.WriteFile(name+".new", nil, 0o600))
		check(t, os.Rename(name+".new", name))
		p.want("read", link, "ok")
	}
	if rules {
		p.want("read", dir+"/state/accounts/key.pem", "denied")
		p.want("make", dir+"/etc/other", "denied")
	}
}

func TestNearest(t *testing.T) {
	dir := tree(t)
	for path, want := range map[string]string{
		dir + "/state/pending":  dir + "/state/pending",
		dir + "/no/such/thing":  dir,
		dir + "/etc/other":      dir + "/etc",
		dir + "/etc/other/file": dir + "/etc",
		"/postseal-no-such/x":   "/",
	} {
		if got := Nearest(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}
