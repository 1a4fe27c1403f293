package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"

	"postseal/internal/failure"
	"postseal/internal/hostport"
)

const listenExample = "for example: --listen unix:/var/spool/postfix/postseal-milter/milter.sock, or --listen inet:8891@127.0.0.1"

// sockets are what mail servers connect to.
type sockets []net.Listener

// Close removes a unix socket of our own; systemd's stays.
func (s sockets) Close() {
	for _, l := range s {
		l.Close()
	}
}

func (s sockets) names() []string {
	var names []string
	for _, l := range s {
		names = append(names, l.Addr().Network()+":"+l.Addr().String())
	}
	return names
}

// listeners returns systemd's sockets if there are any, or else the one of --listen. A file
// with --listen may serve both ways of starting.
func (f *flags) listeners() (sockets, error) {
	given, err := activation.Listeners()
	if err != nil {
		return nil, failure.Failed("look at the socket unit: systemctl status postseal-milter.socket", "socket activation: %v", err)
	}
	if len(given) > 0 {
		return activated(given)
	}
	if f.Listen == "" {
		return nil, failure.Usage(listenExample, "--listen is missing")
	}
	network, addr, err := parseListen(f.Listen)
	if err != nil {
		return nil, err
	}
	mode, err := strconv.ParseUint(f.SocketMode, 8, 9)
	if err != nil {
		return nil, failure.Usage("the default is 0660", "--socket-mode: %q is not an octal mode", f.SocketMode)
	}
	if network == "unix" {
		return one(listenUnix(addr, fs.FileMode(mode)))
	}
	return one(listenTCP(addr))
}

func one(l net.Listener, err error) (sockets, error) {
	if err != nil {
		return nil, err
	}
	return sockets{l}, nil
}

func activated(given []net.Listener) (sockets, error) {
	for _, l := range given {
		if l == nil {
			return nil, failure.Config("use ListenStream= in the socket unit", "systemd passed a socket that is not a stream socket")
		}
	}
	return given, nil
}

// parseListen reads unix:PATH and inet:PORT@HOST, the usual form for milters.
func parseListen(s string) (network, addr string, err error) {
	kind, rest, _ := strings.Cut(s, ":")
	switch kind {
	case "unix":
		if rest != "" {
			return "unix", rest, nil
		}
	case "inet":
		port, host, ok := strings.Cut(rest, "@")
		if addr, err := hostport.Join(host, port); err == nil && ok {
			return "tcp", addr, nil
		}
	}
	return "", "", failure.Usage(listenExample, "--listen: %q is neither unix:PATH nor inet:PORT@HOST", s)
}

func listenTCP(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, failure.Failed("is another program at this port? see: ss -ltnp", "cannot listen at %s: %v", addr, cause(err))
	}
	return l, nil
}

// maxSocketPath is the size of sun_path in sockaddr_un(7) without its final NUL.
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

func listenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, failure.Usage("choose a shorter path", "--listen: %q has %d bytes, and the path of a socket at most %d",
			path, len(path), maxSocketPath)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// Set the mode by the umask and not by chmod(2), which would follow a link: the name is
	// the socket's only as long as nobody else can write to its directory.
	old := syscall.Umask(int(0o777 &^ mode))
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, failure.Failed(directoryHint(path), "cannot make the socket %s: %v", path, cause(err))
	}
	return l, nil
}

func directoryHint(path string) string {
	return fmt.Sprintf("the directory %s must exist and this user must be able to write in it", filepath.Dir(path))
}

// removeStale removes a socket on which nobody listens: a killed process left it.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return failure.Failed(directoryHint(path), "cannot look at %s: %v", path, cause(err))
	}
	if info.Mode().Type() != fs.ModeSocket {
		return failure.Failed("choose another path, or remove the file", "%s exists and is not a socket", path)
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
		return failure.Failed("stop it, or choose another path", "another process listens on %s", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return failure.Failed("remove it if nobody uses it", "cannot tell whether %s is in use: %v", path, cause(err))
	}
	if err := os.Remove(path); err != nil {
		return failure.Failed(directoryHint(path), "cannot remove the stale socket %s: %v", path, cause(err))
	}
	return nil
}

// cause drops the words that the text around it repeats.
func cause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
