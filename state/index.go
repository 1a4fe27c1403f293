package state

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// recheckEvery is how often an Index looks at the directory even if the kernel
// reported no change.
const recheckEvery = 5 * time.Second

// Index knows from memory whether anybody waits for a challenge, for a daemon
// that must not read files for ordinary mail.
//
// The kernel queues an event before the call that made a record returns, and Any
// empties that queue first. So a record that was written before Any is called is
// never missed, however little before.
type Index struct {
	dir *Dir

	mu      sync.Mutex
	changes *changes // nil where the kernel gives no events: then every call looks
	any     bool
	err     error
	checked time.Time
	now     func() time.Time
}

// NewIndex returns an index over d. It works, slower, where the kernel gives no
// events and while the directory is missing. Close ends it.
func NewIndex(d *Dir) *Index {
	return &Index{dir: d, now: time.Now}
}

// Any tells whether a record is in pending/. The error says why that cannot be
// known; the caller should then look at each message.
func (x *Index) Any() (bool, error) {
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
func (x *Index) Close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.changes.close()
	x.changes = nil
}

// anyPending looks for one record. Damaged and expired ones count: telling them
// apart would mean to read them all.
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

// CountPending returns how many records are in pending/.
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
