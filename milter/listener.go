package milter

import (
	"errors"
	"net"
	"time"
)

// Pauses after a failed accept(2). Without a free file descriptor it fails at
// once, again and again, until a connection ends.
const (
	shortPause = 5 * time.Millisecond
	longPause  = time.Second
)

// accept takes connections until the listener is closed. Any other error is
// transient: no file descriptors or memory, a peer that is gone already.
func (s *Server) accept(l net.Listener) error {
	pause := shortPause
	for {
		nc, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			s.stats.AcceptErrors.Add(1)
			s.log.Warn("cannot take a connection", "error", err)
			time.Sleep(pause)
			pause = min(2*pause, longPause)
		default:
			pause = shortPause
			s.start(nc)
		}
	}
}

// single is a listener with one connection.
type single struct{ conn net.Conn }

func (l *single) Accept() (net.Conn, error) {
	if l.conn == nil {
		return nil, net.ErrClosed
	}
	c := l.conn
	l.conn = nil
	return c, nil
}

func (l *single) Close() error   { return nil }
func (l *single) Addr() net.Addr { return nil }
