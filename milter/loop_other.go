//go:build !linux

package milter

import "net"

// startLoop leaves all listeners to go-milter: the loop is written for epoll(7).
func (s *Server) startLoop(listeners []net.Listener, _ chan<- error) []net.Listener {
	return listeners
}
