package milter

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/emersion/go-milter"

	"postseal/internal/challenge"
)

// Server answers mail servers.
type Server struct {
	config Config
	log    *slog.Logger // rate-limited: for what peers can cause
	held   budget
	stats  Stats

	answering context.Context // ends when decisions are to be broken off
	breakOff  context.CancelFunc

	mu       sync.Mutex
	conns    map[*conn]struct{}
	stopping bool
	empty    chan struct{} // closed when stopping and no connection is left
}

// New returns a server. Config.Pending and Config.Answer must be set.
func New(config Config) *Server {
	config = config.withDefaults()
	s := &Server{
		config: config,
		log:    Limited(config.Logger),
		held:   budget{limit: config.MaxHeld},
		conns:  map[*conn]struct{}{},
		empty:  make(chan struct{}),
	}
	s.answering, s.breakOff = context.WithCancel(context.Background())
	return s
}

// Stats returns the server's counters.
func (s *Server) Stats() *Stats { return &s.stats }

// ErrCutOff means that messages were still under way when DrainTimeout was over.
var ErrCutOff = errors.New("messages under way were cut off")

// Serve answers on all listeners, which it closes, until ctx ends. Then it takes
// no more connections, ends those between two messages, and waits for the others.
// It can be called once.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	defer s.breakOff()
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- s.accept(l) }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	for _, l := range listeners {
		l.Close()
	}
	return errors.Join(err, s.drain())
}

// drain ends all connections.
func (s *Server) drain() error {
	s.mu.Lock()
	s.stopping = true
	if len(s.conns) == 0 {
		close(s.empty)
	}
	for c := range s.conns {
		c.stop()
	}
	s.mu.Unlock()
	select {
	case <-s.empty:
		return nil
	case <-time.After(s.config.DrainTimeout):
	}
	return s.cutOff()
}

// cutOff breaks off what is still under way. The mail server's default action
// applies to these messages.
func (s *Server) cutOff() error {
	s.breakOff()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Conn.Close()
	}
	return ErrCutOff
}

// start serves a connection, or closes it if there are too many.
//
// Each has a go-milter server of its own: that is how the handler knows its
// connection, and the connection what its peer can do.
func (s *Server) start(nc net.Conn) {
	c := newConn(s, nc)
	if !s.add(c) {
		c.release()
		nc.Close()
		return
	}
	handler := &session{conn: c}
	server := &milter.Server{NewMilter: func() milter.Milter { return handler }}
	_ = server.Serve(&single{conn: c}) // net.ErrClosed, once go-milter has the connection
}

func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	if len(s.conns) >= s.config.MaxConnections {
		s.stats.RefusedOverCap.Add(1)
		s.log.Warn("too many connections of mail servers", "max", s.config.MaxConnections)
		return false
	}
	s.conns[c] = struct{}{}
	s.stats.Connections.Add(1)
	return true
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.stats.Connections.Add(-1)
	if s.stopping && len(s.conns) == 0 {
		close(s.empty)
	}
}

// pending tells whether messages have to be looked at.
func (s *Server) pending() bool {
	pending, err := s.config.Pending()
	if err != nil {
		s.stats.PendingErrors.Add(1)
		s.log.Warn("cannot tell whether a challenge is pending, so every message is looked at", "error", err)
		return true
	}
	return pending
}

// logOutcome writes the one line for a message that concerns somebody who waits.
// There is none for other mail.
func (s *Server) logOutcome(o challenge.Outcome, m *message) {
	if !o.Concerns() {
		return
	}
	level := slog.LevelInfo
	if o.Verdict == challenge.Refused || o.Verdict == challenge.Later {
		level = slog.LevelWarn
	}
	attrs := o.Attrs()
	if m.queueID != "" {
		attrs = append(attrs, "queue", m.queueID)
	}
	s.config.Logger.Log(s.answering, level, "challenge "+o.Verdict.String(), attrs...)
}
