package setup

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"

	"postseal/state"
)

// Step is one change to the machine.
type Step struct {
	What   string `json:"what"` // a file, a directory, a user
	Status Status `json:"status"`
	Detail string `json:"detail"`         // its purpose, or why it stays as it is
	Text   string `json:"text,omitempty"` // the configuration to write

	do func() error
}

// Status is the state of a step.
type Status string

// A step that is not Kept starts as Would.
const (
	Made  Status = "made"
	Would Status = "would make"
	Kept  Status = "kept"
)

func newStep(what, detail string, done bool, do func() error) Step {
	if done {
		return Step{What: what, Status: Kept, Detail: detail}
	}
	return Step{What: what, Status: Would, Detail: detail, do: do}
}

// Do does the step unless it is done. Others may read the result, whatever the umask, unless
// the step says otherwise.
func (s *Step) Do() error {
	if s.Status == Kept {
		return nil
	}
	defer syscall.Umask(syscall.Umask(0o022))
	if err := s.do(); err != nil {
		return fmt.Errorf("%s: %w", s.What, state.Cause(err))
	}
	s.Status, s.Text = Made, ""
	return nil
}

// makeUser uses the system's own program. The group may exist already.
const makeUser = `
PATH=$PATH:/usr/sbin:/sbin
there() { command -v "$1" >/dev/null; }
comment='ACME mail challenges' shell=/usr/sbin/nologin
if there useradd; then groupadd -f -r postseal && useradd -r -M -g postseal -d /var/lib/postseal -s $shell -c "$comment" postseal
elif there systemd-sysusers; then systemd-sysusers --inline "u postseal - '$comment' /var/lib/postseal $shell"
elif there pw; then pw useradd postseal -d /nonexistent -s $shell -c "$comment"
else echo "there is no program that makes users (useradd, systemd-sysusers, pw)"; exit 1
fi`

// userStep makes the user and the group of the mail half.
func userStep() Step {
	_, noUser := user.Lookup(state.Group)
	_, noGroup := user.LookupGroup(state.Group)
	return newStep("user and group "+state.Group, "the mail half, which owns nothing", noUser == nil && noGroup == nil,
		func() error { return run("sh", "-c", makeUser) })
}

// run runs a program. If it fails, the error is the first line of its output.
func run(args ...string) error {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%s: %w: %s", args[0], err, line)
	}
	return nil
}

// fileStep makes a file that is postseal's own. An existing one stays.
func (m *Machine) fileStep(path, detail, content string, mode fs.FileMode) Step {
	old, err := os.ReadFile(m.at(path))
	if err == nil && string(old) != content {
		detail = "is there, in a form of its own"
	}
	return newStep(path, detail, err == nil, func() error {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return state.CreateFile(path, []byte(content), mode)
	})
}

// stateStep makes the state directory. It repairs one that an earlier "postseal cert" made
// without the group of the mail half.
func stateStep(dir *state.Dir) Step {
	detail := "the state directory"
	if dir.Private {
		detail = "accounts, orders and certificates; the rest is in Redis"
	}
	missing, wrong := dir.Missing(), dir.Misplaced()
	if len(wrong) > 0 {
		detail += ", which the mail half cannot use as it is: " + strings.Join(wrong, ", ")
	}
	return newStep(dir.Path(), detail, len(missing)+len(wrong) == 0, func() error {
		if _, err := dir.Create(); err != nil {
			return err
		}
		return dir.Repair()
	})
}

// socketStep makes the directory in which the milter, as the mail half's user, makes its
// socket. New files in it belong to the group of the mail server.
func (m *Machine) socketStep(dir, group string) Step {
	return newStep(dir, "for the milter's socket", exists(m.at(dir)),
		func() error { return run("install", "-d", "-o", state.Group, "-g", group, "-m", "2750", dir) })
}
