package milter

import (
	"net"

	"golang.org/x/sys/unix"
)

// quickAck returns a function that is to be called before each read of a TCP
// connection, nil for others. A mail server sends a message's commands in several
// writes and waits (Nagle) until the first is acknowledged, which a kernel
// otherwise puts off by 40 ms. The option does not last, hence before each read.
func quickAck(nc net.Conn) func() {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	set := func(fd uintptr) {
		// A failure costs 40 ms, no more.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
	}
	return func() { _ = raw.Control(set) }
}
