package milter

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// conn is the connection of a mail server as go-milter sees it: Read yields the
// commands that have a reply, Write has a deadline. One goroutine uses it; only
// stop is called by another.
type conn struct {
	net.Conn
	server     *Server
	in         *bufio.Reader // over socket
	quickAck   func()
	negotiated bool
	options    options
	message    message
	unread     []byte // read from the peer before go-milter took over
	unsent     []byte // replies from before, which the peer has not taken yet

	out      []byte    // what go-milter has yet to read of a packet
	taken    int       // bytes of in that out stands in
	inPacket bool      // the packet's length is known and its end is not there
	deadline time.Time // of a packet that has begun

	mu       sync.Mutex
	busy     bool // a message is under way
	stopping bool
}

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, bufferSize) }}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{Conn: nc, server: s, quickAck: quickAck(nc)}
	c.in = readers.Get().(*bufio.Reader)
	c.in.Reset((*socket)(c))
	c.message.budget = &s.held
	c.message.isChallenge = s.config.IsChallenge
	return c
}

func (c *conn) budget() *budget { return &c.server.held }

// Read gives go-milter the next bytes of the commands that are for it. Each error
// is the end of the connection and was logged here if it is worth it.
func (c *conn) Read(p []byte) (int, error) {
	if len(c.unsent) > 0 {
		if err := c.flush(); err != nil {
			return 0, io.EOF
		}
	}
	for len(c.out) == 0 {
		if err := c.next(); err != nil {
			c.ended(err)
			return 0, io.EOF
		}
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

// startPacket lets go of the packet before. It ends the connection where it is
// wanted and does no harm: between two messages.
func (c *conn) startPacket() error {
	if _, err := c.in.Discard(c.taken); err != nil {
		return err
	}
	c.out, c.taken = nil, 0
	c.inPacket, c.deadline = false, time.Time{}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping && !c.busy {
		return io.EOF
	}
	return nil
}

// ended notes how a connection ended if it was not in good order.
func (c *conn) ended(err error) {
	timeout := errors.Is(err, os.ErrDeadlineExceeded)
	between := !c.inPacket && c.in.Buffered() == 0
	if errors.Is(err, io.EOF) && !between {
		err = io.ErrUnexpectedEOF
	}
	if errors.Is(err, io.EOF) || timeout && between {
		return
	}
	c.server.broken(err, nameOf(c.Conn))
}

func nameOf(nc net.Conn) string {
	if addr := nc.RemoteAddr(); addr != nil && addr.String() != "" {
		return addr.String()
	}
	return nc.LocalAddr().String()
}

// Write gives a peer that reads nothing only so long.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.server.config.WriteTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Close is called by go-milter in the end, once.
func (c *conn) Close() error {
	c.message.reset()
	c.release()
	// First: a peer that sees the end finds room for its next connection. When the
	// server counts nobody any more, Serve may return.
	c.server.stats.Connections.Add(-1)
	defer c.server.remove(c)
	return c.Conn.Close()
}

func (c *conn) cutOff() { c.Conn.Close() }

// release gives the buffer back.
func (c *conn) release() {
	c.in.Reset(nil)
	readers.Put(c.in)
}

// setBusy tells whether a message is under way that may be finished when the
// server is to stop.
func (c *conn) setBusy(busy bool) {
	c.mu.Lock()
	c.busy = busy
	c.mu.Unlock()
}

// stop ends the connection now if it is between two messages, else after the one
// that is under way.
func (c *conn) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	if !c.busy {
		// It is no matter if this fails: the connection is then gone already.
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
}

// socket is what the buffer of a conn reads from.
type socket conn

// Read waits for bytes: long between two packets, not so long within one.
func (s *socket) Read(p []byte) (int, error) {
	c := (*conn)(s)
	if len(c.unread) > 0 {
		n := copy(p, c.unread)
		c.unread = c.unread[n:]
		return n, nil
	}
	if err := c.setReadDeadline(); err != nil {
		return 0, err
	}
	if c.quickAck != nil {
		c.quickAck()
	}
	return c.Conn.Read(p)
}

// flush sends the replies from before go-milter took over.
func (c *conn) flush() error {
	_, err := c.Write(c.unsent)
	c.unsent = nil
	return err
}

func (c *conn) setReadDeadline() error {
	deadline := c.deadline
	if c.inPacket || c.in.Buffered() > 0 {
		if deadline.IsZero() {
			deadline = time.Now().Add(c.server.config.PacketTimeout)
			c.deadline = deadline
		}
	} else {
		deadline = time.Now().Add(c.server.config.IdleTimeout)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping && !c.busy {
		return io.EOF
	}
	return c.SetReadDeadline(deadline)
}
