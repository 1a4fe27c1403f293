package milter

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"postseal/internal/challenge"
)

// Server answers mail servers.
type Server struct {
	config Config
	log    *slog.Logger // rate-limited: for what peers can cause
	held   budget
	stats  Stats

	answering context.Context // ends when the server gives up on decisions
	breakOff  context.CancelFunc

	mu       sync.Mutex
	members  map[member]struct{}
	stopping bool
	empty    chan struct{} // closed when the server is stopping and has no member

	loops sync.WaitGroup
}

// member is what has to end before Serve does: a connection, or the loop that serves many of
// them.
type member interface {
	stop()   // ends each connection between two messages, now or as soon as it is there
	cutOff() // ends everything
}

// New returns a server. Config.Pending and Config.Answer must be set.
func New(config Config) *Server {
	config = config.withDefaults()
	s := &Server{
		config:  config,
		log:     Limited(config.Logger),
		held:    budget{limit: config.MaxHeld},
		members: map[member]struct{}{},
		empty:   make(chan struct{}),
	}
	s.answering, s.breakOff = context.WithCancel(context.Background())
	return s
}

// Stats returns the server's counters.
func (s *Server) Stats() *Stats { return &s.stats }

// ErrCutOff means that messages were still under way when DrainTimeout ended.
var ErrCutOff = errors.New("messages under way were cut off")

// Serve answers on all listeners, which it closes, until ctx ends. Then it accepts no more
// connections, ends those between two messages, and waits for the others. It may be called
// once.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	defer s.breakOff()
	defer s.loops.Wait()
	failed := make(chan error, len(listeners)+1)
	for _, l := range s.startLoop(listeners, failed) {
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
	if len(s.members) == 0 {
		close(s.empty)
	}
	for m := range s.members {
		m.stop()
	}
	s.mu.Unlock()
	select {
	case <-s.empty:
		return nil
	case <-time.After(s.config.DrainTimeout):
	}
	return s.cutOff()
}

// cutOff ends whatever is still under way. The mail server's default action applies to these
// messages.
func (s *Server) cutOff() error {
	s.breakOff()
	s.mu.Lock()
	defer s.mu.Unlock()
	for m := range s.members {
		m.cutOff()
	}
	return ErrCutOff
}

// admit counts a new connection unless there are too many.
func (s *Server) admit() bool {
	if s.stats.Connections.Add(1) <= int64(s.config.MaxConnections) {
		return true
	}
	s.stats.Connections.Add(-1)
	s.stats.RefusedOverCap.Add(1)
	s.log.Warn("too many connections of mail servers", "max", s.config.MaxConnections)
	return false
}

// add makes the loop a member; it fails while the server is stopping.
func (s *Server) add(m member) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.members[m] = struct{}{}
	return true
}

func (s *Server) remove(m member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.members, m)
	if s.stopping && len(s.members) == 0 {
		close(s.empty)
	}
}

// broken logs a connection that ended with an error.
func (s *Server) broken(err error, peer string) {
	s.stats.BrokenConnections.Add(1)
	s.log.Warn("connection of the mail server ended", "error", err, "peer", peer)
}

// pending reports whether the server has to look at messages.
func (s *Server) pending() bool {
	pending, err := s.config.Pending()
	if err != nil {
		s.stats.PendingErrors.Add(1)
		s.log.Warn("cannot tell whether a challenge is pending, so every message is looked at", "error", err)
		return true
	}
	return pending
}

// logOutcome writes the one line for a message that an order waits for. Other mail has none.
func (s *Server) logOutcome(o challenge.Outcome, m *message) {
	if !o.Concerns() {
		return
	}
	attrs := o.Attrs()
	if m.queueID != "" {
		attrs = append(attrs, "queue", m.queueID)
	}
	s.config.Logger.Log(s.answering, o.Level(), "challenge "+o.Verdict.String(), attrs...)
}

// answer asks for the verdict.
func (s *Server) answer(m *message) challenge.Outcome {
	if m.lost {
		s.stats.OutOfMemory.Add(1)
		return challenge.Outcome{Verdict: challenge.Later, Reason: "too many large messages at once"}
	}
	ctx, cancel := context.WithTimeout(s.answering, s.config.AnswerTimeout)
	defer cancel()
	return s.config.Answer(ctx, challenge.Message{Raw: m.raw, Truncated: m.truncated})
}

// Stats counts events since the server started.
type Stats struct {
	Connections       atomic.Int64  // open now
	Messages          atomic.Uint64 // MAIL commands
	AcceptedAtMail    atomic.Uint64 // nothing was pending
	AcceptedAtHeader  atomic.Uint64 // no Subject of a challenge
	Decided           atomic.Uint64 // handed to Config.Answer
	PendingErrors     atomic.Uint64 // Config.Pending failed
	RefusedOverCap    atomic.Uint64 // connections over MaxConnections
	BrokenConnections atomic.Uint64 // ended by an error or a deadline
	AcceptErrors      atomic.Uint64 // such as no free file descriptors
	OutOfMemory       atomic.Uint64 // challenges put off because MaxHeld was reached
}
