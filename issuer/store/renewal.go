package store

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"postseal/issuer/cert"
	"postseal/state"
)

// RenewalFile is the file in certs/NAME that makes a certificate renewable.
const RenewalFile = "renewal.json"

// Renewal is renewal.json: the options of the order and the facts about the certificate, so
// that no other file is needed to decide whether it is due.
type Renewal struct {
	Version int `json:"version"`
	Settings
	Account     string    `json:"account"` // URL
	Issued      time.Time `json:"issued"`
	Serial      string    `json:"serial"`
	Fingerprint string    `json:"sha256"`
	NotBefore   time.Time `json:"not-before"`
	NotAfter    time.Time `json:"not-after"`
	CertID      string    `json:"cert-id,omitempty"`  // RFC 9773, Section 4.1
	Window      *Window   `json:"window,omitempty"`   // the CA's latest suggestion
	AskAfter    time.Time `json:"ask-after,omitzero"` // do not ask again before
	Revoked     time.Time `json:"revoked,omitzero"`
}

// Window is when the CA wants a certificate to be renewed (RFC 9773, Section 4.2), in its
// latest answer.
type Window struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	At    time.Time `json:"at"`                    // a random moment in it: ours
	Why   string    `json:"explanation,omitempty"` // a URL
}

// Same reports whether the CA's window is unchanged, so that the moment chosen before stays.
func (w *Window) Same(other *Window) bool {
	return w != nil && other != nil && w.Start.Equal(other.Start) && w.End.Equal(other.End)
}

// ReadRenewal reads the renewal.json of a directory in certs/.
func ReadRenewal(dir string) (*Renewal, error) {
	return Read(filepath.Join(dir, RenewalFile), func(r *Renewal) bool { return r.Version == Version && len(r.Emails) > 0 })
}

// InForce reports whether neither time nor a revocation has ended a certificate.
func (r *Renewal) InForce(now time.Time) bool { return r.Revoked.IsZero() && now.Before(r.NotAfter) }

// Due reports whether a certificate should be renewed, by what is on disk alone.
func (r *Renewal) Due(now time.Time) bool { return !now.Before(r.RenewAt()) }

// RenewAt returns when a certificate is due: at a moment in the CA's window, or at the start
// of the last third of its lifetime. It ignores a window that would let the certificate
// expire.
func (r *Renewal) RenewAt() time.Time {
	if r.Window == nil || !r.Window.At.Before(r.NotAfter) {
		return r.NotAfter.Add(-r.NotAfter.Sub(r.NotBefore) / 3)
	}
	return r.Window.At
}

// MaxAskAfter is the longest time between two requests for a CA's window.
const MaxAskAfter = 24 * time.Hour

// AskDue reports whether to ask the CA for the window: once its Retry-After has passed, from
// the first day on. An incident at the CA affects young certificates, too (RFC 9773, Section
// 4.3). If the stored moment lies beyond MaxAskAfter, a wrong clock wrote it.
func (r *Renewal) AskDue(now time.Time) bool {
	wait := r.AskAfter.Sub(now)
	return wait <= 0 || wait > MaxAskAfter
}

// LastYear is the last year that JSON can express in every time zone.
const LastYear = 9998

// Certificate is a directory in certs/.
type Certificate struct {
	Name string
	*Renewal
}

// Certificates reads certs/, in the order of the names, and calls damaged for those that it
// cannot read. An entry may be a symbolic link to a directory elsewhere. If a newer postseal
// wrote one, it returns the readable ones with the error.
func (d *Disk) Certificates(damaged func(name string, err error)) (all []Certificate, err error) {
	err = d.EachCertificate(damaged, func(c Certificate) { all = append(all, c) })
	slices.SortFunc(all, func(a, b Certificate) int { return strings.Compare(a.Name, b.Name) })
	return all, err
}

// EachCertificate is Certificates for callers that need only little of each: it calls f for
// one after the other, in any order.
func (d *Disk) EachCertificate(damaged func(name string, err error), f func(Certificate)) error {
	certs, err := os.Open(d.Path("certs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return Error(d.Path("certs"), err)
	}
	defer certs.Close()
	var newer error
	for {
		entries, err := certs.ReadDir(someNames)
		newer = cmp.Or(newer, d.eachOf(entries, damaged, f))
		if errors.Is(err, io.EOF) {
			return newer
		}
		if err != nil {
			return Error(d.Path("certs"), err)
		}
	}
}

// someNames is how many names of a directory are in memory at a time: there may be 100,000.
const someNames = 1000

func (d *Disk) eachOf(entries []fs.DirEntry, damaged func(name string, err error), f func(Certificate)) (newer error) {
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		return !e.IsDir() && e.Type() != fs.ModeSymlink || e.Name()[0] == '.'
	})
	renewals, errs := make([]*Renewal, len(entries)), make([]error, len(entries))
	parallel(len(entries), func(n int) { renewals[n], errs[n] = ReadRenewal(d.CertDir(entries[n].Name())) })
	for n, bad := range errs {
		name := entries[n].Name()
		if bad == nil {
			f(Certificate{name, renewals[n]})
			continue
		}
		switch _, gone := os.Stat(d.CertDir(name)); {
		case state.Newer(bad) != nil:
			newer = cmp.Or(newer, Error(d.Path("certs"), bad))
		case gone != nil:
			damaged(name, errors.New(d.CertDir(name)+" leads nowhere: is what it leads to mounted?"))
		case !errors.Is(bad, fs.ErrNotExist):
			damaged(name, bad)
		}
	}
	return newer
}

// parallel calls f for 0 to n-1 on all cores.
func parallel(n int, f func(int)) {
	var wg sync.WaitGroup
	workers := min(n, runtime.GOMAXPROCS(0))
	for w := range workers {
		wg.Go(func() {
			for k := w; k < n; k += workers {
				f(k)
			}
		})
	}
	wg.Wait()
}

// Rewrite changes renewal.json, unless somebody has replaced the certificate meanwhile. It
// fails with ErrLocked if another process works on its successor.
func (d *Disk) Rewrite(c Certificate) error {
	unlock, err := TryLock(d.lockPath(c.Emails[0], c.Kind))
	if err != nil {
		return err
	}
	defer unlock()
	now, err := ReadRenewal(d.CertDir(c.Name))
	if err != nil || now.Fingerprint != c.Fingerprint {
		return err
	}
	data, err := marshal(c.Renewal)
	if err != nil {
		return err
	}
	dir := d.CertDir(c.Name)
	if err := replaceFile(filepath.Join(dir, RenewalFile), data); err != nil || c.Revoked.IsZero() {
		return err
	}
	return state.SyncDir(dir) // otherwise a renewal would order what somebody revoked
}

// maxSets bounds how many certificates of a kind may share their first address.
const maxSets = 99

// PickName returns the NAME for a set of addresses and a kind: their present one, or else the
// first free one. The caller holds the lock of the first address and the kind.
//
// A comma precedes the kind. The name of an address ends with its domain, which has no comma,
// so no address and kind can collide.
func (d *Disk) PickName(emails []string, kind string) (string, error) {
	for n := 1; n <= maxSets; n++ {
		name := BaseName(emails[0])
		if n > 1 {
			name += fmt.Sprintf("-%d", n)
		}
		name += suffixOf(kind)
		known, err := d.ownerOf(name)
		if err != nil {
			return "", Error(name, err)
		}
		if known == nil || known.Kind == kind && cert.SameAddresses(known.Emails, emails) {
			return name, nil
		}
	}
	return "", fmt.Errorf("%d certificates begin with %s", maxSets, emails[0])
}

func suffixOf(kind string) string {
	if kind == "" {
		return ""
	}
	return "," + kind
}

// KindOf returns the kind in a NAME, "" for none.
func KindOf(name string) string {
	_, kind, _ := strings.Cut(name[strings.LastIndexByte(name, '@')+1:], ",")
	return kind
}

// AddressOf returns the address in a NAME whose files are unreadable, as far as the NAME has
// it.
func AddressOf(name string) string {
	addr := strings.TrimSuffix(name, suffixOf(KindOf(name)))
	if plain, err := url.PathUnescape(addr); err == nil {
		return plain
	}
	return addr
}

// ownerOf returns the settings of a NAME's owner: nil if the NAME is free, and settings that
// match nobody if the owner is unknown. The error means that only a newer postseal knows.
func (d *Disk) ownerOf(name string) (*Settings, error) {
	if Exists(d.CertDir(name)) {
		r, err := ReadRenewal(d.CertDir(name))
		if state.Newer(err) != nil {
			return nil, err
		}
		switch {
		case err == nil:
			return &r.Settings, nil
		case !d.isPrepared(name):
			return new(Settings), nil // leave it alone
		}
	}
	for _, dry := range []bool{false, true} {
		o, err := ReadOrder(d.OrderPath(name, dry))
		if state.Newer(err) != nil {
			return nil, err
		}
		if err == nil && o != nil {
			return &o.Settings, nil
		}
	}
	return nil, nil
}

// isPrepared reports whether certs/NAME is an empty directory: an admin's link or mount for a
// future certificate.
func (d *Disk) isPrepared(name string) bool {
	entries, err := os.ReadDir(d.CertDir(name))
	return err == nil && !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() != "lost+found" })
}
