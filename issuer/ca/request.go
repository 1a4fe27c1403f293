package ca

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"postseal/internal/failure"
	"postseal/issuer/store"
)

// patience is how long we wait for a CA that asks us to wait, if no setting says so.
const patience = 30 * time.Minute

// do makes one request. If the CA says "not now" (429, or 503 with Retry-After), it waits as
// long as the CA asks, if the deadline allows: a rate limit delays but is not a failure. All
// orders at this CA wait with it, and no others.
func (c *CA) do(ctx context.Context, what string, request func(context.Context) error) error {
	if _, ok := ctx.Deadline(); ok {
		return c.doUntil(ctx, what, request)
	}
	bounded, cancel := context.WithTimeout(ctx, patience) // a CA may ask for a pause of years
	defer cancel()
	err := c.doUntil(bounded, what, request)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return failure.Later("run the same command again later", "%s: the CA has not answered within %s", what, store.Duration(patience).String())
	}
	return err
}

// doUntil is do for a context with a deadline.
func (c *CA) doUntil(ctx context.Context, what string, request func(context.Context) error) error {
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		if err := c.waitTurn(ctx, what); err != nil {
			return err
		}
		callCtx, stop := context.WithCancel(ctx)
		reqCtx, x := withExchange(callCtx, stop)
		err := request(reqCtx)
		stop()
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		last := x.answer()
		if err != nil && last.silent != nil {
			err = last.silent
		}
		if err == nil || !last.putsOff() {
			c.open(what)
			return c.Explain(what, err)
		}
		says := fmt.Sprintf("%s at %s: the CA says %s", what, Host(c.Server), last.words)
		if limit := last.status == http.StatusTooManyRequests; limit && last.wait > shortPause && (endsAtLimit(ctx) || !allows(ctx, last.wait)) {
			return c.close(what, says, last.wait).err(ctx)
		}
		wait, err := c.putOff(ctx, says, last.wait, pause)
		if err != nil {
			return err
		}
		c.pause(wait)
	}
}

// allows reports whether the deadline leaves enough time to wait.
func allows(ctx context.Context, wait time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return !ok || time.Until(deadline) >= wait
}

// putOff returns how long to wait for a CA that says "not now", and reports that in the CA's
// words; or an error if that is too long.
func (c *CA) putOff(ctx context.Context, says string, asked, pause time.Duration) (time.Duration, error) {
	wait, how := asked, "waiting "+store.Duration(asked).String()+" as it asks"
	if asked == 0 {
		wait, how = pause, "it names no time: trying again in "+store.Duration(pause).String()
	}
	switch {
	case allows(ctx, wait):
		c.options.Note(says + "; " + how)
		return wait, nil
	case asked == 0:
		return 0, failure.Later("run the same command again later", "%s", says)
	}
	return 0, tooLong(says, asked)
}

func tooLong(says string, asked time.Duration) error {
	return failure.Later("run the same command again then", "%s; it asks to wait %s, which is longer than the timeout allows", says, store.Duration(asked).String())
}

// limit is a CA that accepts no more of one kind of request for longer than orders wait.
// After several such answers in a row the other orders do not ask either; not after the
// first, which may concern one domain.
type limit struct {
	says  string
	asked time.Duration
	until time.Time
	times int
}

const limitBelieved = 8

func (c *CA) open(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.limits, what)
}

func (c *CA) close(what, says string, asked time.Duration) *limit {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &limit{says, asked, time.Now().Add(asked), 1}
	if old := c.limits[what]; old != nil {
		l.times += old.times
	}
	c.limits[what] = l
	return l
}

func (l *limit) err(ctx context.Context) error {
	if endsAtLimit(ctx) {
		return failure.Later("run the same command again later", "%w", &LimitError{l.says})
	}
	return tooLong(l.says, l.asked)
}

// LimitError means that a CA accepts no more orders for now.
type LimitError struct{ text string }

func (e *LimitError) Error() string { return e.text }

// shortPause is how long an order waits for the CA although a limit would end it: the CA may
// only mean that requests arrive too fast.
const shortPause = time.Minute

type limitKey struct{}

// EndAtLimit makes a limit of the CA (429) end a request with that context, as a *LimitError,
// instead of pausing it.
func EndAtLimit(ctx context.Context) context.Context { return context.WithValue(ctx, limitKey{}, true) }

func endsAtLimit(ctx context.Context) bool { return ctx.Value(limitKey{}) != nil }

func (c *CA) pause(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if until := time.Now().Add(d); until.After(c.resume) {
		c.resume = until
	}
}

// waitTurn waits as long as the CA asks all requests to wait.
func (c *CA) waitTurn(ctx context.Context, what string) error {
	for {
		c.mu.Lock()
		wait := time.Until(c.resume)
		l := c.limits[what]
		c.mu.Unlock()
		if l != nil && time.Now().Before(l.until) && (endsAtLimit(ctx) || l.times >= limitBelieved && !allows(ctx, time.Until(l.until))) {
			return l.err(ctx)
		}
		if wait <= 0 {
			return ctx.Err()
		}
		if err := Pause(ctx, wait); err != nil {
			return err
		}
	}
}

// Pause waits for d or the end of the context.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// ErrPending means that a poll has no final answer yet.
var ErrPending = errors.New("still pending")

// Poll asks until the answer is final: look returns ErrPending until then. The first pause is
// 100 ms, each later one half as long again up to 10 s, and never shorter than the CA's
// Retry-After. Poll retries after transient failures.
func (c *CA) Poll(ctx context.Context, what string, look func(context.Context) error) error {
	var p Pace
	for {
		ctx, x := withExchange(ctx, nil)
		err := c.do(ctx, what, look)
		last := x.answer()
		if !errors.Is(err, ErrPending) && !(err != nil && failure.KindOf(err) != failure.KindLater && transient(err, last.status)) {
			return err
		}
		if err := Pause(ctx, p.Next(last.wait)); err != nil {
			return err
		}
	}
}

// Pace is the sequence of pauses between looks at the CA. It starts with a short one.
type Pace struct{ last time.Duration }

const (
	firstPoll   = 100 * time.Millisecond
	longestPoll = 10 * time.Second
)

// Next returns the next pause, at least as long as the server asked for.
func (p *Pace) Next(atLeast time.Duration) time.Duration {
	if p.last == 0 {
		p.last = firstPoll
	} else {
		p.last = min(p.last*3/2, longestPoll)
	}
	return max(p.last, atLeast)
}
