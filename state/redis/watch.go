package redis

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"postseal/state"
)

// pollEvery is the interval between looks beside what Redis publishes: a connection that
// breaks loses messages.
const pollEvery = time.Second

// events passes what Redis publishes in a channel on to everybody who waits. One subscription
// serves a whole process, and only while somebody waits.
type events struct {
	client  goredis.UniversalClient
	channel string

	mu      sync.Mutex
	sub     *goredis.PubSub
	waiters map[chan struct{}]string
}

// subscribe returns a channel that receives a value after each change of name (of anything,
// if it is empty), and whenever changes may have been missed; and the function that ends it.
func (e *events) subscribe(name string) (<-chan struct{}, func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sub == nil {
		e.waiters = map[chan struct{}]string{}
		e.sub = e.client.Subscribe(context.Background(), e.channel)
		go e.forward(e.sub.ChannelWithSubscriptions())
	}
	wake := make(chan struct{}, 1)
	e.waiters[wake] = name
	return wake, func() { e.unsubscribe(wake) }
}

func (e *events) unsubscribe(wake chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.waiters, wake)
	if len(e.waiters) == 0 && e.sub != nil {
		go e.sub.Close()
		e.sub = nil
	}
}

// forward runs until the subscription is closed. Each new connection starts with a notice of
// the subscription: changes may have been missed before it.
func (e *events) forward(messages <-chan any) {
	for m := range messages {
		if m, ok := m.(*goredis.Message); ok {
			e.wake(m.Payload)
			continue
		}
		e.wake("")
	}
}

// wake wakes those who wait for what: everybody, if it is empty.
func (e *events) wake(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for wake, wanted := range e.waiters {
		if what == "" || wanted == "" || wanted == what {
			select {
			case wake <- struct{}{}:
			default: // one value in the channel is enough
			}
		}
	}
}

// wait calls ready until it reports true, first at once and then after each change. It
// returns ready's error, or the context's. While Redis is away it goes on waiting.
func (s *Store) wait(ctx context.Context, e *events, name string, ready func() (done bool, err error)) error {
	try := func() (bool, error) {
		done, err := ready()
		if errors.As(err, new(*state.UnreachableError)) {
			return false, nil
		}
		return done, err
	}
	if done, err := try(); done || err != nil {
		return err
	}
	changes, stop := e.subscribe(name)
	defer stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if done, err := try(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changes:
		case <-tick.C:
		}
	}
}

// WaitAnswer implements state.Store.
func (s *Store) WaitAnswer(ctx context.Context, id string, seen *state.Answer) (a *state.Answer, err error) {
	err = s.wait(ctx, &s.answerEvents, id, func() (bool, error) {
		a, err = s.Answer(id)
		return err == nil && a.Over(seen), err
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// WaitToken implements state.Store.
func (s *Store) WaitToken(ctx context.Context, addrs []string, now func() time.Time) (found []*state.Pending, err error) {
	err = s.wait(ctx, &s.pendingEvents, "", func() (bool, error) {
		found, err = s.PendingAny(addrs, now())
		return !slices.ContainsFunc(found, (*state.Pending).Ordering), err
	})
	return found, err
}
