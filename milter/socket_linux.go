package milter

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// fileConn is a connection that has left the loop. It is made of the descriptor
// itself: to duplicate it, as net.FileConn does, can fail when there are no more.
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

// peer names the other end for the log; those of unix sockets have no name.
func (c *socketConn) peer() string { return nameOf(&fileConn{local: c.at.addr, remote: c.remote()}) }
