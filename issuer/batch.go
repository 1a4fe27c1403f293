package issuer

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"postseal/internal/failure"
	"postseal/issuer/ca"
)

// The end of one order ends no other, with one exception: without an account, a CA gets no
// orders. Each CA in a batch has its own workers, so that a CA that is dead, silent,
// untrusted or rate-limited does not delay orders elsewhere, and no order waits with a
// context that another's end would cancel.

// Batch obtains many certificates, at most jobs at a time at each CA, and calls done with
// each outcome, one call at a time and in the order in which they end. It starts no new order
// after the context ends, nor at a CA without an account.
func (i *Issuer) Batch(ctx context.Context, reqs []Request, jobs int, done func(n int, res *Result, err error)) {
	var telling sync.Mutex
	at := func(n int) caKey { return caKey{reqs[n].Server, reqs[n].CABundle} }
	atEachCA(ctx, len(reqs), jobs, at, func(_ context.Context, q *queue, n int) {
		res, err := i.obtainOne(ctx, q, reqs[n])
		telling.Lock()
		defer telling.Unlock()
		done(n, res, err)
	})
}

func (i *Issuer) obtainOne(ctx context.Context, q *queue, req Request) (*Result, error) {
	if ctx.Err() != nil {
		return nil, failure.Later("run the same command again", "interrupted before it was ordered")
	}
	req.queue = q
	if err := q.limited(); req.Newcomer && err != nil {
		return nil, err
	}
	res, err := i.Obtain(ctx, req)
	q.note(err)
	return res, err
}

// queue is the part of a batch for one CA.
type queue struct {
	numbers []int  // of the requests
	stop    func() // it is useless to ask this CA again

	account sync.Mutex // held while one order makes sure of the account
	none    error      // why there is no account

	mu    sync.Mutex
	limit error // the CA accepts no more orders of newcomers
}

func (q *queue) limited() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.limit
}

// note keeps the error of an order if it concerns all newcomers at this CA.
func (q *queue) note(err error) {
	if errors.As(err, new(*ca.LimitError)) {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.limit = err
	}
}

// atEachCA splits the numbers from 0 to n-1 by their CA, and calls do for each, in order and
// at most jobs at a time at each CA. The context of a CA ends when its queue is stopped.
func atEachCA(ctx context.Context, n, jobs int, at func(n int) caKey, do func(ctx context.Context, q *queue, n int)) {
	queues := map[caKey]*queue{}
	for k := range n {
		q := queues[at(k)]
		if q == nil {
			q = new(queue)
			queues[at(k)] = q
		}
		q.numbers = append(q.numbers, k)
	}
	var workers sync.WaitGroup
	for _, q := range queues {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		q.stop = stop
		next := make(chan int, len(q.numbers))
		for _, k := range q.numbers {
			next <- k
		}
		close(next)
		for range min(jobs, len(q.numbers)) {
			workers.Go(func() {
				for k := range next {
					do(ctx, q, k)
				}
			})
		}
	}
	workers.Wait()
}

// ready makes sure of the account, for all orders of the queue at once: orders that wait for
// the first one meanwhile, and later ones, share its failure, unless that order's own time
// ran out. A nil queue is that of a single order.
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
		q.none = &unreadyError{err}
		return q.none
	}
	return err
}

// unreadyError means that there is no account at a CA.
type unreadyError struct{ error }

func (e *unreadyError) Unwrap() error { return e.error }

// FailedItself reports whether an order of a batch failed for a reason of its own: its CA was
// reachable and accepts other orders.
func FailedItself(err error) bool {
	p, told := ca.ProblemOf(err)
	return failure.KindOf(err) == failure.KindFailed && !errors.As(err, new(*unreadyError)) &&
		!ca.Network(err) && !ca.Untrusted(err) && !(told && p.Status >= http.StatusInternalServerError)
}
