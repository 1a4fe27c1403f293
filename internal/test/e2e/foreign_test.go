package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

// rootOnly stands in a file that only root may read.
const rootOnly = "Squeamish ossifrage"

const (
	manyFiles = "100,000 files"
	mounted   = "a file system of its owner's"
	noText    = "a name that is not text"
)

// kinds are what another user can put where a file of ours could be. Each makes one at a
// path; secret is a root-only file on the same file system.
var kinds = []struct {
	name string
	make func(path, secret string) error
}{
	{"a named pipe", func(path, _ string) error { return syscall.Mkfifo(path, 0o666) }},
	{"a socket", func(path, _ string) error {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err == nil {
			l.SetUnlinkOnClose(false)
			l.Close()
		}
		return err
	}},
	{"a directory", func(path, _ string) error { return os.Mkdir(path, 0o777) }},
	{"a full directory", fullDir},
	{"an old full directory", func(path, secret string) error {
		if err := fullDir(path, secret); err != nil {
			return err
		}
		old := time.Now().Add(-40 * 24 * time.Hour)
		return os.Chtimes(path, old, old)
	}},
	{"a link to nothing", func(path, _ string) error { return os.Symlink(path+"-nothing", path) }},
	{"a link to itself", func(path, _ string) error { return os.Symlink(path, path) }},
	{"a link to stdin", func(path, _ string) error { return os.Symlink("/dev/stdin", path) }},
	{"a link to a root-only file", func(path, secret string) error { return os.Symlink(secret, path) }},
	{"a hard link to a root-only file", func(path, secret string) error { return os.Link(secret, path) }},
	{"a file that nobody may read", func(path, _ string) error { return os.WriteFile(path, nil, 0) }},
	{"a device", func(path, _ string) error { return syscall.Mknod(path, syscall.S_IFCHR|0o666, 1<<8|5) }}, // /dev/zero
	{"a sparse file of 1 GB", func(path, _ string) error {
		if err := os.WriteFile(path, nil, 0o666); err != nil {
			return err
		}
		return os.Truncate(path, 1<<30)
	}},
	{mounted, ownMount},
	{"deep JSON", func(path, _ string) error {
		return os.WriteFile(path, []byte(strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)), 0o666)
	}},
	{"deep JSON of bounded size", func(path, _ string) error {
		return os.WriteFile(path, []byte(`{"version":1,"id":`+strings.Repeat("[", 60_000)), 0o666)
	}},
	{noText, func(path, _ string) error {
		return os.WriteFile(strings.TrimSuffix(path, ".json")+"\x1b[2J\n\u202e\x9b\xff.json", []byte("{"), 0o666)
	}},
	{manyFiles, func(path, _ string) error {
		for n := range 100_000 / 5 {
			if err := os.WriteFile(fmt.Sprintf("%s-%d.json", strings.TrimSuffix(path, ".json"), n), nil, 0o666); err != nil {
				return err
			}
		}
		return nil
	}},
}

// ownMount is what fusermount(1) lets every user make of a file of his: a file system that
// nobody else may look at, root included.
func ownMount(path, _ string) error {
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		return err
	}
	fuse, err := syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_CLOEXEC, 0) // where nobody will answer
	if err != nil {
		return err
	}
	return syscall.Mount("fuse", path, "fuse", syscall.MS_NOSUID|syscall.MS_NODEV, fmt.Sprintf("fd=%d,rootmode=100000,user_id=1,group_id=1", fuse))
}

func fullDir(path, _ string) error {
	if err := os.Mkdir(path, 0o777); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(path, "file"), nil, 0o666)
}

// shelf is a site with a certificate and an order that waits, between whose files others
// put theirs.
type shelf struct {
	*yard
	challenge []byte // of the order that waits
	id        string // of its record
	before    map[string]string
	runs      int
	slowest   time.Duration
	which     string // was the slowest
}

// program is one run of a program: what it is called, and what became of it, in short.
type program struct {
	name string
	run  func() (outcome, said string)
	says []string // the directories of which it names what it leaves out
	all  bool     // it looks at all files there, not at those that it needs
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{yard: newYard(t, testca.Config{Strict: true})}
	for _, dir := range []string{"pending", "answers"} {
		s.small(filepath.Join(s.state, dir), 200<<20/page)
	}
	s.through(s.pipe)
	s.order("carol@example.test")
	mails := make(kept, 1)
	s.through(mails.take)
	if status, out := s.cert("-e", alice, "--timeout", "2s"); status != 75 {
		t.Fatalf("postseal cert: exit %d\n%s", status, out)
	}
	s.challenge = <-mails
	var record struct{ ID string }
	data, err := os.ReadFile(filepath.Join(s.state, "pending", alice+".json"))
	s.must(err)
	s.must(json.Unmarshal(data, &record))
	s.id = record.ID
	s.configure("127.0.0.1:1") // nobody is there: each reply is put off, and the claim given back
	s.startMilter(s.dir)
	return s
}

// A busy machine takes its time: a program that hangs is one that needs a minute. On an
// idle one the most was 1.2 s of CPU, by renew beside 100,000 files, and four times as
// much on a busy one. A program that walks the directory for each file of it needs minutes.
const (
	patience = time.Minute
	mostCPU  = 10 * time.Second
	hangs    = "it hangs"
)

// limited runs a program as somebody would, and ends it if it hangs.
func (s *shelf) limited(cmd *exec.Cmd, stdin []byte) (outcome, said string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	limited := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	limited.Env, limited.Dir, limited.SysProcAttr = cmd.Env, cmd.Dir, cmd.SysProcAttr
	var out bytes.Buffer
	limited.Stdin, limited.Stdout, limited.Stderr = bytes.NewReader(stdin), &out, &out
	err := limited.Run()
	if ctx.Err() != nil {
		return hangs, out.String()
	}
	if err != nil && limited.ProcessState == nil {
		s.t.Fatal(err)
	}
	if used := limited.ProcessState.UserTime() + limited.ProcessState.SystemTime(); used > mostCPU {
		s.t.Errorf("%s used %s of CPU time", cmd.Args[1], used)
	}
	return fmt.Sprint("exit ", limited.ProcessState.ExitCode()), out.String()
}

// programs returns lanes of programs: those of one do not get in each other's way.
func (s *shelf) programs() [][]program {
	ca := []string{"--server", s.ca.DirectoryURL, "--ca-bundle", s.ca.RootFile, "--non-interactive"}
	postseal := func(args ...string) func() (string, string) {
		return func() (string, string) {
			return s.limited(exec.Command(filepath.Join(s.bin, "postseal"), append(args, "--config", s.config)...), []byte(rootOnly))
		}
	}
	pipe := func(msg []byte) func() (string, string) {
		return func() (string, string) { return s.limited(s.pipeCommand(nil), msg) }
	}
	milter := func(msg []byte) func() (string, string) {
		return func() (string, string) {
			action, err := s.milterAction("x@example.test", alice, msg)
			return fmt.Sprintf("%q, %v", byte(action), err), s.log.String()
		}
	}
	both := []string{"pending", "answers"}
	return [][]program{{
		{"cert", postseal(slices.Concat([]string{"cert", "-e", alice, "--agree-tos", "--key-type", "p256", "--timeout", "500ms"}, ca)...), both[:1], true},
		{"postseal-pipe, ordinary mail", pipe([]byte(lunch)), nil, false},
		{"postseal-pipe, a challenge", pipe(s.challenge), both, false},
		{"postseal-milter, ordinary mail", milter([]byte(lunch)), nil, false},
		{"postseal-milter, a challenge", milter(s.challenge), both, false},
	}, {
		{"renew", postseal(append([]string{"renew", "-e", "carol@example.test"}, ca...)...), both[:1], true},
		{"revoke", postseal(append([]string{"revoke", "--cert-path", filepath.Join(s.state, "certs/carol@example.test/cert.pem")}, ca...)...), nil, false},
		{"account show", postseal(append([]string{"account", "show"}, ca...)...), nil, false},
	}, {
		{"status", postseal("status"), both, true},
		{"status --json", postseal("status", "--json"), both, true},
		{"check", postseal(append([]string{"check", "-e", alice}, ca...)...), both, true},
	}}
}

// names are where a file of ours could be: what each program would look at.
func (s *shelf) names(dir string) []string {
	if dir == "pending" {
		return []string{alice + ".2.json", alice + ".3.json", "bob@example.test.json", "zz.json", "x y.json"}
	}
	return []string{s.id + ".json", s.id + ".note.json", fmt.Sprint(".count-", time.Now().Unix()/3600), ".alive-mx1", "zz.json"}
}

// plant puts things of a kind into a directory, and returns how to take them away.
func (s *shelf) plant(dir string, make func(path, secret string) error) (clear func()) {
	s.t.Helper()
	path := filepath.Join(s.state, dir)
	there := map[string]bool{}
	secret := filepath.Join(path, ".secret")
	s.must(os.WriteFile(secret, []byte(rootOnly), 0o600))
	names := s.names(dir)
	for _, name := range names {
		s.must(os.RemoveAll(filepath.Join(path, name))) // what a run before has made
	}
	for _, e := range s.entries(path) {
		there[e] = true
	}
	owner := map[string]int{"pending": 0, "answers": s.user.UID}[dir]
	for _, name := range names {
		s.must(make(filepath.Join(path, name), secret))
	}
	for _, e := range s.entries(path) {
		if _, err := os.Lstat(filepath.Join(path, e)); !there[e] && !errors.Is(err, fs.ErrPermission) {
			s.must(os.Lchown(filepath.Join(path, e), owner, -1)) // on a mount of its owner's, this would wait
		}
	}
	s.must(os.Chown(secret, 0, 0)) // where it has a hard link, too
	return func() {
		for _, e := range s.entries(path) {
			if !there[e] || e == ".secret" {
				_ = syscall.Unmount(filepath.Join(path, e), 0) // if it is one
				s.must(os.RemoveAll(filepath.Join(path, e)))
			}
		}
	}
}

func (s *shelf) entries(path string) (names []string) {
	entries, err := os.ReadDir(path)
	s.must(err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// tryAll runs all programs, a lane of them beside the others. What takes long beside many
// files has the machine for itself: check gives up on what takes it more than 8 s.
func (s *shelf) tryAll(dir, kind string, lanes [][]program) {
	var wg sync.WaitGroup
	for _, lane := range lanes {
		wg.Go(func() {
			for _, p := range lane {
				if kind != manyFiles || len(p.says) > 0 { // the others do as these do at their start
					s.try(dir, kind, p)
				}
			}
		})
		if kind == manyFiles {
			wg.Wait()
		}
	}
	wg.Wait()
}

// Whatever another user puts where a file of ours could be: each program ends as it does
// without it, says what it left out, and shows nothing that was not for it to see.
func TestForeignFiles(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	lanes := s.programs()
	s.before = map[string]string{}
	for _, p := range slices.Concat(lanes...) {
		outcome, said := p.run()
		if again, _ := p.run(); again != outcome || outcome == hangs || outcome == "exit 64" {
			t.Fatalf("%s: %s, then %s\n%s", p.name, outcome, again, said)
		}
		s.before[p.name] = outcome
		t.Logf("%s: %s", p.name, outcome)
	}
	for _, dir := range []string{"answers", "pending"} {
		for _, kind := range kinds {
			if kind.name == mounted && dir == "pending" {
				continue // the files there are the issuing half's own
			}
			clear := s.plant(dir, kind.make)
			s.tryAll(dir, kind.name, lanes)
			clear()
		}
	}
	t.Logf("%d kinds of files in 2 directories, %d programs: %d runs, the slowest (%s) of %s",
		len(kinds), len(s.before), s.runs, s.which, s.slowest.Round(time.Millisecond))
}

func (s *shelf) try(dir, kind string, p program) {
	s.t.Helper()
	what := fmt.Sprintf("%s in %s, %s", kind, dir, p.name)
	start := time.Now()
	outcome, said := p.run()
	s.mu.Lock()
	if s.runs++; time.Since(start) > s.slowest {
		s.slowest, s.which = time.Since(start), what
	}
	s.mu.Unlock()
	if outcome != s.before[p.name] {
		s.t.Errorf("%s: %s, and without it %s\n%.2000s", what, outcome, s.before[p.name], said)
	}
	if i := strings.IndexFunc(said, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 || !utf8.ValidString(said) {
		s.t.Errorf("%s: what is said is not printable: %.2000q", what, said)
	}
	for _, secret := range []string{rootOnly, rootOnly[:4], "character 'S'"} {
		if strings.Contains(said, secret) {
			s.t.Errorf("%s: it quotes a root-only file:\n%.2000s", what, said)
		}
	}
	exact := kind != manyFiles && kind != noText // a name that a program looks for
	if slices.Contains(p.says, dir) && (exact || p.all) && !strings.Contains(said, filepath.Join(s.state, dir)+"/") {
		s.t.Errorf("%s: it does not say what it left out:\n%.2000s", what, said)
	}
}

// A command that waits beside such files ends when it is told to.
func TestForeignFilesAndSIGTERM(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.plant("answers", kinds[0].make)
	cmd := s.certCommand(alice)
	cmd.Args = append(cmd.Args, "--verbose")
	out := new(mta.Output)
	cmd.Stdout, cmd.Stderr = out, out
	s.must(cmd.Start())
	mta.WaitFor(t, "the wait", func() bool { return strings.Contains(out.String(), "waiting for the challenge mail") })
	s.must(cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != 75 {
		t.Errorf("exit %d\n%s", status, out)
	}
	if n := strings.Count(out.String(), s.id+".json is left out"); n != 1 {
		t.Errorf("named %d times\n%s", n, out)
	}
}
