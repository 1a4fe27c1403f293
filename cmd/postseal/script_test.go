package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"net/smtp"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"postseal/internal/testca"
	"postseal/state"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"postseal": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", Cmds: commands, Setup: func(e *testscript.Env) error {
		e.Setenv("POSTSEAL_STATE", e.WorkDir+"/state")
		e.Setenv("POSTSEAL_KEY_TYPE", "p256") // the quickest to make
		e.Setenv("POSTSEAL_TIMEOUT", "20s")
		e.Setenv("GORACE", "atexit_sleep_ms=0") // else each process takes a second to end
		e.Values["hold"] = new(atomic.Bool)
		return nil
	}})
}

// Each flag can stand in the configuration file.
func TestFlagsInFile(t *testing.T) {
	unknown, err := new(flags).program().UnknownFlags()
	if err != nil || len(unknown) > 0 {
		t.Errorf("no keys of the file: %v, %v", unknown, err)
	}
}

// commands are what the scripts can do beside testscript's own.
var commands = map[string]func(*testscript.TestScript, bool, []string){
	"ca":        startCA,
	"hold":      func(ts *testscript.TestScript, _ bool, _ []string) { held(ts).Store(true) },
	"release":   func(ts *testscript.TestScript, _ bool, _ []string) { held(ts).Store(false) },
	"status":    status,
	"interrupt": interrupt,
	"mode":      mode,
	"json":      jsonPath,
}

func held(ts *testscript.TestScript) *atomic.Bool { return ts.Value("hold").(*atomic.Bool) }

// startCA starts a test CA, whose Config is given as JSON, and a mail half that
// answers what it mails unless it is on hold.
func startCA(ts *testscript.TestScript, _ bool, args []string) {
	cfg := testca.Config{Validate: testca.ValidateOnArrival}
	if len(args) > 0 {
		ts.Check(json.Unmarshal([]byte(args[0]), &cfg))
	}
	dir, err := os.MkdirTemp(ts.Getenv("WORK"), "ca")
	ts.Check(err)
	cfg.Dir = dir
	var ca *testca.CA
	ready := make(chan struct{})
	hold, pending := held(ts), state.Open(ts.Getenv("POSTSEAL_STATE"))
	cfg.Deliver = func(ctx context.Context, _, to string, msg []byte) error {
		<-ready
		if hold.Load() {
			return again{errors.New("451 on hold")}
		}
		return answer(ctx, ca.SMTPAddr, pending, to, msg)
	}
	ca, err = testca.Start(context.Background(), cfg)
	ts.Check(err)
	close(ready)
	ts.Defer(func() { ca.Close() })
	ts.Setenv("POSTSEAL_SERVER", ca.DirectoryURL)
	ts.Setenv("POSTSEAL_CA_BUNDLE", ca.RootFile)
	ts.Setenv("EAB_KID", ca.EAB.KeyID)
	ts.Check(os.WriteFile(ts.MkAbs("hmac"), []byte(ca.EAB.HMACKey), 0o600))
}

// again makes the CA deliver its mail later once more.
type again struct{ error }

func (again) Temporary() bool { return true }

// answer is the mail half in a few lines.
func answer(ctx context.Context, server string, dir *state.Dir, to string, msg []byte) error {
	m, err := mail.ReadMessage(bytes.NewReader(msg))
	if err != nil {
		return err
	}
	records, err := dir.WaitToken(ctx, []string{to}, time.Now)
	if err != nil || len(records) == 0 {
		return err
	}
	from, err := mail.ParseAddress(m.Header.Get("From"))
	if err != nil {
		return err
	}
	n := slices.IndexFunc(records, func(p *state.Pending) bool { return p.From == from.Address })
	if n < 0 {
		return again{errors.New("451 another order is waited for")}
	}
	p := records[n]
	claim, err := dir.Claim(p, "<c@ca.example>", "<r@example.test>", time.Now())
	if err != nil {
		return nil //nolint:nilerr // answered already
	}
	part1 := strings.TrimPrefix(m.Header.Get("Subject"), "ACME: ")
	sum := sha256.Sum256([]byte(part1 + p.Token + "." + p.Thumbprint))
	reply := fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: Re: ACME: %s\r\nContent-Type: text/plain\r\n\r\n"+
		"-----BEGIN ACME RESPONSE-----\r\n%s\r\n-----END ACME RESPONSE-----\r\n",
		p.Email, p.From, part1, base64.RawURLEncoding.EncodeToString(sum[:]))
	return errors.Join(claim.Sending(), smtp.SendMail(server, nil, p.Email, []string{p.From}, []byte(reply)), claim.Sent(time.Now()))
}

// status runs a program and wants an exit status.
func status(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == want || err == nil && want == 0 {
		return
	}
	ts.Fatalf("%v, want exit status %d", err, want)
}

// interrupt runs a program with -v, sends it a signal when it waits for the mail,
// and wants exit status 75. What it wrote is the script's stderr.
func interrupt(ts *testscript.TestScript, _ bool, args []string) {
	signal := map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}[args[0]]
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	cmd := exec.Command(path, append(slices.Clone(args[2:]), "-v")...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "POSTSEAL_STATE", "POSTSEAL_SERVER", "POSTSEAL_CA_BUNDLE", "POSTSEAL_KEY_TYPE"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	out, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	var written strings.Builder
	sent := false // the error that follows has the same words
	for lines := bufio.NewScanner(out); lines.Scan(); {
		written.WriteString(lines.Text() + "\n")
		if !sent && strings.Contains(lines.Text(), "waiting for the challenge mail") {
			sent = true
			ts.Check(cmd.Process.Signal(signal))
		}
	}
	if !sent {
		ts.Fatalf("it did not wait: %s", written.String())
	}
	err = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 75 && signal != syscall.SIGKILL {
		ts.Fatalf("%v: %s", err, written.String())
	}
	ts.Check(ts.Exec("sh", "-c", `printf %s "$1" >&2`, "sh", written.String()))
}

// mode wants the permissions of files.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	for _, file := range args[1:] {
		info, err := os.Stat(ts.MkAbs(file))
		ts.Check(err)
		if got := info.Mode().Perm(); got != os.FileMode(want) {
			ts.Fatalf("%s has mode %o", file, got)
		}
	}
}

// jsonPath wants a value in the JSON on stdout: json results.0.status issued.
func jsonPath(ts *testscript.TestScript, neg bool, args []string) {
	var value any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &value))
	for _, step := range strings.Split(args[0], ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[step]
		case []any:
			n, err := strconv.Atoi(step)
			ts.Check(err)
			if n >= len(v) {
				ts.Fatalf("%s: there are only %d", args[0], len(v))
			}
			value = v[n]
		}
	}
	if got := fmt.Sprint(value); (got == args[1]) == neg {
		ts.Fatalf("%s is %s", args[0], got)
	}
}
