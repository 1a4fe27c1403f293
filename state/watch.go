package state

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// pollEvery is the interval between looks at a directory, beside the kernel's events, which
// NFS does not deliver and which stop when the watches run out.
const pollEvery = 250 * time.Millisecond

// watcher passes the kernel's events for one directory on to everybody who waits in it. One
// serves a whole process: the kernel allows a user 128 instances.
type watcher struct {
	mu      sync.Mutex
	kernel  *fsnotify.Watcher // nil while nobody waits, or if the kernel gives none
	waiters map[chan struct{}]string
}

// subscribe returns a channel that receives a value after each change of a file whose name
// starts with prefix, and the function that ends it. If the kernel gives no events, the
// channel stays silent, and polling covers that.
func (w *watcher) subscribe(dir, prefix string) (<-chan struct{}, func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiters == nil {
		w.waiters = map[chan struct{}]string{}
	}
	if w.kernel == nil {
		w.start(dir)
	}
	wake := make(chan struct{}, 1)
	w.waiters[wake] = prefix
	return wake, func() { w.unsubscribe(wake) }
}

func (w *watcher) unsubscribe(wake chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.waiters, wake)
	if len(w.waiters) == 0 && w.kernel != nil {
		// The kernel takes 10 ms to end a watch; the caller need not wait for that.
		go w.kernel.Close()
		w.kernel = nil
	}
}

func (w *watcher) start(dir string) {
	kernel, err := fsnotify.NewWatcher()
	if err != nil {
		return
	}
	if err := kernel.Add(dir); err != nil {
		kernel.Close()
		return
	}
	w.kernel = kernel
	go w.forward(kernel)
}

// forward runs until kernel is closed. An error means that the kernel's queue overflowed:
// everybody has to look.
func (w *watcher) forward(kernel *fsnotify.Watcher) {
	for {
		select {
		case event, ok := <-kernel.Events:
			if !ok {
				return
			}
			w.wake(filepath.Base(event.Name))
		case _, ok := <-kernel.Errors:
			if !ok {
				return
			}
			w.wake("")
		}
	}
}

func (w *watcher) wake(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for wake, prefix := range w.waiters {
		if name == "" || strings.HasPrefix(name, prefix) {
			select {
			case wake <- struct{}{}:
			default: // one value in the channel is enough
			}
		}
	}
}

// wait calls ready until it reports true, first at once and then after each change of a file
// in dir whose name starts with prefix. It returns ready's error, or the context's.
func (d *Dir) wait(ctx context.Context, w *watcher, dir, prefix string, ready func() (done bool, err error)) error {
	if done, err := ready(); done || err != nil {
		return err // the usual case: a watch costs more than a look
	}
	events, stop := w.subscribe(d.Path(dir), prefix)
	defer stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if done, err := ready(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-events:
		case <-tick.C:
		}
	}
}

// WaitAnswer implements Store.
func (d *Dir) WaitAnswer(ctx context.Context, id string, seen *Answer) (a *Answer, err error) {
	err = d.wait(ctx, &d.answers, "answers", id, func() (bool, error) {
		a, err = d.Answer(id)
		return err == nil && a.Over(seen), err
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// WaitNote implements Store.
func (d *Dir) WaitNote(ctx context.Context, id string, seen *Note) (n *Note, err error) {
	err = d.wait(ctx, &d.answers, "answers", id, func() (bool, error) {
		n = d.note(id)
		return n.News(seen), nil
	})
	if err != nil {
		return nil, err
	}
	return n, nil
}

// WaitToken implements Store.
func (d *Dir) WaitToken(ctx context.Context, addrs []string, now func() time.Time) (found []*Pending, err error) {
	err = d.wait(ctx, &d.pending, "pending", "", func() (bool, error) {
		found, err = d.PendingAny(addrs, now())
		return !slices.ContainsFunc(found, (*Pending).Ordering), err
	})
	return found, err
}

// PendingAny implements Store.
func (d *Dir) PendingAny(addrs []string, now time.Time) ([]*Pending, error) {
	var found []*Pending
	for _, addr := range addrs {
		records, err := d.Pending(addr, now)
		if err != nil {
			return nil, err
		}
		found = append(found, records...)
	}
	return Current(found, now), nil
}
