package issuer

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"time"

	"postseal/internal/failure"
	"postseal/issuer/store"
	"postseal/state"
)

// Options hold for a whole run of a program.
type Options struct {
	Dir      *state.Dir                     // accounts, orders and certificates
	Store    state.Store                    // what is shared with the mail half; nil for Dir
	Version  string                         // of the program, for User-Agent
	CABundle string                         // roots for the servers of all CAs, beside the system's; "" for none
	CA       func(server string) CASettings // how to deal with a CA; may be nil
	OnStep   func(Step)                     // told what happens, from several goroutines; may be nil
	Defaults store.Defaults                 // of the configuration
	Account  AccountOptions                 // for a CA where there is no account yet
	Now      func() time.Time               // nil for the clock
	Timing   Timing                         // zero for the default
}

// Timing is how patient an order is. Tests are less so.
type Timing struct {
	Alone time.Duration // without a mail half ever seen: say so; default 10s
	Hint  time.Duration // without a mail: say so; default 1m
	Post  time.Duration // without a mail, at trigger auto: POST once; default 10m
	Doubt time.Duration // after a POST whose reply may never have left: order anew; default 1m, at most a third of the time left
	Stuck time.Duration // after the CA refused the CSR, though it shows the order as alive: give up; default 1m
	Slow  time.Duration // between looks at the CA while waiting for the mail; default 30s
}

func (t Timing) withDefaults() Timing {
	for _, d := range []struct {
		p   *time.Duration
		def time.Duration
	}{{&t.Alone, 10 * time.Second}, {&t.Hint, time.Minute}, {&t.Post, 10 * time.Minute}, {&t.Doubt, time.Minute}, {&t.Stuck, time.Minute}, {&t.Slow, 30 * time.Second}} {
		if *d.p == 0 {
			*d.p = d.def
		}
	}
	return t
}

// Issuer orders, renews and revokes certificates from one state directory.
type Issuer struct {
	Options

	disk     *store.Disk
	mu       sync.Mutex
	cas      map[caKey]*ca
	prepared bool
	asking   sync.Mutex // held while a person is asked
	alone    sync.Once  // it was said that no mail half was seen
}

// New returns an issuer. It touches neither disk nor network.
func New(o Options) *Issuer {
	o.Timing = o.Timing.withDefaults()
	if o.Store == nil {
		o.Store = o.Dir
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Issuer{Options: o, cas: map[caKey]*ca{}, disk: &store.Disk{Dir: o.Dir, Now: o.Now}}
}

func (i *Issuer) now() time.Time { return i.Now() }

// leftOut says of an order or a certificate that it cannot be read.
func (i *Issuer) leftOut(name string, err error) {
	i.step(StepNote, name, "", "left out: "+err.Error())
}

// answersKept is how long answers stay for "status".
const answersKept = 30 * 24 * time.Hour

// prepare makes the state directory and removes what has had its time, once.
func (i *Issuer) prepare() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.prepared {
		return nil
	}
	note, err := i.create()
	if err != nil {
		return store.Error(i.Dir.Path(), err)
	}
	if note != "" {
		i.step(StepHint, "", "", note)
	}
	if err := errors.Join(i.Store.Purge(i.now()), i.Store.Forget(answersKept, i.now())); err != nil {
		return i.storeError(err)
	}
	if err := i.disk.Sweep(); err != nil {
		return store.Error(i.Dir.Path(), err)
	}
	i.prepared = true
	return nil
}

// create makes what is missing of the state directory: all of it only if the mail
// half shares it.
func (i *Issuer) create() (note string, err error) {
	if i.Store == state.Store(i.Dir) {
		return i.Dir.Create()
	}
	return "", i.Dir.CreatePrivate()
}

// storeError tells of an error of what is shared with the mail half. A server that
// is away comes back; a directory that cannot be used does not become usable by itself.
func (i *Issuer) storeError(err error) error {
	var away *state.UnreachableError
	if errors.As(err, &away) {
		return failure.Later(failure.StartStore, "%v", away)
	}
	if i.Store == state.Store(i.Dir) || state.Newer(err) != nil {
		return store.Error(i.Dir.Path("pending"), err)
	}
	return failure.Config(failure.CheckStore, "%s: %v", i.Store, err)
}

// dayOf writes a time for people, in their own zone.
func dayOf(t time.Time) string { return t.Local().Format("2006-01-02") }

func hostOf(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// ctxWithTimeout bounds one order.
func ctxWithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		d = DefaultTimeout
	}
	return context.WithTimeout(ctx, d)
}
