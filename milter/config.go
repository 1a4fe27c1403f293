package milter

import (
	"context"
	"log/slog"
	"time"

	"postseal/internal/challenge"
)

// Action is the mail server's instruction for an answered challenge.
type Action int

// The actions.
const (
	Accept Action = iota
	Discard
)

// Config says how to judge messages. Zero values mean the default.
type Config struct {
	// Pending reports from memory whether anybody waits for a challenge, at each MAIL. After
	// an error the server looks at the message.
	Pending func() (bool, error)

	// Answer decides about a whole message with a challenge's Subject. It may take until ctx
	// ends.
	Answer func(ctx context.Context, m challenge.Message) challenge.Outcome

	// IsChallenge reports whether a Subject, as it arrived, is a challenge's;
	// challenge.IsChallenge by default.
	IsChallenge func(subject string) bool

	OnAnswered Action
	Logger     *slog.Logger // slog.Default() by default

	MaxConnections int   // 1024
	MaxHeld        int64 // bytes kept of messages, over all connections: 8 MiB

	IdleTimeout   time.Duration // between two packets: 10 minutes, above Postfix's own 5
	PacketTimeout time.Duration // from a packet's first byte to its last: 30 s
	WriteTimeout  time.Duration // until the peer takes a reply: 10 s
	AnswerTimeout time.Duration // for one decision: 25 s, below content_timeout=30s
	DrainTimeout  time.Duration // for messages under way when Serve ends: 30 s
}

func (c Config) withDefaults() Config {
	setDefault(&c.MaxConnections, 1024)
	setDefault(&c.MaxHeld, 8<<20)
	setDefault(&c.IdleTimeout, 10*time.Minute)
	setDefault(&c.PacketTimeout, 30*time.Second)
	setDefault(&c.WriteTimeout, 10*time.Second)
	setDefault(&c.AnswerTimeout, 25*time.Second)
	setDefault(&c.DrainTimeout, 30*time.Second)
	if c.IsChallenge == nil {
		c.IsChallenge = challenge.IsChallenge
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
