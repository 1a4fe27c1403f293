package milter

import "net"

// adopt gives a connection that is out of the ordinary to go-milter: with the
// message that is under way, the bytes that were read and not answered, and the
// replies that the peer has not taken yet.
func (s *Server) adopt(nc net.Conn, o *ordinary, unread, unsent []byte) {
	c := newConn(s, nc)
	c.negotiated, c.options, c.message = o.negotiated, o.options, o.message
	c.busy = o.busy()
	c.unread = append([]byte(nil), unread...)
	c.unsent = append([]byte(nil), unsent...)
	o.message = message{}
	s.mu.Lock()
	c.stopping = s.stopping
	s.members[c] = struct{}{}
	s.mu.Unlock()
	s.speak(c)
}
