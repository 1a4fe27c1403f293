package issuer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"slices"
	"sync"
	"syscall"

	"postseal/internal/failure"
	"postseal/issuer/cert"
)

// errLocked means that another process holds a lock.
var errLocked = errors.New("is locked")

// tryLock takes the lock at path without waiting. The file goes with the lock:
// thousands of addresses must not leave thousands of files.
//
// lockedfile of go-internal can only wait, and has no context.
func tryLock(path string) (unlock func(), err error) { return lock(path, syscall.LOCK_NB) }

func lock(path string, how int) (unlock func(), err error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, err
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|how)
		if err == nil && sameFile(f, path) {
			return func() { os.Remove(path); f.Close() }, nil
		}
		f.Close()
		if err == nil || errors.Is(err, syscall.EINTR) {
			continue // the file was removed, or a signal came
		}
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errLocked
		}
		if err != nil {
			return nil, err
		}
	}
}

// sameFile reports whether path still names f: whoever held the lock before removes
// the file, and a lock on a removed file excludes nobody.
func sameFile(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Lstat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// lockWait takes the lock at path as soon as whoever has it lets go or dies: the kernel
// wakes us. "before" is called once if that has to be waited for.
func lockWait(ctx context.Context, path string, before func()) (unlock func(), err error) {
	if unlock, err = tryLock(path); !errors.Is(err, errLocked) {
		return unlock, err
	}
	before()
	type result struct {
		unlock func()
		err    error
	}
	got := make(chan result, 1)
	go func() {
		unlock, err := lock(path, 0)
		got <- result{unlock, err}
	}()
	select {
	case r := <-got:
		return r.unlock, r.err
	case <-ctx.Done():
		go func() { // a flock cannot be called off: let go of it when it comes
			if r := <-got; r.err == nil {
				r.unlock()
			}
		}()
		return nil, ctx.Err()
	}
}

func (i *Issuer) lockPath(addr string) string { return i.Dir.Path("orders", ".lock-"+baseName(addr)) }

// tryLockName makes this process the only one that works on certificates whose
// first address is addr, or fails with errLocked.
func (i *Issuer) tryLockName(addr string) (unlock func(), err error) {
	return tryLock(i.lockPath(addr))
}

// lockOrder waits until no other order, of this process or another, stands in the way of
// one: none for certificates with the same first address, since those share their
// names, and none for one of its addresses at the same CA, since there is one record for
// an address and a CA, and whose mail came could not be told.
//
// The name comes first, then the addresses in their order, so that no two orders can wait
// for each other.
func (i *Issuer) lockOrder(ctx context.Context, emails []string, server string) (unlock func(), err error) {
	var held []func()
	unlock = func() {
		for _, f := range slices.Backward(held) {
			f()
		}
	}
	say := sync.OnceFunc(func() {
		i.step(StepNote, "", "", "waiting for another postseal that orders for "+list(emails))
	})
	paths := []string{i.lockPath(emails[0])}
	for _, addr := range cert.AddressKeys(emails) {
		sum := sha256.Sum256([]byte(addr + "\n" + server))
		paths = append(paths, i.Dir.Path("orders", ".lock-"+hex.EncodeToString(sum[:])))
	}
	for _, path := range paths {
		f, err := lockWait(ctx, path, say)
		if ctx.Err() != nil && f == nil {
			err = failure.Later(failure.WaitOrSee,
				"another postseal is still working on an order for %s", list(emails))
		}
		if err != nil {
			unlock()
			if failure.KindOf(err) != failure.KindLater {
				err = stateError(path, err)
			}
			return nil, err
		}
		held = append(held, f)
	}
	return unlock, nil
}
