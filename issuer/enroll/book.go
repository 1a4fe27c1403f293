package enroll

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"postseal/internal/failure"
	"postseal/issuer/store"
	"postseal/state"
)

// othersFile is the name of the file of Others; a domain has no underscore.
const othersFile = "_others"

// file is a Memory on disk. Each address is in one of its lists.
type file struct {
	Version   int                 `json:"version"`
	Domain    string              `json:"domain"`
	Accepted  Moment              `json:"accepted"`
	Addresses []string            `json:"addresses"`         // nothing else is remembered of them
	Waiting   map[Moment][]string `json:"waiting,omitempty"` // nothing but since when they are wanted
	Noted     []Entry             `json:"noted,omitempty"`
}

func dirOf(stateDir string) string { return filepath.Join(stateDir, "certs", store.EnrollDir) }

func pathOf(dir, domain string) string {
	if domain == Others {
		domain = othersFile
	}
	return filepath.Join(dir, domain+".json")
}

func (m Memory) file() file {
	f := file{Version: store.Version, Domain: m.Domain, Accepted: m.Accepted, Addresses: []string{}, Waiting: map[Moment][]string{}}
	for _, e := range m.Entries {
		switch {
		case e.Gone != 0 || e.Left != 0 || len(e.Tries) > 0:
			f.Noted = append(f.Noted, e)
		case e.Wanted != 0:
			f.Waiting[e.Wanted] = append(f.Waiting[e.Wanted], e.Address)
		default:
			f.Addresses = append(f.Addresses, e.Address)
		}
	}
	return f
}

func (f file) memory() Memory {
	entries := slices.Grow(f.Noted, len(f.Addresses))
	for _, addr := range f.Addresses {
		entries = append(entries, Entry{Address: addr})
	}
	for since, addrs := range f.Waiting {
		for _, addr := range addrs {
			entries = append(entries, Entry{Address: addr, Wanted: since})
		}
	}
	return Memory{f.Domain, f.Accepted, onceEach(entries)}
}

// onceEach sorts entries, and leaves the first of each address.
func onceEach(entries []Entry) []Entry {
	slices.SortStableFunc(entries, func(a, b Entry) int { return strings.Compare(a.Address, b.Address) })
	return slices.CompactFunc(entries, func(a, b Entry) bool { return a.Address == b.Address })
}

func readMemory(path string) (Memory, error) {
	f, err := store.Read(path, func(f *file) bool { return f.Version == store.Version && f.Addresses != nil })
	if err == nil && pathOf(filepath.Dir(path), f.Domain) != path {
		err = fmt.Errorf("%s: it is of %q", path, f.Domain)
	}
	if err != nil && (state.Newer(err) != nil || errors.As(err, new(*fs.PathError))) {
		return Memory{}, store.Error(path, err)
	}
	if err != nil {
		return Memory{}, failure.Config("restore it from a backup; or move it away, and who has left already is forgotten and renewed again", "%w", err)
	}
	return f.memory(), nil
}

// Book is what is remembered of all tables, those among them that there were once.
type Book struct {
	dir      string
	memories map[string]Memory // by domain
	errs     map[string]error
}

// Open reads what is remembered in a state directory. A file that is damaged, or that a
// newer postseal wrote, is told by Memory.
func Open(stateDir string) (*Book, error) {
	b := &Book{dirOf(stateDir), map[string]Memory{}, map[string]error{}}
	names, err := store.Names(b.dir)
	if err != nil {
		return nil, store.Error(b.dir, err)
	}
	for _, name := range names {
		domain := name
		if name == othersFile {
			domain = Others
		}
		if m, err := readMemory(pathOf(b.dir, domain)); err != nil {
			b.errs[domain] = err
		} else {
			b.memories[domain] = m
		}
	}
	return b, nil
}

// Memory returns what is remembered for a table, given what its source says.
//
// The domain of an address decides which table it belongs to. A table that is new takes
// from that of Others what is of its domain: who is not in its source is gone. That of
// Others takes from a table that is gone only who is in its own source: nobody's
// certificate is revoked because a table was deleted.
func (b *Book) Memory(t Table, list Source) (Memory, error) {
	m := b.memories[t.Domain]
	m.Domain = t.Domain
	var taken []Entry
	for domain, other := range b.memories {
		if domain == t.Domain || t.Domain != Others && domain != Others {
			continue
		}
		for _, e := range other.Entries {
			if _, known := m.find(e.Address); !known && t.takes(domainOf(e.Address)) && (t.Domain != Others || list.has(e.Address)) {
				taken = append(taken, e)
				m.Accepted = cmp.Or(m.Accepted, other.Accepted)
			}
		}
	}
	if len(taken) == 0 {
		return m, b.errs[t.Domain]
	}
	m.Entries = onceEach(append(slices.Clip(m.Entries), taken...))
	return m, b.errs[t.Domain]
}

// has reports whether an address is in the source, by its key.
func (s Source) has(key string) bool {
	for _, addrs := range [][]string{s.Addresses, s.Excluded} {
		if _, ok := slices.BinarySearchFunc(addrs, key, func(addr, key string) int { return strings.Compare(state.Key(addr), key) }); ok {
			return true
		}
	}
	return false
}

// Save writes a memory so that it survives a power cut. Then it takes its addresses out of
// those of other tables: in between they are in both, and the next run does it again.
func (b *Book) Save(m Memory) error {
	if err := b.errs[m.Domain]; err != nil {
		return err
	}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return store.Error(b.dir, err)
	}
	if err := b.write(m); err != nil {
		return err
	}
	for domain, other := range b.memories {
		if domain == m.Domain || m.Domain != Others && domain != Others {
			continue
		}
		before := len(other.Entries)
		other.Entries = slices.DeleteFunc(slices.Clone(other.Entries), func(e Entry) bool {
			_, ok := m.find(e.Address)
			return ok
		})
		if len(other.Entries) == before {
			continue
		}
		if err := b.write(other); err != nil {
			return err
		}
	}
	return nil
}

func (b *Book) write(m Memory) error {
	path := pathOf(b.dir, m.Domain)
	if err := errors.Join(store.Write(path, m.file()), state.SyncDir(b.dir), state.SyncDir(filepath.Dir(b.dir))); err != nil {
		return store.Error(path, err)
	}
	b.memories[m.Domain] = m
	return nil
}

// Lock makes this process the only one that enrolls in a state directory until unlock. The
// error has the kind Later if another one does.
func Lock(stateDir string) (unlock func(), err error) {
	dir := dirOf(stateDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, store.Error(dir, err)
	}
	unlock, err = store.TryLock(filepath.Join(dir, ".lock"))
	if errors.Is(err, store.ErrLocked) {
		return nil, failure.Later("let it end", "another postseal enroll is at work")
	}
	if err != nil {
		return nil, store.Error(dir, err)
	}
	return unlock, nil
}

// Left returns why the addresses that have left are not to be renewed, by their state.Key. A
// certificate that also names others belongs to them, too: renewals leave it out only if all
// have left.
func (b *Book) Left() map[string]string {
	left := map[string]string{}
	for _, m := range b.Memories() {
		for _, e := range m.Entries {
			if e.Left != 0 {
				left[e.Address] = fmt.Sprintf("not in the source of [[enroll]] %q since %s", m.Domain, e.Gone)
			} else if m.Domain != Others {
				delete(left, e.Address) // a kill in Save left it in the file of the others, too
			}
		}
	}
	return left
}

// Memories returns all that could be read, that of Others first.
func (b *Book) Memories() []Memory {
	all := make([]Memory, 0, len(b.memories))
	for _, m := range b.memories {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Memory) int { return strings.Compare(a.Domain, b.Domain) })
	return all
}

// Err returns the errors of all that could not be read.
func (b *Book) Err() error {
	var all error
	for _, err := range b.errs {
		all = errors.Join(all, err)
	}
	return all
}
