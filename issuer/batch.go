package issuer

import (
	"context"
	"sync"

	"postseal/internal/failure"
	"postseal/issuer/ca"
)

// What ends one order ends no other, with one exception: without an account at a CA
// there are no orders at that CA. Every CA of a batch has workers of its own, so that
// one that is dead, silent, not trusted or rate-limited holds up nobody else's order,
// and no order waits with a context that another's end would cancel.

// Batch obtains many certificates, at most jobs at a time at each CA, and tells done
// what came of each, one call at a time and in the order in which they end. It begins
// no new one after the context ended, nor at a CA at which an account could not be
// had.
func (i *Issuer) Batch(ctx context.Context, reqs []Request, jobs int, done func(n int, res *Result, err error)) {
	var queues sync.WaitGroup
	var telling sync.Mutex
	for _, numbers := range byCA(len(reqs), func(n int) caKey { return caKey{reqs[n].Server, reqs[n].CABundle} }) {
		q := &queue{numbers: numbers}
		for range min(jobs, len(numbers)) {
			queues.Go(func() {
				for n := q.next(); n >= 0; n = q.next() {
					res, err := i.obtainOne(ctx, q, reqs[n])
					telling.Lock()
					done(n, res, err)
					telling.Unlock()
				}
			})
		}
	}
	queues.Wait()
}

func (i *Issuer) obtainOne(ctx context.Context, q *queue, req Request) (*Result, error) {
	if ctx.Err() != nil {
		return nil, failure.Later("run the same command again", "interrupted before it was ordered")
	}
	req.queue = q
	return i.Obtain(ctx, req)
}

// byCA splits the numbers from 0 to n-1 by their CA; each part keeps its order.
func byCA(n int, at func(n int) caKey) map[caKey][]int {
	parts := map[caKey][]int{}
	for k := range n {
		parts[at(k)] = append(parts[at(k)], k)
	}
	return parts
}

// queue is the part of a batch that goes to one CA.
type queue struct {
	mu      sync.Mutex
	numbers []int // of the requests that are left

	account sync.Mutex // held while one order makes sure of the account
	none    error      // why there is no account
}

// next returns the number of the next request, -1 after the last.
func (q *queue) next() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.numbers) == 0 {
		return -1
	}
	n := q.numbers[0]
	q.numbers = q.numbers[1:]
	return n
}

// ready makes sure of the account, for all orders of the queue at once: those that wait
// for the first one meanwhile, and those that come later, share its failure, unless it
// was that order's own time that was up. A nil queue is that of a single order.
func (q *queue) ready(ctx context.Context, i *Issuer, c *ca.CA) error {
	if q == nil {
		return i.ready(ctx, c)
	}
	q.account.Lock()
	defer q.account.Unlock()
	if q.none != nil {
		return q.none
	}
	err := i.ready(ctx, c)
	if err != nil && ctx.Err() == nil {
		q.none = err
	}
	return err
}
