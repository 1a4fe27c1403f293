// Package redistest starts a real redis-server for a test: Debian's, with a directory
// of its own, on a unix socket and, where that is asked for, on a port of loopback.
package redistest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"postseal/internal/test/mta"
)

// Server is a redis-server.
type Server struct {
	Dir    string // its files
	Socket string
	Port   int // of 127.0.0.1; 0 if it has none

	t    testing.TB
	args []string
	mu   sync.Mutex
	cmd  *exec.Cmd
}

// Start starts a server that ends with the test. The directives are lines of
// redis.conf; "port" has to come by WithPort.
func Start(t testing.TB, directives ...string) *Server {
	t.Helper()
	return start(t, 0, directives)
}

// WithPort starts one that listens on a free port of 127.0.0.1, too.
func WithPort(t testing.TB, directives ...string) *Server {
	t.Helper()
	return start(t, FreePort(t), directives)
}

// OnPort starts one on a certain port.
func OnPort(t testing.TB, port int, directives ...string) *Server {
	t.Helper()
	return start(t, port, directives)
}

// Sentinel starts a Sentinel on a free port of 127.0.0.1.
func Sentinel(t testing.TB, directives ...string) *Server {
	t.Helper()
	port := FreePort(t)
	s := prepare(t, port, append([]string{fmt.Sprintf("port %d", port), "bind 127.0.0.1", "protected-mode no"}, directives...))
	s.args = append(s.args, "--sentinel")
	s.Restart()
	return s
}

func start(t testing.TB, port int, directives []string) *Server {
	t.Helper()
	s := prepare(t, port, nil)
	lines := []string{
		fmt.Sprintf("port %d", port), "bind 127.0.0.1", "unixsocket " + s.Socket, "unixsocketperm 777", "dir " + s.Dir,
		`save ""`, "protected-mode no", "repl-diskless-sync-delay 0",
	}
	s.configure(append(lines, directives...))
	s.Restart()
	return s
}

// prepare makes the directory and the configuration of a server.
func prepare(t testing.TB, port int, lines []string) *Server {
	t.Helper()
	mta.Need(t, "redis-server")
	// Not t.TempDir: the name of a unix socket has 107 bytes.
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &Server{Dir: dir, Socket: filepath.Join(dir, "s"), Port: port, t: t}
	s.args = []string{filepath.Join(dir, "redis.conf")}
	s.configure(lines)
	t.Cleanup(s.Kill)
	return s
}

func (s *Server) configure(lines []string) {
	s.t.Helper()
	if err := os.WriteFile(s.args[0], []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// URL returns a URL of package state/redis for the socket.
func (s *Server) URL() string { return "unix://" + s.Socket }

// Addr returns HOST:PORT.
func (s *Server) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.Port) }

// Restart starts the server again after Kill, or for the first time, and waits until
// it answers.
func (s *Server) Restart() {
	s.t.Helper()
	cmd := exec.Command("redis-server", s.args...)
	cmd.Dir = s.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.cmd = cmd
	s.mu.Unlock()
	var said strings.Builder
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		if ready(lines.Text()) {
			go func() {
				for lines.Scan() { // else it would stop at a full pipe
				}
			}()
			return
		}
	}
	s.t.Fatalf("redis-server ended:\n%s", said.String())
}

func ready(line string) bool {
	return strings.Contains(line, "eady to accept connections") && !strings.Contains(line, "tls") ||
		strings.Contains(line, "Sentinel ID is")
}

// Kill ends the server at once, as a power failure does.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Stop ends the server in good order.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

// Signal sends a signal to the server: SIGSTOP makes it hang.
func (s *Server) Signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(sig)
	}
}

func (s *Server) end(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(sig)
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Pid returns the process id of the server that runs.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd.Process.Pid
}

// FreePort returns a port of 127.0.0.1 that nobody listens on. Somebody else may take
// it before the caller does.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
