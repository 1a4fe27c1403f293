package milter

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"time"
)

// conn serves one connection with a goroutine: one that waits for a decision or for a peer
// that does not read, and any that the loop cannot serve. Only stop and cutOff may be called
// from outside.
type conn struct {
	net.Conn
	dialogue
	quickAck func()
	deadline time.Time // of the packet under way

	mu      sync.Mutex
	waiting bool // between two messages
	stopped bool
}

// newConn makes a connection a member of the server.
func (s *Server) newConn(nc net.Conn, d dialogue) *conn {
	c := &conn{Conn: nc, dialogue: d, quickAck: quickAck(nc), waiting: !d.busy()}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.stopped = s.stopping
	s.members[c] = struct{}{}
	return c
}

// serve sends the replies that the peer has not read, decides if that is the next step, and
// goes on after the bytes in unread until the connection ends.
func (c *conn) serve(unread, unsent []byte, next then) {
	defer c.close()
	defer func() {
		if r := recover(); r != nil {
			c.server.log.Error("panic", "panic", r, "stack", string(debug.Stack()))
		}
	}()
	if err := c.write(unsent); err != nil {
		return
	}
	if next == decide {
		if err := c.write(c.judge()); err != nil {
			return
		}
	}
	if err := c.talk(unread); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, errUnread) {
		c.server.broken(err, nameOf(c.Conn))
	}
}

var inputs = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// talk processes in and then the bytes that arrive, until an error; io.EOF is an orderly end.
func (c *conn) talk(in []byte) error {
	buf := inputs.Get().(*[bufferSize]byte)
	defer inputs.Put(buf)
	var out []byte
	for {
		c.stopping = c.isStopped()
		before := c.packets
		left, replies, next, err := c.take(in, out[:0])
		if in, out = left, replies; c.packets > before {
			c.deadline = time.Time{}
		}
		if werr := c.write(out); werr != nil {
			return werr
		}
		switch {
		case err != nil:
			return err
		case next == finish:
			return io.EOF
		case next == decide:
			if err := c.write(c.judge()); err != nil {
				return err
			}
			continue
		}
		n, err := c.read(buf[copy(buf[:], in):], len(in) > 0 || c.code != 0)
		if err != nil {
			return err
		}
		in = buf[:len(in)+n]
	}
}

// read waits for bytes: for long between two packets, for less within one.
func (c *conn) read(p []byte, inPacket bool) (int, error) {
	if err := c.setReadDeadline(inPacket); err != nil {
		return 0, err
	}
	if c.quickAck != nil {
		c.quickAck()
	}
	n, err := c.Conn.Read(p)
	switch {
	case n > 0:
		return n, nil
	case inPacket && errors.Is(err, io.EOF):
		return 0, io.ErrUnexpectedEOF
	case !inPacket && errors.Is(err, os.ErrDeadlineExceeded):
		return 0, io.EOF
	}
	return 0, err
}

func (c *conn) setReadDeadline(inPacket bool) error {
	deadline := time.Now().Add(c.server.config.IdleTimeout)
	if inPacket {
		if c.deadline.IsZero() {
			c.deadline = time.Now().Add(c.server.config.PacketTimeout)
		}
		deadline = c.deadline
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = !c.busy()
	if c.stopped && c.waiting {
		return io.EOF
	}
	return c.SetReadDeadline(deadline)
}

var errUnread = errors.New("the peer does not take its replies")

// write bounds the time for a peer that does not read.
func (c *conn) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if err := c.SetWriteDeadline(time.Now().Add(c.server.config.WriteTimeout)); err != nil {
		return errUnread
	}
	if _, err := c.Conn.Write(p); err != nil {
		return errUnread
	}
	return nil
}

func (c *conn) isStopped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped
}

// stop ends the connection now if it is between two messages, otherwise after the message
// under way.
func (c *conn) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	if c.waiting {
		// If this fails, the connection is gone already.
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
}

func (c *conn) cutOff() { c.Conn.Close() }

// close ends the connection.
func (c *conn) close() {
	c.message.reset()
	// First: a peer that sees the end finds room for its next connection. Once the server
	// counts no connection, Serve may return.
	c.server.stats.Connections.Add(-1)
	defer c.server.remove(c)
	c.Conn.Close()
}

func nameOf(nc net.Conn) string {
	if addr := nc.RemoteAddr(); addr != nil && addr.String() != "" {
		return addr.String()
	}
	return nc.LocalAddr().String()
}

// Pauses after a failed accept(2). Without a free file descriptor it fails at once, again and
// again, until a connection ends.
const (
	shortPause = 5 * time.Millisecond
	longPause  = time.Second
)

// accept takes connections until the listener is closed. Any other error is transient: no
// file descriptors or memory, or a peer that has left already.
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
		case !s.admit():
			nc.Close()
		default:
			pause = shortPause
			go s.newConn(nc, newDialogue(s)).serve(nil, nil, readOn)
		}
	}
}
