package issuer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"postseal/internal/failure"
	"postseal/internal/printable"
	"postseal/issuer/ca"
	"postseal/issuer/store"
	"postseal/state"
)

// Options hold for a whole run of a program.
type Options struct {
	Dir      *state.Dir                      // accounts, orders and certificates; private if Store is another
	Store    state.Store                     // shared with the mail half; nil for Dir
	Version  string                          // of the program, for User-Agent
	CABundle string                          // roots for the servers of all CAs, beside the system's; "" for none
	CA       func(server string) ca.Settings // settings for one CA; may be nil
	OnStep   func(Step)                      // receives each step, from several goroutines; may be nil
	Defaults store.Defaults                  // of the configuration
	Kinds    map[string]*Kind                // of the configuration, by name
	Account  ca.AccountOptions               // for a CA without an account
	Now      func() time.Time                // nil for the clock
	Timing   Timing                          // zero for the default
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
	return Timing{
		Alone: cmp.Or(t.Alone, 10*time.Second), Hint: cmp.Or(t.Hint, time.Minute), Post: cmp.Or(t.Post, 10*time.Minute),
		Doubt: cmp.Or(t.Doubt, time.Minute), Stuck: cmp.Or(t.Stuck, time.Minute), Slow: cmp.Or(t.Slow, 30*time.Second),
	}
}

// Issuer orders, renews and revokes certificates from one state directory.
type Issuer struct {
	Options

	disk     *store.Disk
	mu       sync.Mutex
	cas      map[caKey]*ca.CA
	prepared bool
	alone    sync.Once // for the note that no mail half was seen
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
	if ask := o.Account.Ask; ask != nil { // one question at a time: the orders of a batch may use several CAs
		var asking sync.Mutex
		o.Account.Ask = func(terms string) (bool, error) {
			asking.Lock()
			defer asking.Unlock()
			return ask(terms)
		}
	}
	return &Issuer{Options: o, cas: map[caKey]*ca.CA{}, disk: &store.Disk{Dir: o.Dir, Now: o.Now}}
}

// leftOut reports that an order or a certificate is unreadable.
func (i *Issuer) leftOut(name string, err error) {
	i.step(StepNote, name, "", "left out: "+err.Error())
}

// answersKept is how long answers stay for "status".
const answersKept = 30 * 24 * time.Hour

// prepare makes the state directory and removes old files, once.
func (i *Issuer) prepare() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.prepared {
		return nil
	}
	note, err := i.Dir.Create()
	if err != nil {
		return store.Error(i.Dir.Path(), err)
	}
	if note != "" {
		i.step(StepHint, "", "", note)
	}
	if err := errors.Join(i.Store.Purge(i.Now()), i.Store.Forget(answersKept, i.Now())); err != nil {
		return i.storeError(err)
	}
	if err := i.disk.Sweep(); err != nil {
		return store.Error(i.Dir.Path(), err)
	}
	i.prepared = true
	return nil
}

// storeError returns the error of the store shared with the mail half. An unreachable server
// may return; an unusable directory does not become usable by itself.
func (i *Issuer) storeError(err error) error {
	if away, ok := errors.AsType[*state.UnreachableError](err); ok {
		return failure.Later(failure.StartStore, "%v", away)
	}
	if i.Store == state.Store(i.Dir) || state.Newer(err) != nil {
		return store.Error(i.Dir.Path("pending"), err)
	}
	return failure.Config(failure.CheckStore, "%s: %v", i.Store, err)
}

// caKey tells CAs apart. The roots count: one certificate's may be wrong, and another's
// right.
type caKey struct{ server, bundle string }

// ca returns the CA with that directory, the same for all orders of a run. It trusts the
// system's roots, the run's, and those in bundle, which a certificate remembers.
func (i *Issuer) ca(server, bundle string) (*ca.CA, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	key := caKey{server, bundle}
	if c, ok := i.cas[key]; ok {
		return c, nil
	}
	var settings ca.Settings
	if i.Options.CA != nil {
		settings = i.Options.CA(server)
	}
	c, err := ca.New(server, []string{bundle, i.CABundle}, settings, ca.Options{
		Disk: i.disk, Version: i.Version, Account: i.Account,
		Note:  func(text string) { i.step(StepNote, "", "", text) },
		Trace: func(text string) { i.step(StepHTTP, "", "", text) },
	})
	if err == nil {
		i.cas[key] = c
	}
	return c, err
}

// CA returns a CA, to show or change the account there.
func (i *Issuer) CA(server, bundle string) (*ca.CA, error) {
	if err := i.prepare(); err != nil {
		return nil, err
	}
	return i.ca(server, bundle)
}

// ready makes sure of an account at a CA.
func (i *Issuer) ready(ctx context.Context, c *ca.CA) error {
	made, err := c.Ready(ctx)
	if made {
		i.step(StepAccount, "", "", "made an account at "+c.Server)
	}
	return err
}

// dayOf and momentOf write times for people, in the local zone.
func dayOf(t time.Time) string { return t.Local().Format("2006-01-02") }

func momentOf(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

// StepKind is the kind of a Step.
type StepKind string

// The steps of an order in their usual sequence, and those that can occur at any time.
const (
	StepAccount   StepKind = "account"   // made or found
	StepOrder     StepKind = "order"     // ordered, or resumed
	StepChallenge StepKind = "challenge" // authorization read, pending record written
	StepWait      StepKind = "wait"      // for the challenge mail
	StepAnswer    StepKind = "answer"    // the mail half replied
	StepPost      StepKind = "post"      // POST {} to the challenge
	StepValid     StepKind = "valid"     // the CA saw the reply
	StepFinalize  StepKind = "finalize"  // CSR sent
	StepIssued    StepKind = "issued"    // certificate downloaded and checked
	StepStored    StepKind = "stored"    // files written
	StepHook      StepKind = "hook"      // deploy hook run
	StepNote      StepKind = "note"      // something the user should read
	StepHint      StepKind = "hint"      // something the user can do
	StepHTTP      StepKind = "http"      // one request; for -v
)

// Step is an event on the way to a certificate. It never holds a key, a token or a
// passphrase.
type Step struct {
	Kind  StepKind
	Time  time.Time
	Name  string // the certificate's NAME; "" if it concerns none
	Email string // the address; "" if it concerns all
	Text  string // one printable line for people, even if it quotes others
}

// maxStep bounds the text of a step, in bytes.
const maxStep = 2000

func (i *Issuer) step(kind StepKind, name, email, text string) {
	if i.OnStep != nil {
		i.OnStep(Step{Kind: kind, Time: i.Now(), Name: name, Email: email, Text: printable.Line(text, maxStep)})
	}
}

// explainWindow reports why the CA chose its window, if the CA gives a reason: a page for
// people (RFC 9773, Section 4.2).
func (i *Issuer) explainWindow(w *store.Window, name string, emails []string) {
	if w.Why != "" {
		i.step(StepNote, name, "", fmt.Sprintf("the CA wants %s renewed from %s on; it explains why at %s",
			list(emails), momentOf(w.Start), w.Why))
	}
}
