package state

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

// slots is how many CAs may wait for one address at the same time.
const slots = 9

// foreignNames bounds the size of a directory in which a look-up also reads files with names
// that are not ours, so that its cost does not grow with the number of records.
const foreignNames = 100

// maxName bounds a file name made from an address, in bytes; a longer one becomes a digest.
// File systems stop at 255, and a slot and a temporary suffix follow.
const maxName = 200

// fileName returns the name of the pending record for an address in a slot from 1.
func fileName(addr string, slot int) string {
	base := escape(Key(addr))
	if len(base) > maxName {
		sum := sha256.Sum256([]byte(base))
		base = "sha256-" + hex.EncodeToString(sum[:])
	}
	if slot > 1 {
		return fmt.Sprintf("%s.%d.json", base, slot)
	}
	return base + ".json"
}

// escape writes an address so that it is readable as a file name and cannot be a path:
// special bytes become %XX.
func escape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', strings.IndexByte("@_+=-", c) >= 0, c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// Put implements Store. A record of another CA takes the next free name.
func (d *Dir) Put(p *Pending) error {
	_, err := d.put(p, func(*Pending) bool { return true })
	return err
}

// Take implements Store.
func (d *Dir) Take(p *Pending) (other *Pending, err error) {
	return d.put(p, func(old *Pending) bool { return old.ID == p.ID })
}

// put writes p unless it would replace a record that replaces refuses; it returns that
// record.
func (d *Dir) put(p *Pending, replaces func(old *Pending) bool) (*Pending, error) {
	p.Version = Version
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return nil, err
	}
	data = append(data, '\n')
	for {
		slot, old, err := d.slot(p)
		if err != nil {
			return nil, err
		}
		write := CreateFile
		if old != nil {
			if !replaces(old) {
				return old, nil
			}
			write = WriteFile
		}
		err = write(d.pendingPath(p.Email, slot), data, 0o640)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil && p.Ordering() {
			err = SyncDir(d.Path("pending")) // before the order is sent
		}
		return nil, err
	}
}

func (d *Dir) pendingPath(addr string, slot int) string {
	return d.Path("pending", fileName(addr, slot))
}

// slot finds the slot that holds the record of p's address and CA (there), or a free one.
func (d *Dir) slot(p *Pending) (slot int, there *Pending, err error) {
	free := 0
	for slot := 1; slot <= slots; slot++ {
		old, err := d.readPending(d.pendingPath(p.Email, slot))
		switch {
		case err == nil && old.Server == p.Server && Key(old.Email) == Key(p.Email):
			return slot, old, nil
		case missing(err) && free == 0:
			free = slot
		case err != nil && !missing(err) && !isDamage(err):
			return 0, nil, err
		}
	}
	if free == 0 {
		return 0, nil, fmt.Errorf("%d CAs are already waited for at %s", slots, p.Email)
	}
	return free, nil, nil
}

// CreateFile writes a file under a name that must be free, whatever the umask.
func CreateFile(path string, data []byte, mode fs.FileMode) error {
	t, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(mode))
	if err != nil {
		return err
	}
	defer t.Cleanup()
	if _, err := t.Write(data); err != nil {
		return err
	}
	if err := t.Sync(); err != nil {
		return err
	}
	return os.Link(t.Name(), path)
}

// Remove implements Store.
func (d *Dir) Remove(addr, server, id string) error {
	for slot := 1; slot <= slots; slot++ {
		path := d.pendingPath(addr, slot)
		p, err := d.readPending(path)
		if err != nil || p.Server != server || Key(p.Email) != Key(addr) || id != "" && p.ID != id {
			continue
		}
		if err := os.Remove(path); err != nil && !missing(err) {
			return err
		}
		d.removeForeign(d.notePath(p.ID))
	}
	return nil
}

// Pending implements Store.
func (d *Dir) Pending(addr string, now time.Time) ([]*Pending, error) {
	var found []*Pending
	for slot := 1; slot <= slots; slot++ {
		p, err := d.readPending(d.pendingPath(addr, slot))
		switch {
		case err == nil && Key(p.Email) == Key(addr):
			found = append(found, p)
		case isDamage(err):
			d.damaged(d.pendingPath(addr, slot), err)
		case err != nil && !missing(err):
			return nil, err
		}
	}
	if large(d.Path("pending")) {
		return Current(found, now), nil
	}
	foreign, err := d.scan(foreignNames, func(name string) bool { return !ours(name) })
	if err != nil {
		return nil, err
	}
	for _, p := range foreign {
		if Key(p.Email) == Key(addr) {
			found = append(found, p)
		}
	}
	return Current(found, now), nil
}

// ours reports whether fileName makes this name: a look-up by address has then found its
// record already.
func ours(name string) bool {
	base := strings.TrimSuffix(name, ".json")
	if i := strings.LastIndexByte(base, '.'); i >= 0 && len(base) == i+2 && base[i+1] >= '2' && base[i+1] <= '9' {
		base = base[:i]
	}
	if strings.HasPrefix(base, "sha256-") {
		return true
	}
	at := strings.LastIndexByte(base, '@')
	return at > 0 && at < len(base)-1 && strings.IndexByte(base[at:], '%') < 0
}

// All implements Store.
func (d *Dir) All(now time.Time) ([]*Pending, error) {
	all, err := d.scan(-1, func(string) bool { return true })
	return Current(all, now), err
}

// Current drops the expired records, and all but one of those with the same id.
func Current(records []*Pending, now time.Time) []*Pending {
	seen := map[string]bool{}
	kept := records[:0]
	for _, p := range records {
		if !seen[p.ID] && (p.Expires.IsZero() || now.Before(p.Expires)) {
			kept = append(kept, p)
		}
		seen[p.ID] = true
	}
	return kept
}

// large reports, without reading it, whether a directory surely has more than foreignNames
// names: its size exceeds that of as many of the longest.
func large(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() > foreignNames*640
}

// scan reads the records whose file name want accepts, among at most limit names if limit is
// positive.
func (d *Dir) scan(limit int, want func(name string) bool) ([]*Pending, error) {
	names, err := listNames(d.Path("pending"), limit)
	if err != nil {
		return nil, err
	}
	var found []*Pending
	for _, name := range names {
		if !isRecord(name) || !want(name) {
			continue
		}
		p, err := d.readPending(d.Path("pending", name))
		switch {
		case err == nil:
			found = append(found, p)
		case !missing(err):
			d.damaged(d.Path("pending", name), err)
		}
	}
	return found, nil
}

// listNames returns the names in a directory, at most limit if it is positive.
func listNames(path string, limit int) ([]string, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(limit)
	if errors.Is(err, io.EOF) {
		err = nil // an empty directory, with a limit
	}
	return names, err
}

func isRecord(name string) bool {
	return name[0] != '.' && strings.HasSuffix(name, ".json")
}

func (d *Dir) readPending(path string) (*Pending, error) {
	data, err := readRecord(path)
	if err != nil {
		return nil, err
	}
	p, err := ParsePending(data)
	if err != nil {
		return nil, unreadable(path, err)
	}
	return p, nil
}

// Purge implements Store.
func (d *Dir) Purge(now time.Time) error {
	all, err := d.scan(-1, func(string) bool { return true })
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.Expires.IsZero() || now.Before(p.Expires) {
			continue
		}
		if err := d.Remove(p.Email, p.Server, p.ID); err != nil {
			d.damaged(d.pendingPath(p.Email, 1), cannotRemove(err))
		}
	}
	return nil
}
