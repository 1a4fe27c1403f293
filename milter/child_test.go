package milter

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/emersion/go-milter"

	"postseal/internal/challenge"
)

// childSocket names, in the environment of a child process, the socket to serve.
const childSocket = "POSTSEAL_TEST_MILTER_SOCKET"

func TestMain(m *testing.M) {
	if path := os.Getenv(childSocket); path != "" {
		if err := child(path); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child serves until SIGTERM with few file descriptors. It reports events on stdout and waits
// for a line on stdin before it answers a challenge.
func child(path string) error {
	files := syscall.Rlimit{Cur: 24, Max: 24}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	config := testConfig()
	config.Logger = slog.New(slog.NewTextHandler(os.Stdout, nil))
	config.Answer = func(context.Context, challenge.Message) challenge.Outcome {
		fmt.Println("asked")
		_, err := bufio.NewReader(os.Stdin).ReadString('\n')
		return challenge.Outcome{Verdict: challenge.Later, Reason: fmt.Sprint(err)}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { fmt.Println("stopping") })
	fmt.Println("listening")
	return New(config).Serve(ctx, l)
}

// process is a child process.
type process struct {
	testing.TB
	*exec.Cmd
	in    io.Writer
	lines *bufio.Scanner
	addr  net.Addr
}

func startChild(t *testing.T) *process {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	p := &process{TB: t, Cmd: exec.Command(os.Args[0]), addr: &net.UnixAddr{Net: "unix", Name: path}}
	p.Env = append(os.Environ(), childSocket+"="+path)
	p.Cmd.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(out)
	if p.in, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() }) // no matter: it is gone by then
	p.awaitLine("listening")
	return p
}

// awaitLine reads lines until one holds the text.
func (p *process) awaitLine(text string) {
	p.Helper()
	for p.lines.Scan() {
		if strings.Contains(p.lines.Text(), text) {
			return
		}
	}
	p.Fatalf("no line %q", text)
}

// terminate sends SIGTERM and expects exit status 0.
func (p *process) terminate() {
	p.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		p.Fatal(err)
	}
	p.ended()
}

func (p *process) ended() {
	p.Helper()
	for p.lines.Scan() {
		p.Log(p.lines.Text())
	}
	if err := p.Wait(); err != nil {
		p.Error(err)
	}
}

// At SIGTERM the milter answers the challenge under way, closes an idle connection, and exits
// with status 0.
func TestTerminate(t *testing.T) {
	p := startChild(t)
	idle, busy := connect(t, p.addr, 6, allSteps), connect(t, p.addr, 6, allSteps)
	busy.challengeMail()
	p.awaitLine("asked")
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.awaitLine("stopping")
	idle.closed()
	if _, err := io.WriteString(p.in, "go on\n"); err != nil {
		t.Fatal(err)
	}
	busy.expect(milter.ActReplyCode)
	busy.closed()
	p.ended()
	if _, err := net.Dial("unix", p.addr.String()); err == nil {
		t.Error("somebody still listens")
	}
}

// Without free file descriptors the process says so, waits, and goes on when there are some.
func TestNoDescriptors(t *testing.T) {
	p := startChild(t)
	var crowd []net.Conn
	for range 40 {
		nc, err := net.Dial("unix", p.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		crowd = append(crowd, nc)
	}
	p.awaitLine("too many open files")
	for _, nc := range crowd {
		nc.Close()
	}
	connect(t, p.addr, 6, allSteps).ordinaryMail()
	p.terminate()
}
