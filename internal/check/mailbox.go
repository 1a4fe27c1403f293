package check

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"postseal/state"
)

// lookEvery is how often a mailbox is looked at beside the kernel's events, which
// do not come over NFS.
const lookEvery = 250 * time.Millisecond

// mailbox is a Maildir or an mbox file in which a message is waited for. What is in
// it already is not looked at. It need not exist yet: the first message makes it.
type mailbox struct {
	path   string
	seen   map[string]bool // files of a Maildir
	size   int64           // of an mbox file
	events *fsnotify.Watcher
}

// openMailbox remembers what is there.
func openMailbox(path string) (*mailbox, error) {
	b := &mailbox{path: path, seen: map[string]bool{}}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		_, err = os.Stat(filepath.Dir(path))
	}
	if err != nil {
		return nil, err
	}
	if info != nil && !info.IsDir() {
		if _, err := readForeign(path, info.Size()); err != nil {
			return nil, err
		}
		b.size = info.Size()
	}
	if err := b.eachFile(func(path string) { b.seen[path] = true }); err != nil {
		return nil, err
	}
	b.watch()
	return b, nil
}

// watch asks for the kernel's events; without them there is still the looking.
func (b *mailbox) watch() {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return
	}
	b.events = w
	for _, dir := range []string{filepath.Dir(b.path), filepath.Join(b.path, "new")} {
		_ = w.Add(dir)
	}
}

func (b *mailbox) close() {
	if b.events != nil {
		b.events.Close()
	}
}

// eachFile goes over the files of a Maildir; anything else has none.
func (b *mailbox) eachFile(do func(path string)) error {
	for _, sub := range []string{"new", "cur"} {
		entries, err := os.ReadDir(filepath.Join(b.path, sub))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return err
		}
		for _, e := range entries {
			do(filepath.Join(b.path, sub, e.Name()))
		}
	}
	return nil
}

// wait returns the message with that Message-ID once it is there.
func (b *mailbox) wait(ctx context.Context, id string) ([]byte, error) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var events chan fsnotify.Event
	if b.events != nil {
		events = b.events.Events
	}
	for {
		if msg := b.look([]byte(id)); msg != nil {
			return msg, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-events:
		case <-tick.C:
		}
	}
}

// look returns the message, nil if it is not there. A Maildir's files are whole; in
// an mbox file the end of the block shows that the message is.
func (b *mailbox) look(id []byte) (found []byte) {
	if info, err := os.Stat(b.path); err != nil || !info.IsDir() {
		return b.lookMbox(id)
	}
	// A directory that cannot be read now has nothing new now.
	_ = b.eachFile(func(path string) {
		if found != nil || b.seen[path] {
			return
		}
		b.seen[path] = true
		if data, err := readForeign(path, 0); err == nil && bytes.Contains(data, id) {
			found = data
		}
	})
	return found
}

func (b *mailbox) lookMbox(id []byte) []byte {
	if info, err := os.Stat(b.path); err == nil && info.Size() < b.size {
		b.size = 0 // somebody emptied it
	}
	data, err := readForeign(b.path, b.size)
	if err != nil {
		return nil
	}
	for _, msg := range bytes.Split(append([]byte("\n\n"), data...), []byte("\n\nFrom ")) {
		if bytes.Contains(msg, id) && bytes.HasSuffix(data, []byte("\n\n")) {
			_, msg, _ = bytes.Cut(msg, []byte("\n"))
			return msg
		}
	}
	return nil
}

// readForeign reads a file of a mailbox, whose owner may put anything there, from a place
// on and of bounded size.
func readForeign(path string, from int64) ([]byte, error) {
	f, err := state.OpenForeign(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.NewSectionReader(f, from, maxMessage))
}
