package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"postseal/state"
)

// Step is one thing to be done to the machine.
type Step struct {
	What string // a file, a directory, a user
	Why  string // what it is, or why it stays as it is
	Done bool   // nothing to do
	Text string // of the configuration, which --dry-run shows

	do func() error
}

// Do does the step, unless it is done.
func (s Step) Do() error {
	if s.Done {
		return nil
	}
	if err := s.do(); err != nil {
		return fmt.Errorf("%s: %w", s.What, state.Cause(err))
	}
	return nil
}

// userStep makes the user and the group of the mail half.
func (m *Machine) userStep() Step {
	s := Step{What: "user and group " + state.Group, Why: "the mail half, which owns nothing", do: makeUser}
	s.Done = m.named("etc/passwd", state.Group) && m.named("etc/group", state.Group)
	if m.root == "" && !s.Done { // from elsewhere than the files, LDAP for example
		_, noUser := user.Lookup(state.Group)
		_, noGroup := user.LookupGroup(state.Group)
		s.Done = noUser == nil && noGroup == nil
	}
	return s
}

// named reports whether a file such as /etc/passwd has a line for a name.
func (m *Machine) named(path, name string) bool {
	data, _ := os.ReadFile(m.at(path))
	return strings.HasPrefix(string(data), name+":") || strings.Contains(string(data), "\n"+name+":")
}

// makeUser uses the program that the system has for it. The group may be there.
func makeUser() error {
	const home, shell, comment = state.SystemDir, "/usr/sbin/nologin", "ACME mail challenges"
	group := []string{"--user-group"}
	if _, err := user.LookupGroup(state.Group); err == nil {
		group = []string{"--gid", state.Group}
	}
	useradd := append([]string{"useradd", "--system", "--no-create-home", "--home-dir", home, "--shell", shell, "--comment", comment}, group...)
	for _, args := range [][]string{
		append(useradd, state.Group),
		{"systemd-sysusers", "--inline", fmt.Sprintf("u %s - %q %s %s", state.Group, comment, home, shell)},
		{"pw", "useradd", state.Group, "-d", "/nonexistent", "-s", shell, "-c", comment},
	} {
		path, err := findProgram(args[0])
		if err != nil {
			continue
		}
		if out, err := exec.Command(path, args[1:]...).CombinedOutput(); err != nil {
			line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
			return fmt.Errorf("%s: %w: %s", args[0], err, line)
		}
		return nil
	}
	return errors.New("there is no program that makes users (useradd, systemd-sysusers, pw)")
}

// findProgram also looks where the PATH of somebody who became root often does not.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	return path, err
}

// fileStep makes a file that is postseal's own. One that is there stays.
func (m *Machine) fileStep(path, why, content string, mode fs.FileMode) Step {
	s := Step{What: path, Why: why, do: func() error {
		if err := makeDir(filepath.Dir(path), 0o755, -1, -1); err != nil {
			return err
		}
		return createFile(path, content, mode)
	}}
	if old, err := os.ReadFile(m.at(path)); err == nil {
		if s.Done = true; string(old) != content {
			s.Why = "is there, in a form of its own"
		}
	}
	return s
}

// stateStep makes the state directory. One that an earlier "postseal cert" has made
// without the group of the mail half is put right.
func (m *Machine) stateStep(dir *state.Dir, redis bool) Step {
	s := Step{What: dir.Path(), Why: "the state directory", Done: true, do: func() error {
		if _, err := dir.Create(); err != nil {
			return err
		}
		return dir.Repair()
	}}
	names := []string{"", "accounts", "orders", "certs", "pending", "answers"}
	if redis {
		s.Why, s.do = "accounts, orders and certificates; the rest is in Redis", dir.CreatePrivate
		names = names[:4]
	}
	for _, name := range names {
		s.Done = s.Done && exists(m.at(dir.Path(name)))
	}
	if wrong := dir.Misplaced(); s.Done && !redis && m.root == "" && len(wrong) > 0 {
		s.Done = false
		s.Why = "the state directory, which the mail half cannot use as it is: " + strings.Join(wrong, ", ")
	}
	return s
}

// socketStep makes the directory in which the milter, as the mail half's user, makes its
// socket. What is made in it belongs to the group of the mail server.
func (m *Machine) socketStep(dir, groupName string) Step {
	return Step{What: dir, Why: "for the milter's socket", Done: exists(m.at(dir)), do: func() error {
		owner, err := user.Lookup(state.Group)
		if err != nil {
			return err
		}
		group, err := user.LookupGroup(groupName)
		if err != nil {
			return err
		}
		uid, _ := strconv.Atoi(owner.Uid)
		gid, _ := strconv.Atoi(group.Gid)
		return makeDir(dir, fs.ModeSetgid|0o750, uid, gid)
	}}
}

// makeDir makes a directory and those above it, with modes that no umask changes.
func makeDir(path string, mode fs.FileMode, uid, gid int) error {
	if exists(path) {
		return nil
	}
	if parent := filepath.Dir(path); !exists(parent) {
		if err := makeDir(parent, 0o755, -1, -1); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		if errors.Is(err, syscall.EEXIST) {
			return nil
		}
		return err
	}
	if err := os.Chown(path, uid, gid); err != nil {
		return err
	}
	return os.Chmod(path, mode) // after chown, which clears the bit
}
