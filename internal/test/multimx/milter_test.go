package multimx

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"postseal/internal/test/mta"
)

// machine is an MX host.
type machine struct {
	*mta.Instance
	number int
	milter *service
}

// service is postseal-milter under a supervisor that does what systemd does: it
// holds the socket, so that connections wait while there is no process, and starts
// another when one has died.
type service struct {
	t       *testing.T
	command func() *exec.Cmd
	socket  *os.File
	log     mta.Output
	ended   chan struct{}

	mu      sync.Mutex
	process *os.Process
	stopped bool
	deaths  int
}

// startService starts postseal-milter on a host, behind the socket of its Postfix.
func (s *site) startService(m *machine) {
	s.t.Helper()
	path := filepath.Join(m.SocketDir(s.user.UID), "milter.sock")
	l, err := net.Listen("unix", path)
	s.must(err)
	s.must(os.Chmod(path, 0o666))
	socket, err := l.(*net.UnixListener).File()
	s.must(err)
	m.milter = &service{t: s.t, socket: socket, ended: make(chan struct{}), command: func() *exec.Cmd {
		// The number of the process stays the same through sh, ip and setpriv.
		return on(m.number, s.user.UID, s.user.GID, "sh", "-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"`, "sh",
			filepath.Join(s.bin, "postseal-milter"), "--config", s.config)
	}}
	m.milter.start()
	go m.milter.supervise()
	s.t.Cleanup(m.milter.stop)
}

func (v *service) start() {
	cmd := v.command()
	cmd.ExtraFiles = []*os.File{v.socket}
	cmd.Stderr = &v.log
	if err := cmd.Start(); err != nil {
		v.t.Error(err)
		return
	}
	v.process = cmd.Process
}

func (v *service) supervise() {
	defer close(v.ended)
	for {
		v.mu.Lock()
		p := v.process
		v.mu.Unlock()
		if _, err := p.Wait(); err != nil {
			v.t.Error(err)
			return
		}
		v.mu.Lock()
		stopped := v.stopped
		if !stopped {
			v.deaths++
			v.start()
		}
		v.mu.Unlock()
		if stopped {
			return
		}
	}
}

// kill is kill -9.
func (v *service) kill() {
	v.mu.Lock()
	defer v.mu.Unlock()
	_ = v.process.Kill() // it may have died
}

func (v *service) stop() {
	v.mu.Lock()
	v.stopped = true
	_ = v.process.Signal(os.Interrupt)
	v.mu.Unlock()
	<-v.ended
	v.socket.Close()
	if v.t.Failed() {
		v.t.Logf("postseal-milter said:\n%s", v.log.String())
	}
}
