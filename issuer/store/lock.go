package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"postseal/internal/failure"
	"postseal/issuer/cert"
	"postseal/state"
)

// maxName bounds a NAME in bytes; a longer one becomes a digest. File systems stop at 255,
// and we add prefixes and suffixes.
const maxName = 200

// BaseName returns the NAME of a first address: the address itself, with %XX for
// characters that are invalid in a file name or would hide it.
func BaseName(addr string) string {
	var b strings.Builder
	for i, c := range []byte(state.Key(addr)) {
		if c <= ' ' || c == 0x7f || c == '/' || c == '%' || c == '\\' || c == '.' && i == 0 {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	if b.Len() > maxName {
		sum := sha256.Sum256([]byte(b.String()))
		return "sha256-" + hex.EncodeToString(sum[:])
	}
	return b.String()
}

// ErrLocked means that another process holds a lock.
var ErrLocked = errors.New("is locked")

// TryLock takes the lock at path without waiting. Unlocking removes the file: thousands of
// addresses must not leave thousands of files.
func TryLock(path string) (unlock func(), err error) { return lock(path, syscall.LOCK_NB) }

// Lock waits for the lock at path, however long that takes.
func Lock(path string) (unlock func(), err error) { return lock(path, 0) }

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
			continue // the file was removed, or a signal arrived
		}
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		if err != nil {
			return nil, err
		}
	}
}

// sameFile reports whether path still names f: the previous holder removes the file, and a
// lock on a removed file excludes nobody.
func sameFile(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Lstat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// LockWait takes the lock at path as soon as its holder releases it or dies: the kernel wakes
// us. It calls before once if it has to wait.
func LockWait(ctx context.Context, path string, before func()) (unlock func(), err error) {
	if unlock, err = TryLock(path); !errors.Is(err, ErrLocked) {
		return unlock, err
	}
	before()
	type result struct {
		unlock func()
		err    error
	}
	got := make(chan result, 1)
	go func() {
		unlock, err := Lock(path)
		got <- result{unlock, err}
	}()
	select {
	case r := <-got:
		return r.unlock, r.err
	case <-ctx.Done():
		go func() { // nobody can cancel a flock: release it when it arrives
			if r := <-got; r.err == nil {
				r.unlock()
			}
		}()
		return nil, ctx.Err()
	}
}

func (d *Disk) lockPath(addr, kind string) string {
	return d.Path("orders", ".lock-"+BaseName(addr)+suffixOf(kind))
}

// LockName makes this process the only one that works on certificates of a kind whose first
// address is addr, or fails with ErrLocked.
func (d *Disk) LockName(addr, kind string) (unlock func(), err error) {
	return TryLock(d.lockPath(addr, kind))
}

// LockOrder waits until no other order, of this process or another, is in the way. That is an
// order for certificates of the same kind with the same first address, since they share their
// names, or for one of its addresses at the same CA, since there is one record for an address
// and a CA, and nobody could tell whose mail arrived.
//
// It locks the name first and then the addresses in order, so that no two orders can wait for
// each other. It calls before once if it has to wait.
func (d *Disk) LockOrder(ctx context.Context, s *Settings, before func()) (unlock func(), err error) {
	var held []func()
	unlock = func() {
		for _, f := range slices.Backward(held) {
			f()
		}
	}
	before = sync.OnceFunc(before)
	paths := []string{d.lockPath(s.Emails[0], s.Kind)}
	for _, addr := range cert.AddressKeys(s.Emails) {
		sum := sha256.Sum256([]byte(addr + "\n" + s.Server))
		paths = append(paths, d.Path("orders", ".lock-"+hex.EncodeToString(sum[:])))
	}
	for _, path := range paths {
		f, err := LockWait(ctx, path, before)
		if err == nil {
			held = append(held, f)
			continue
		}
		unlock()
		if ctx.Err() != nil {
			return nil, failure.Later(failure.WaitOrSee, "another order for %s is still in flight", strings.Join(s.Emails, ", "))
		}
		return nil, Error(path, err)
	}
	return unlock, nil
}

// Running reports whether a process works on certificates of a kind whose first address is
// addr, without taking its lock.
func (d *Disk) Running(addr, kind string) bool {
	path := d.lockPath(addr, kind)
	if !Exists(path) {
		return false
	}
	unlock, err := TryLock(path)
	if err != nil {
		return errors.Is(err, ErrLocked)
	}
	unlock()
	return false
}
