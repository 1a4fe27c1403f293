package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

// yard is a site whose mail server is the test itself: it hands each message to
// postseal-milter or to a postseal-pipe, as Postfix would, in a hundredth of the time
// and with a say in what happens on the way. Replies go to the CA directly.
type yard struct {
	*site
	socket string

	mu   sync.Mutex
	door func(from, to string, msg []byte) error // where the CA's mail goes
}

func newYard(t *testing.T, ca testca.Config) *yard {
	t.Helper()
	y := new(yard)
	ca.Deliver = func(_ context.Context, from, to string, msg []byte) error {
		y.mu.Lock()
		door := y.door
		y.mu.Unlock()
		return door(from, to, msg)
	}
	y.site = newSite(t, ca)
	y.socket = filepath.Join(y.dir, "milter.sock")
	y.configure(y.ca.SMTPAddr)
	y.through(y.milter)
	return y
}

// through chooses the door for what the CA sends from now on.
func (y *yard) through(door func(from, to string, msg []byte) error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.door = door
}

// milter shows a message to postseal-milter. The error means that the mail server
// keeps it; a milter that is gone is treated as with default_action=tempfail.
func (y *yard) milter(from, to string, msg []byte) error {
	action, err := y.milterAction(from, to, msg)
	if err != nil {
		return fmt.Errorf("the milter cannot be asked: %w", err)
	}
	switch action {
	case milter.ActAccept, milter.ActContinue, milter.ActDiscard:
		return nil
	}
	return fmt.Errorf("the milter said %q", byte(action))
}

const milterPatience = 30 * time.Second

func (y *yard) milterAction(from, to string, msg []byte) (code milter.ActionCode, err error) {
	return y.milterActionOf(0x1fffff, from, to, msg)
}

// milterActionOf is that of a mail server that offers these steps.
func (y *yard) milterActionOf(steps milter.OptProtocol, from, to string, msg []byte) (code milter.ActionCode, err error) {
	s, err := y.client(steps).Session()
	if err != nil {
		return 0, err
	}
	defer s.Close()
	return show(s, from, to, msg)
}

func (y *yard) client(steps milter.OptProtocol) *milter.Client {
	return milter.NewClientWithOptions("unix", y.socket, milter.ClientOptions{
		ReadTimeout: milterPatience, WriteTimeout: milterPatience, ProtocolMask: steps,
	})
}

// show shows a message on a connection, up to where the milter decides.
func show(s *milter.ClientSession, from, to string, msg []byte) (milter.ActionCode, error) {
	header, body, _ := bytes.Cut(msg, []byte("\r\n\r\n"))
	fields := strings.Split(strings.ReplaceAll(strings.ReplaceAll(string(header), "\r\n ", "\n "), "\r\n\t", "\n\t"), "\r\n")
	steps := []func() (*milter.Action, error){
		func() (*milter.Action, error) { return s.Mail(from, nil) },
		func() (*milter.Action, error) { return s.Rcpt(to, nil) },
	}
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ":")
		steps = append(steps, func() (*milter.Action, error) { return s.HeaderField(name, value) })
	}
	steps = append(steps, s.HeaderEnd, func() (*milter.Action, error) { _, a, err := s.BodyReadFrom(bytes.NewReader(body)); return a, err })
	for _, step := range steps {
		action, err := step()
		if err != nil {
			return 0, err
		}
		if action.Code != milter.ActContinue {
			return action.Code, nil
		}
	}
	return milter.ActContinue, nil
}

// pipe hands a message to a postseal-pipe of the mail half's user.
func (y *yard) pipe(_, _ string, msg []byte) error {
	cmd := y.pipeCommand(msg)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func (y *yard) pipeCommand(msg []byte, args ...string) *exec.Cmd {
	cmd := y.asMail(filepath.Join(y.bin, "postseal-pipe"), append([]string{"--config", y.config}, args...)...)
	cmd.Stdin = bytes.NewReader(msg)
	return cmd
}

// asMail is a program of the mail half's user.
func (y *yard) asMail(program string, args ...string) *exec.Cmd { return as(y.user, program, args...) }

func as(u *mta.User, program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + u.Home}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID)}}
	return cmd
}

// order runs "postseal cert" and wants a certificate.
func (y *yard) order(addr string, args ...string) {
	y.t.Helper()
	if status, out := y.cert(append([]string{"-e", addr, "--timeout", "60s"}, args...)...); status != 0 {
		y.t.Errorf("postseal cert -e %s: exit %d\n%s", addr, status, out)
	}
}

// certCommand is a "postseal cert" that has a minute.
func (y *yard) certCommand(addr string) *exec.Cmd {
	return exec.Command(filepath.Join(y.bin, "postseal"), "cert", "--config", y.config, "--server", y.ca.DirectoryURL,
		"--ca-bundle", y.ca.RootFile, "--non-interactive", "--agree-tos", "--key-type", "p256", "--timeout", "60s", "-e", addr)
}

// lunch is ordinary mail, which flows whatever else does not.
const lunch = "From: bob@example.test\r\nTo: alice@example.test\r\nSubject: lunch\r\n\r\nAt noon?\r\n"

func (y *yard) wantOrdinaryMail() {
	y.t.Helper()
	if err := y.milter("bob@example.test", alice, []byte(lunch)); err != nil {
		y.t.Errorf("ordinary mail through the milter: %v", err)
	}
	if err := y.pipe("", alice, []byte(lunch)); err != nil {
		y.t.Errorf("ordinary mail through postseal-pipe: %v", err)
	}
}

// kept is a door that keeps a message and says that it was taken.
type kept chan []byte

func (k kept) take(_, _ string, msg []byte) error { k <- bytes.Clone(msg); return nil }
