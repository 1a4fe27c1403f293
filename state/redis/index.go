package redis

import (
	"context"
	"sync/atomic"
	"time"

	"postseal/state"
)

// The lease is the agreement between Put and Index. An index says that nobody waits only if
// it asked less than a lease ago; Put does not return until a lease has passed since it wrote
// the first of the records that wait now. So when it returns, each index has asked since
// then, or no longer trusts what it knows.
const (
	lease    = time.Second
	askEvery = 300 * time.Millisecond
)

// index implements state.Index.
type index struct {
	store *Store
	seen  atomic.Pointer[view]
	end   context.CancelFunc
	ended chan struct{}
}

// view is Redis' answer.
type view struct {
	any   bool
	err   error
	asked time.Time // before the question was sent
}

// Index implements state.Store. It asks Redis three times a second, and at once when
// a record is written; ordinary mail asks nobody.
func (s *Store) Index() state.Index {
	ctx, cancel := context.WithCancel(context.Background())
	x := &index{store: s, end: cancel, ended: make(chan struct{})}
	x.ask(ctx)
	go x.run(ctx)
	return x
}

func (x *index) run(ctx context.Context) {
	defer close(x.ended)
	changes, stop := x.store.pendingEvents.subscribe("")
	defer stop()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-changes:
			if x.seen.Load().any {
				continue // one more changes nothing
			}
		}
		x.ask(ctx)
	}
}

// ask asks Redis. It ignores an answer that arrives after the lease.
func (x *index) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lease)
	defer cancel()
	v := view{asked: time.Now()}
	n, err := x.store.waiting(ctx, v.asked)
	v.any, v.err = n > 0 || err != nil, err
	x.seen.Store(&v)
}

// Any implements state.Index.
func (x *index) Any() (bool, error) {
	v := x.seen.Load()
	if v.any || v.err != nil {
		return true, v.err
	}
	return !v.fresh(time.Now()), nil
}

// fresh reports whether the lease holds. Both clocks have to agree: the monotonic one stops
// while a machine sleeps, and somebody may set the other.
func (v *view) fresh(now time.Time) bool {
	wall := now.Round(0).Sub(v.asked.Round(0))
	return now.Sub(v.asked) < lease && wall > -lease && wall < lease
}

// Close implements state.Index.
func (x *index) Close() {
	x.end()
	<-x.ended
}
