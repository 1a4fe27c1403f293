package main

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// commands are the scripts' commands beside testscript's own.
var commands = map[string]func(*testscript.TestScript, bool, []string){
	"status":              status,
	"listen-tcp":          listenPort,
	"listen-unix":         listenSocket,
	"stale-unix":          staleSocket,
	"run-until-listening": runUntilListening,
}

// status runs a program and expects an exit status.
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

// listenPort occupies a port and puts it into PORT.
func listenPort(ts *testscript.TestScript, _ bool, _ []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	ts.Setenv("PORT", port)
}

func listenSocket(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("unix", ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Defer(func() { l.Close() })
}

// staleSocket leaves a socket on which nobody listens.
func staleSocket(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: ts.MkAbs(args[0])})
	ts.Check(err)
	l.SetUnlinkOnClose(false)
	ts.Check(l.Close())
}

// runUntilListening starts a program, connects once it says that it listens, ends it with
// SIGTERM while that connection is open, and expects status 0. The script's stderr is the
// program's.
func runUntilListening(ts *testscript.TestScript, _ bool, args []string) {
	path, err := exec.LookPath(args[0])
	ts.Check(err)
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	out, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	var written bytes.Buffer
	for lines := bufio.NewScanner(out); lines.Scan(); {
		written.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "state cannot be read") {
			c, err := net.Dial("unix", ts.MkAbs(strings.TrimPrefix(args[2], "unix:")))
			ts.Check(err)
			defer c.Close()
			ts.Check(cmd.Process.Signal(syscall.SIGTERM))
		}
	}
	ts.Check(cmd.Wait())
	ts.Check(ts.Exec("sh", "-c", `printf %s "$1" >&2`, "sh", written.String()))
}
