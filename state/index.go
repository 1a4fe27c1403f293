package state

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// recheckEvery is how often the index reads the directory even if the kernel has reported no
// change.
const recheckEvery = 5 * time.Second

// dirIndex is the index of a directory.
//
// The kernel queues an event before the call that made a record returns, and Any empties that
// queue first. So Any never misses a record that was written before it was called, however
// little before.
type dirIndex struct {
	dir *Dir

	mu      sync.Mutex
	changes *changes // nil if the kernel gives no events: then every call looks
	any     bool
	err     error
	checked time.Time
	now     func() time.Time
}

// Index implements Store. It works, more slowly, even if the kernel gives no events or the
// directory is missing.
func (d *Dir) Index() Index { return newIndex(d) }

func newIndex(d *Dir) *dirIndex { return &dirIndex{dir: d, now: time.Now} }

// Any implements Index.
func (x *dirIndex) Any() (bool, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.changes == nil {
		// Before the look, so that nothing falls between the two.
		x.changes = watchChanges(x.dir.Path("pending"))
	} else if !x.changes.drain() && x.now().Sub(x.checked) < recheckEvery {
		return x.any, x.err
	}
	x.any, x.err = x.dir.anyPending()
	x.checked = x.now()
	if x.err != nil || x.changes.lost() {
		x.changes.close()
		x.changes = nil
	}
	return x.any, x.err
}

// Close releases the kernel's watch.
func (x *dirIndex) Close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.changes.close()
	x.changes = nil
}

// anyPending looks for one record. Damaged and expired ones count: telling them apart would
// mean reading them all.
func (d *Dir) anyPending() (bool, error) {
	f, err := os.Open(d.Path("pending"))
	if err != nil {
		return false, err
	}
	defer f.Close()
	for {
		names, err := f.Readdirnames(64)
		for _, name := range names {
			if isRecord(name) {
				return true, nil
			}
		}
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// CountPending implements Store: it counts files.
func (d *Dir) CountPending() (int, error) {
	names, err := listNames(d.Path("pending"), -1)
	n := 0
	for _, name := range names {
		if isRecord(name) {
			n++
		}
	}
	return n, err
}
