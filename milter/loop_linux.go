package milter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// loop serves all connections with ordinary mail on one thread. A mail server waits for each
// reply, so the cost of a message is above all the number of system calls and of threads
// woken: a goroutine for each connection does twice the work of a C milter, and this loop a
// third of it.
//
// The goroutine of run does everything but stop and cutOff.
type loop struct {
	server    *Server
	epoll     int
	ready     *os.File // epoll, as Go's poller knows it
	wake      int      // eventfd: stopping or cut has changed
	listeners []*listening
	conns     []*socketConn // by file descriptor
	open      int           // of conns
	in, out   []byte        // the bytes read, and the replies
	events    [64]unix.EpollEvent
	timed     bool // the timer runs
	now       time.Time
	swept     time.Time // the last look at the deadlines
	every     time.Duration

	stopping, cut atomic.Bool
	stopped       bool // the loop has seen stopping
}

// listening is a socket that mail servers connect to.
type listening struct {
	fd     int
	addr   net.Addr
	pause  time.Duration // after the next failure
	resume time.Time     // zero if it is not paused
}

// socketConn is one connection in the loop.
type socketConn struct {
	dialogue
	fd    int
	at    *listening
	rest  []byte    // the start of a packet
	since time.Time // when the packet under way began, or the last one ended
}

// readSize is the most that one read takes, in bytes; the whole loop shares one such buffer.
const readSize = 16 << 10

// startLoop serves those listeners that are kernel sockets, and returns the others. It sends
// the loop's end to failed.
func (s *Server) startLoop(listeners []net.Listener, failed chan<- error) (others []net.Listener) {
	l, err := newLoop(s)
	if err != nil {
		s.log.Warn("no event loop", "error", err)
		return listeners
	}
	for _, listener := range listeners {
		if err := l.listen(listener); err != nil {
			others = append(others, listener)
		}
	}
	if len(l.listeners) == 0 || !s.add(l) {
		l.close()
		return others
	}
	s.loops.Go(func() { failed <- l.run() })
	return others
}

func newLoop(s *Server) (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, err
	}
	// os.NewFile gives only a non-blocking file to Go's poller.
	err = unix.SetNonblock(epoll, true)
	every := min(s.config.IdleTimeout, s.config.PacketTimeout) / 4
	l := &loop{
		server: s, epoll: epoll, wake: wake, in: make([]byte, readSize+bufferSize),
		every: max(min(every, 5*time.Second), time.Millisecond),
	}
	l.ready = os.NewFile(uintptr(epoll), "epoll")
	if err := errors.Join(err, l.watch(unix.EPOLL_CTL_ADD, wake, unix.EPOLLIN)); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *loop) watch(op, fd int, events uint32) error {
	return unix.EpollCtl(l.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}

// listen adds a listener by a descriptor of our own: Go's own poller reads the listener's.
func (l *loop) listen(listener net.Listener) error {
	var sys interface{ Control(func(uintptr)) error }
	switch listener := listener.(type) {
	case *net.UnixListener:
		sys, _ = listener.SyscallConn()
	case *net.TCPListener:
		sys, _ = listener.SyscallConn()
	}
	if sys == nil {
		return fmt.Errorf("%T is not a socket", listener)
	}
	fd, err := -1, error(nil)
	if cerr := sys.Control(func(orig uintptr) { fd, err = unix.FcntlInt(orig, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil {
		return cerr
	}
	if err != nil {
		return err
	}
	if err := l.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN); err != nil {
		unix.Close(fd)
		return err
	}
	l.listeners = append(l.listeners, &listening{fd: fd, addr: listener.Addr(), pause: shortPause})
	return nil
}

// close gives back the loop's own descriptors.
func (l *loop) close() {
	l.closeListeners()
	unix.Close(l.wake)
	l.ready.Close()
}

func (l *loop) closeListeners() {
	for _, at := range l.listeners {
		unix.Close(at.fd)
	}
	l.listeners = nil
}

func (l *loop) stop()   { l.stopping.Store(true); l.rouse() }
func (l *loop) cutOff() { l.cut.Store(true); l.rouse() }

// rouse makes run look at what other goroutines have set.
func (l *loop) rouse() {
	// It fails only if the counter is full, and then the loop wakes anyway.
	_, _ = unix.Write(l.wake, []byte{7: 1})
}

// run serves until the loop is stopped and no connection is left.
func (l *loop) run() error {
	defer func() {
		l.server.remove(l)
		l.close()
	}()
	poll, err := l.ready.SyscallConn()
	if err != nil {
		return fmt.Errorf("event loop: %w", err)
	}
	for !l.stopped || l.open > 0 {
		l.setTimer()
		err := poll.Read(l.drain)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("event loop: %w", err)
		}
		l.now = time.Now()
		l.keepTime()
	}
	return nil
}

// drain handles events until none is left, and then returns false, to wait in Go's poller. A
// blocking epoll_wait(2) would wait itself, but while a thread is in a system call, Go's
// monitor wakes every 20 µs to look after it, which costs as much as the mail.
func (l *loop) drain(uintptr) (done bool) {
	for turn := 1; ; turn++ {
		n, errno := epollNow(l.epoll, l.events[:])
		if n <= 0 {
			return errno != 0 && errno != unix.EINTR || l.due()
		}
		l.now = time.Now()
		for _, event := range l.events[:n] {
			l.event(int(event.Fd))
		}
		if turn%100 == 0 {
			runtime.Gosched() // to those who answer challenges, on a machine with one processor
		}
	}
}

// due reports whether run has work that is not an event.
func (l *loop) due() bool {
	return l.stopped && l.open == 0 || !l.timed && l.waiting() || l.now.Sub(l.swept) >= l.every
}

// waiting reports whether a deadline or a pause will end.
func (l *loop) waiting() bool { return l.open > 0 || l.paused() }

// setTimer makes drain return in time for the next deadline or pause, if any. It leaves a
// running timer alone: with a connection for each message, stopping and starting it would
// cost more than one needless wake-up.
func (l *loop) setTimer() {
	at := time.Time{}
	if l.timed = l.waiting(); l.timed {
		at = time.Now().Add(l.every)
	}
	if l.paused() {
		at = time.Now().Add(shortPause)
	}
	_ = l.ready.SetReadDeadline(at) // cannot fail: it is a poller
}

func (l *loop) paused() bool {
	for _, at := range l.listeners {
		if !at.resume.IsZero() {
			return true
		}
	}
	return false
}

func (l *loop) event(fd int) {
	if fd < len(l.conns) && l.conns[fd] != nil {
		l.serve(l.conns[fd])
		return
	}
	if fd == l.wake {
		l.told()
		return
	}
	for _, at := range l.listeners {
		if fd == at.fd {
			l.accept(at)
			return
		}
	}
}

// told does what other goroutines have asked for.
func (l *loop) told() {
	var buf [8]byte
	_, _ = unix.Read(l.wake, buf[:]) // the counter itself does not matter
	if l.stopping.Load() || l.cut.Load() {
		l.stopped = true
		l.closeListeners()
	}
	for _, c := range l.conns {
		if c != nil {
			c.stopping = l.stopped
			if l.cut.Load() || l.stopped && !c.busy() {
				l.end(c)
			}
		}
	}
}

// accept takes one connection. If more wait, the kernel reports another event.
func (l *loop) accept(at *listening) {
	fd, errno := acceptNow(at.fd)
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR || errno == unix.ECONNABORTED:
		return
	case errno != 0:
		l.pause(at, errno)
		return
	}
	at.pause = shortPause
	l.take(at, fd)
}

// pause leaves a listener alone for a while: without a free file descriptor, accept(2) fails
// at once, again and again, until a connection ends.
func (l *loop) pause(at *listening, err error) {
	l.server.stats.AcceptErrors.Add(1)
	l.server.log.Warn("cannot take a connection", "error", err)
	if l.watch(unix.EPOLL_CTL_MOD, at.fd, 0) == nil {
		at.resume = l.now.Add(at.pause)
		at.pause = min(2*at.pause, longPause)
		l.timed = false // the timer is set for later
	}
}

func (l *loop) take(at *listening, fd int) {
	if !l.server.admit() {
		unix.Close(fd)
		return
	}
	c := &socketConn{dialogue: newDialogue(l.server), fd: fd, at: at, since: l.now}
	if at.tcp() {
		// Waiting for an acknowledgement would delay the mail.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	for len(l.conns) <= fd {
		l.conns = append(l.conns, nil)
	}
	l.conns[fd] = c
	l.open++
	if err := l.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN); err != nil {
		l.broken(c, err)
		return
	}
	l.serve(c) // mail servers start at once
}

func (at *listening) tcp() bool {
	_, tcp := at.addr.(*net.TCPAddr)
	return tcp
}

// serve reads what has arrived and replies to it. A panic ends one connection.
func (l *loop) serve(c *socketConn) {
	defer func() {
		if r := recover(); r != nil {
			l.server.log.Error("panic", "panic", r, "stack", string(debug.Stack()))
			l.end(c)
		}
	}()
	kept := copy(l.in, c.rest)
	n, errno := readNow(c.fd, l.in[kept:])
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return
	case errno != 0:
		l.broken(c, errno)
		return
	case n == 0 && kept == 0 && c.code == 0:
		l.end(c)
		return
	case n == 0:
		l.broken(c, io.ErrUnexpectedEOF)
		return
	}
	if c.at.tcp() {
		ackNow(c.fd)
	}
	l.reply(c, l.in[:kept+n], kept)
}

// reply answers the bytes read, of which the first kept ones are from before.
func (l *loop) reply(c *socketConn, in []byte, kept int) {
	before, fresh := c.packets, kept == 0 && c.code == 0
	left, out, next, err := c.take(in, l.out[:0])
	l.out = out[:0]
	sent := 0
	if len(out) > 0 {
		var errno unix.Errno
		sent, errno = writeNow(c.fd, out)
		if errno != 0 && errno != unix.EAGAIN && errno != unix.EINTR {
			l.end(c)
			return
		}
	}
	switch {
	case err != nil:
		l.broken(c, err)
		return
	case next == finish && sent == len(out):
		l.end(c)
		return
	case next == decide || sent < len(out):
		l.handOver(c, left, out[sent:], next)
		return
	}
	if fresh || c.packets > before {
		c.since = l.now
	}
	c.rest = append([]byte(nil), left...)
}

// handOver gives a connection a goroutine of its own, for good.
func (l *loop) handOver(c *socketConn, unread, unsent []byte, next then) {
	if err := l.watch(unix.EPOLL_CTL_DEL, c.fd, 0); err != nil {
		l.broken(c, err)
		return
	}
	l.conns[c.fd] = nil
	l.open--
	go l.server.newConn(c.conn(), c.dialogue).serve(bytes.Clone(unread), bytes.Clone(unsent), next)
}

// end closes a connection.
func (l *loop) end(c *socketConn) {
	if l.conns[c.fd] != c {
		return
	}
	l.conns[c.fd] = nil
	l.open--
	c.message.reset()
	// First: a peer that sees the end finds room for its next connection.
	l.server.stats.Connections.Add(-1)
	closeNow(c.fd)
}

// broken closes a connection after an error.
func (l *loop) broken(c *socketConn, err error) {
	l.server.broken(err, c.peer())
	l.end(c)
}

// keepTime ends the connections whose deadline has passed, and resumes listeners after a
// pause. Deadlines are late by a quarter at most: a timer for each would cost more than the
// mail.
func (l *loop) keepTime() {
	for _, at := range l.listeners {
		if !at.resume.IsZero() && l.now.After(at.resume) && l.watch(unix.EPOLL_CTL_MOD, at.fd, unix.EPOLLIN) == nil {
			at.resume = time.Time{}
		}
	}
	if l.now.Sub(l.swept) < l.every {
		return
	}
	l.swept = l.now
	for _, c := range l.conns {
		switch {
		case c == nil:
		case (len(c.rest) > 0 || c.code != 0) && l.now.Sub(c.since) > l.server.config.PacketTimeout:
			l.broken(c, os.ErrDeadlineExceeded)
		case l.now.Sub(c.since) > l.server.config.IdleTimeout:
			l.end(c)
		}
	}
}
