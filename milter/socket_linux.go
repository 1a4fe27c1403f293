package milter

import (
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fileConn is a connection that has left the loop. It takes over the descriptor itself:
// duplicating it, as net.FileConn does, can fail when descriptors run out.
type fileConn struct {
	*os.File
	local, remote net.Addr
}

func (c *fileConn) LocalAddr() net.Addr  { return c.local }
func (c *fileConn) RemoteAddr() net.Addr { return c.remote }

// conn gives the descriptor away.
func (c *socketConn) conn() net.Conn {
	return &fileConn{os.NewFile(uintptr(c.fd), "milter"), c.at.addr, c.remote()}
}

func (c *socketConn) remote() net.Addr {
	addr, err := unix.Getpeername(c.fd)
	if err != nil {
		return nil
	}
	switch addr := addr.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: addr.Addr[:], Port: addr.Port}
	case *unix.SockaddrInet6:
		return &net.TCPAddr{IP: addr.Addr[:], Port: addr.Port}
	case *unix.SockaddrUnix:
		return &net.UnixAddr{Net: "unix", Name: addr.Name}
	}
	return nil
}

// peer names the other end for the log; unix sockets have no name.
func (c *socketConn) peer() string { return nameOf(&fileConn{local: c.at.addr, remote: c.remote()}) }

// quickAck returns a function to call before each read of a TCP connection, nil for others. A
// mail server sends a message's commands in several writes and waits (Nagle) until the first
// is acknowledged, which a kernel otherwise delays by 40 ms. The option does not last, hence
// before each read.
func quickAck(nc net.Conn) func() {
	socket, ok := nc.(syscall.Conn)
	if _, tcp := nc.LocalAddr().(*net.TCPAddr); !ok || !tcp {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	set := func(fd uintptr) { ackNow(int(fd)) }
	return func() { _ = raw.Control(set) }
}

// ackNow makes the kernel acknowledge at once what it has received and will receive.
func ackNow(fd int) {
	// A failure costs 40 ms, no more.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
}

// The system calls of the loop. None of them waits, so the Go runtime need not know: it would
// wake its monitor for each.

func readNow(fd int, p []byte) (n int, errno unix.Errno) {
	r, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

func writeNow(fd int, p []byte) (n int, errno unix.Errno) {
	r, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

func closeNow(fd int) { unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

func acceptNow(fd int) (int, unix.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(r), errno
}

// epollNow returns the events that are ready.
func epollNow(fd int, events []unix.EpollEvent) (n int, errno unix.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(fd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}
