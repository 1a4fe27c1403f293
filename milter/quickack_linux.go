package milter

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// quickAck returns a function that is to be called before each read of a TCP
// connection, nil for others. A mail server sends a message's commands in several
// writes and waits (Nagle) until the first is acknowledged, which a kernel
// otherwise puts off by 40 ms. The option does not last, hence before each read.
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

// ackNow makes the kernel acknowledge at once what was and what will be received.
func ackNow(fd int) {
	// A failure costs 40 ms, no more.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
}
