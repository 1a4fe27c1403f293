//go:build !linux

package milter

import "net"

// startLoop leaves all listeners to goroutines: the loop is written for epoll(7).
func (s *Server) startLoop(listeners []net.Listener, _ chan<- error) []net.Listener {
	return listeners
}

// quickAck does nothing: only Linux has the option.
func quickAck(net.Conn) func() { return nil }
