package setup

import (
	"fmt"
	"os/exec"
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

// run runs a program. If it fails, the error is the first line of its output.
func run(args ...string) error {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%s: %w: %s", args[0], err, line)
	}
	return nil
}
