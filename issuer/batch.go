package issuer

import (
	"context"
	"errors"
	"sync"
)

// accountError is a failure that all orders at a CA share: there is no account.
type accountError struct{ err error }

func (e *accountError) Error() string { return e.err.Error() }
func (e *accountError) Unwrap() error { return e.err }

// Batch obtains many certificates, at most jobs at a time, and tells done what
// came of each, one call at a time and in the order in which they end. It begins
// no new one after the context ended or an account could not be had; those are
// told as waiting.
func (i *Issuer) Batch(ctx context.Context, reqs []Request, jobs int, done func(n int, res *Result, err error)) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var workers sync.WaitGroup
	var telling sync.Mutex
	for range min(jobs, len(reqs)) {
		workers.Go(func() {
			for n := range next {
				res, err := i.obtainOne(ctx, cancel, reqs[n])
				telling.Lock()
				done(n, res, err)
				telling.Unlock()
			}
		})
	}
	for n := range reqs {
		next <- n
	}
	close(next)
	workers.Wait()
}

func (i *Issuer) obtainOne(ctx context.Context, cancel context.CancelCauseFunc, req Request) (*Result, error) {
	if ctx.Err() != nil {
		return nil, notBegun(ctx)
	}
	res, err := i.Obtain(ctx, req)
	var noAccount *accountError
	if errors.As(err, &noAccount) {
		cancel(err)
	}
	return res, err
}

// notBegun is what became of an order that was not even begun.
func notBegun(ctx context.Context) error {
	var noAccount *accountError
	if cause := context.Cause(ctx); errors.As(cause, &noAccount) {
		return cause
	}
	return later("run the same command again", "interrupted before it was ordered")
}
