package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

// people are the users of a machine with postseal, each with a real uid.
type people struct {
	*yard
	issuer    *mta.User // owns the state directory
	colleague *mta.User // answers too: in the group of the mail half
	stranger  *mta.User
}

func newPeople(t *testing.T, ca testca.Config) *people {
	t.Helper()
	p := &people{yard: newYard(t, ca), issuer: mta.NewUser(t), colleague: mta.NewUser(t), stranger: mta.NewUser(t)}
	// The directories get the issuer's own group where there is none that is called
	// "postseal": here it is that of the mail half.
	p.issuer.GID, p.colleague.GID = p.user.GID, p.user.GID
	p.state = filepath.Join(p.issuer.Home, "state")
	p.configure(p.ca.SMTPAddr)
	return p
}

// certAs orders as the issuer, with a umask.
func (p *people) certAs(umask, addr string, args ...string) (status int, output string) {
	p.t.Helper()
	cmd := p.certCommandAs(umask, addr, args...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		p.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func (p *people) certCommandAs(umask, addr string, args ...string) *exec.Cmd {
	p.t.Helper()
	roots, err := os.ReadFile(p.ca.RootFile)
	p.must(err)
	program := fmt.Sprintf(`umask %s; exec "$@"`, umask)
	args = append([]string{"-c", program, "sh", filepath.Join(p.bin, "postseal"), "cert", "--config", p.config,
		"--server", p.ca.DirectoryURL, "--ca-bundle", p.issuer.WriteFile(p.t, "root.pem", string(roots)),
		"--non-interactive", "--agree-tos", "--key-type", "p256", "--verbose", "-e", addr}, args...)
	return as(p.issuer, "/bin/sh", args...)
}

// pipeUmask is the door of a postseal-pipe that runs with a umask.
func (p *people) pipeUmask(umask string) func(from, to string, msg []byte) error {
	return func(_, to string, msg []byte) error {
		cmd := p.asMail("/bin/sh", "-c", `umask `+umask+`; exec "$@"`, "sh",
			filepath.Join(p.bin, "postseal-pipe"), "--config", p.config)
		cmd.Stdin = bytes.NewReader(msg)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
}

// try runs a command of the shell as somebody, below the state directory.
func (p *people) try(u *mta.User, script string) error {
	cmd := as(u, "/bin/sh", "-c", `cd "$STATE" && `+script)
	cmd.Env = append(cmd.Env, "STATE="+p.state)
	return cmd.Run()
}

func (p *people) can(u *mta.User, who, script string) {
	p.t.Helper()
	if err := p.try(u, script); err != nil {
		p.t.Errorf("%s cannot: %s: %v", who, script, err)
	}
}

func (p *people) cannot(u *mta.User, who string, scripts ...string) (tried int) {
	p.t.Helper()
	for _, script := range scripts {
		if err := p.try(u, script); err == nil {
			p.t.Errorf("%s can: %s", who, script)
		}
	}
	return len(scripts)
}

// Issuer, mail half, another of the mail half, and a stranger, whatever the umask the
// programs were started with.
func TestPrivileges(t *testing.T) {
	t.Parallel()
	for _, umask := range []string{"000", "077"} {
		t.Run("umask "+umask, func(t *testing.T) {
			t.Parallel()
			p := newPeople(t, testca.Config{Strict: true})
			p.through(p.pipeUmask(umask))
			if status, out := p.certAs(umask, alice); status != 0 {
				t.Fatalf("postseal cert: exit %d\n%s", status, out)
			}
			p.wantReplies(testca.VerdictGood)
			// Somebody who still waits.
			p.through(func(_, _ string, _ []byte) error { return nil })
			if status, out := p.certAs(umask, "bob@example.test", "--timeout", "1s"); status != 75 {
				t.Fatalf("postseal cert: exit %d\n%s", status, out)
			}
			p.wantModes()
			t.Logf("%d deeds that must fail, tried", p.tryAll())
		})
	}
}

func (p *people) tryAll() (tried int) {
	p.can(p.user, "the mail half", "cat pending/bob@example.test.json answers/*.json && ls pending answers")
	tried += p.cannot(p.user, "the mail half",
		"ls accounts", "ls orders", "ls certs", "cat certs/alice@example.test/privkey.pem", "cat certs/alice@example.test/passphrase",
		"cat orders/bob@example.test.json",
		"touch pending/new", "rm -f pending/bob@example.test.json", "echo >>pending/bob@example.test.json",
		"mv pending/bob@example.test.json pending/x", "mv pending/bob@example.test.json answers/", "ln pending/bob@example.test.json pending/l",
		"chmod 777 pending", "chmod 666 pending/bob@example.test.json", "rmdir pending", "mv pending p", "mv answers a", "touch new", "chmod 777 .")
	p.can(p.colleague, "another of the mail half", "cat answers/*.json && : >answers/own && rm answers/own")
	tried += p.cannot(p.colleague, "another of the mail half",
		"rm -f answers/*.json", "mv answers/*.json answers/other.json", "echo >>answers/$(cd answers && echo *.json)",
		": >answers/new && mv -f answers/new answers/$(cd answers && echo *.json)", "chmod 666 answers/*.json", "ls certs")
	tried += p.cannot(p.stranger, "a stranger", "ls", "ls pending", "ls answers", "cat pending/bob@example.test.json", "touch answers/x",
		"cat certs/alice@example.test/cert.pem")
	p.can(p.issuer, "the issuer", "rm answers/*.json pending/*.json") // who owns the directories, and forgets what is old
	return tried
}

// wantModes walks what a run left: nobody else has any right anywhere, and only the
// two shared directories have a group's.
func (p *people) wantModes() {
	p.t.Helper()
	files := 0
	p.must(filepath.WalkDir(p.state, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files++
		name, _ := filepath.Rel(p.state, path)
		owner, group := info.Sys().(*syscall.Stat_t).Uid, info.Sys().(*syscall.Stat_t).Gid
		p.wantMode(name, info.Mode(), int(owner), int(group))
		return nil
	}))
	p.t.Logf("%d files and directories looked at", files)
}

func (p *people) wantMode(name string, mode fs.FileMode, owner, group int) {
	p.t.Helper()
	want, wantOwner := fs.FileMode(0o600), p.issuer.UID
	top, inside, _ := strings.Cut(name, "/")
	switch {
	case name == ".":
		want = 0o750
	case name == "pending":
		want = 0o750 | fs.ModeSetgid
	case name == "answers":
		want = 0o770 | fs.ModeSetgid | fs.ModeSticky
	case top == "pending" && inside != "":
		want = 0o640
	case strings.HasPrefix(name, "answers/.count-"): // how many in this hour: all of the mail half count in it
		want, wantOwner = 0o660, p.user.UID
	case top == "answers":
		want, wantOwner = 0o640, p.user.UID
	case mode.IsDir():
		want = 0o700
	}
	if got := mode &^ fs.ModeDir; got != want || owner != wantOwner || group != p.user.GID {
		p.t.Errorf("%s is %v of %d:%d, want %v of %d:%d", name, got, owner, group, want, wantOwner, p.user.GID)
	}
}

// Secrets are in no command line, in nothing that is said, and in no file that others
// may read; and the processes that hold them cannot be looked into.
func TestSecrets(t *testing.T) {
	t.Parallel()
	p := newPeople(t, testca.Config{Strict: true})
	passphrase := p.issuer.WriteFile(t, "passphrase", "correct-horse-battery\n")
	password := p.user.WriteFile(t, "smtp-password", "tr0ub4dor-and-3\n")
	p.must(os.Chmod(passphrase, 0o600))
	p.must(os.Chmod(password, 0o600))
	config, err := os.ReadFile(p.config)
	p.must(err)
	p.user.WriteFile(t, "postseal.toml", fmt.Sprintf("smtp-password-file = %q\n%s", password, config))
	milter := p.startMilter(p.dir)
	p.wantNoDump(milter)

	seen := new(commandLines)
	p.through(func(from, to string, msg []byte) error { // both doors, while "postseal cert" waits
		seen.look(t)
		if err := p.milter(from, to, msg); err != nil {
			return err
		}
		cmd := p.pipeCommand(msg, "--passthrough")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		p.must(cmd.Start())
		seen.look(t)
		err := cmd.Wait()
		seen.said = append(seen.said, out.String())
		return err
	})
	status, out := p.certAs("022", alice, "--passphrase-file", passphrase)
	seen.said = append(seen.said, out)
	if status != 0 {
		t.Fatalf("postseal cert: exit %d\n%s", status, out)
	}
	// And when it fails: a server that wants a password which it then refuses.
	bad := p.asMail(filepath.Join(p.bin, "postseal-pipe"), "--config", p.config, "--smtp", "smtp+starttls://joe@127.0.0.1:1", "--print")
	bad.Stdin = strings.NewReader("Subject: ACME: x\n\n")
	badOut, _ := bad.CombinedOutput() // the status is not the point
	seen.said = append(seen.said, string(badOut), p.log.String())

	secrets := append([]string{"correct-horse-battery", "tr0ub4dor-and-3"}, keyLines(t, signingKey().pem)...)
	for _, path := range []string{"certs/" + alice + "/privkey.pem", "accounts/*/key.pem"} {
		files, err := filepath.Glob(filepath.Join(p.state, path))
		p.must(err)
		if len(files) != 1 {
			t.Fatalf("%s: %v", path, files)
		}
		data, err := os.ReadFile(files[0])
		p.must(err)
		secrets = append(secrets, keyLines(t, string(data))...)
	}
	seen.wantNone(t, secrets)
	p.wantModes()
	t.Logf("%d secrets, %d command lines of ours, %d bytes said", len(secrets), seen.count, len(strings.Join(seen.said, "")))
}

// keyLines returns the lines of a key's PEM that are the key.
func keyLines(t *testing.T, pem string) (lines []string) {
	t.Helper()
	for line := range strings.Lines(pem) {
		if line = strings.TrimSpace(line); len(line) > 20 && !strings.HasPrefix(line, "-----") {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		t.Fatal("no key")
	}
	return lines
}

// commandLines is what everybody can see of the processes of the machine.
type commandLines struct {
	lines []string
	said  []string
	count int
}

func (c *commandLines) look(t *testing.T) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Error(err)
	}
	for _, file := range files {
		line, _ := os.ReadFile(file) // it may be gone
		if bytes.Contains(line, []byte("postseal")) {
			c.lines = append(c.lines, string(line))
			c.count++
		}
	}
}

func (c *commandLines) wantNone(t *testing.T, secrets []string) {
	t.Helper()
	if c.count < 3 {
		t.Errorf("only %d command lines were seen", c.count)
	}
	for _, secret := range secrets {
		if strings.Contains(strings.Join(c.lines, "\n"), secret) {
			t.Errorf("a command line holds a secret that begins with %.5s", secret)
		}
		if strings.Contains(strings.Join(c.said, "\n"), secret) {
			t.Errorf("what was said holds a secret that begins with %.5s:\n%s", secret, strings.Join(c.said, "\n"))
		}
	}
}

// wantNoDump looks at a process from outside: of one that cannot be dumped, /proc
// belongs to root, and its own user cannot read its memory or environment.
func (p *people) wantNoDump(cmd *exec.Cmd) {
	p.t.Helper()
	environ := fmt.Sprintf("/proc/%d/environ", cmd.Process.Pid)
	if err := p.asMail("/bin/cat", environ).Run(); err == nil {
		p.t.Errorf("%s can be read by another process of the same user", environ)
	}
	info, err := os.Stat(environ)
	p.must(err)
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 0 {
		p.t.Errorf("%s belongs to %d: the process could be dumped", environ, uid)
	}
}
