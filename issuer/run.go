package issuer

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"postseal/internal/failure"
	"postseal/issuer/ca"
	"postseal/issuer/cert"
	"postseal/issuer/store"
	"postseal/state"
)

// Result is a certificate that was issued.
type Result struct {
	Name        string
	Emails      []string
	Server      string
	DryRun      bool
	Serial      string
	Fingerprint string // SHA-256
	NotBefore   time.Time
	NotAfter    time.Time
	// Paths; "" after a dry run.
	Dir, Cert, Chain, Fullchain, Key, P12 string
	PassphraseFile                        string // "" unless it was generated
}

// run is one order on its way to a certificate.
type run struct {
	i    *Issuer
	ca   *ca.CA
	req  Request
	name string
	path string          // of the order file
	main context.Context // without the order's timeout, for the hook

	mu      sync.Mutex // guards order and its file
	order   *store.Order
	since   time.Time                             // when the wait for a certificate began, whatever became of orders
	waiting string                                // for what, in words
	newKey  func() (key crypto.Signer, err error) // the key, generated meanwhile
	key     crypto.Signer
}

// Obtain gets one certificate: it resumes the order that is on disk, or orders.
func (i *Issuer) Obtain(ctx context.Context, req Request) (*Result, error) {
	if err := req.check(); err != nil {
		return nil, err
	}
	if err := req.Absolute(); err != nil {
		return nil, err
	}
	if err := i.prepare(); err != nil {
		return nil, err
	}
	r := &run{i: i, req: req, main: ctx}
	ctx, cancel := ctxWithTimeout(ctx, req.Timeout)
	defer cancel()
	unlock, err := i.disk.LockOrder(ctx, req.Emails, req.Server, func() {
		i.step(StepNote, "", "", "waiting for another postseal that orders for "+list(req.Emails))
	})
	if err != nil {
		return nil, err
	}
	defer unlock()
	res, err := r.obtain(ctx)
	err = r.patience(r.lastWords(ctx, err))
	r.failed(res, err)
	return res, err
}

func (r *run) obtain(ctx context.Context) (res *Result, err error) {
	if r.name, err = r.i.disk.PickName(r.req.Emails); err != nil {
		return nil, err
	}
	r.path = r.i.disk.OrderPath(r.name, r.req.DryRun)
	if r.ca, err = r.i.ca(r.req.Server, r.req.CABundle); err != nil {
		return nil, err
	}
	if r.i.disk.Banned(r.req.key) {
		return nil, failure.In("key-path", store.ErrBanned(fmt.Sprintf("the key in %q", r.req.KeyPath)))
	}
	if err := r.loadOrder(); err != nil {
		return nil, err
	}
	if err := r.i.fits(r.name, &r.req); err != nil {
		return nil, err
	}
	if r.order != nil && r.order.Stored && !r.overtaken() && !r.leavesHook() {
		return r.finish()
	}
	if (r.order == nil || r.order.Stored) && !r.req.Force && !r.req.DryRun {
		if err := r.i.nothingDue(r.name, r.req.Server); err != nil {
			return nil, err
		}
	}
	if r.order != nil && r.order.Stored {
		r.forget() // with the hook of a certificate that is replaced
	}
	if err := r.askPassphrase(); err != nil {
		return nil, err
	}
	if err := r.req.queue.ready(ctx, r.i, r.ca); err != nil {
		return nil, err
	}
	if err := r.formerly(ctx); err != nil {
		return nil, err
	}
	r.prepareKey()
	chain, err := r.certificate(ctx)
	if err != nil {
		return nil, err
	}
	return r.keep(ctx, chain)
}

// overtaken gives up the hook of a certificate that is to be replaced: a hook that fails
// must not keep a certificate from being renewed.
func (r *run) overtaken() bool {
	if r.order.HookError == "" {
		return false
	}
	old, err := store.ReadRenewal(r.i.disk.CertDir(r.name))
	if err != nil || !r.req.Force && !old.Due(r.i.now()) {
		return false
	}
	r.forget()
	return true
}

// leavesHook: a hook that failed is run again by whoever names one, as renew does.
func (r *run) leavesHook() bool { return r.order.HookError != "" && r.req.DeployHook == "" }

// askPassphrase asks before the wait begins, so that nobody has to stay for it.
func (r *run) askPassphrase() error {
	if r.req.Passphrase.Kind != "" || r.req.AskPassphrase == nil || r.req.DryRun {
		return nil
	}
	word, err := r.req.AskPassphrase()
	if err != nil {
		return err
	}
	r.req.Passphrase = cert.Passphrase{Kind: cert.PassGiven, Value: word}
	if r.order != nil {
		r.order.Settings = r.req.Settings
	}
	return cert.CheckPassphrase(word)
}

// loadOrder takes up the order of an earlier run, if it is one for the same
// thing. One at another CA is given up.
func (r *run) loadOrder() error {
	o, err := store.ReadOrder(r.path)
	if state.Newer(err) != nil {
		return store.Error(r.path, err)
	}
	if err != nil {
		r.note("", "an order file was damaged and is left out: "+err.Error())
		return nil
	}
	if o == nil {
		return nil
	}
	if o.Server != r.req.Server || !cert.SameAddresses(o.Emails, r.req.Emails) {
		r.note("", "giving up an unfinished order at "+o.Server)
		r.order = o
		r.forget()
		return nil
	}
	r.order, r.since = o, o.Since
	if o.Stored {
		return nil
	}
	if key, err := cert.ParseKey([]byte(o.Key)); err == nil && r.i.disk.Banned(key) {
		r.note("", "giving up an unfinished order: its key was revoked for keycompromise")
		r.forget()
		return nil
	}
	r.adopt()
	return nil
}

// adopt lets the present options win over those of the order's first run, as far
// as the CA has not seen them yet.
func (r *run) adopt() {
	o := r.order
	if r.req.Passphrase.Kind == "" {
		r.req.Passphrase = o.Passphrase // as typed the first time
	}
	if o.Key == "" {
		o.Settings = r.req.Settings
		return
	}
	key, err := cert.ParseKey([]byte(o.Key))
	fits := err == nil
	if fits && !o.Finalizing {
		kind, _ := cert.KeyTypeOf(key)
		fits = kind == r.req.KeyType && (r.req.key == nil || cert.SamePublicKey(r.req.key.Public(), key))
	}
	if o.Finalizing {
		r.req.KeyType, r.req.Usages = o.KeyType, o.Usages
	}
	o.Settings = r.req.Settings
	if !fits {
		o.Key = ""
	}
}

// prepareKey takes the key that was given or kept, or begins to generate one: an
// RSA key takes as long as the mail.
func (r *run) prepareKey() {
	switch {
	case r.order != nil && r.order.Key != "":
		key, err := cert.ParseKey([]byte(r.order.Key))
		r.newKey = func() (crypto.Signer, error) { return key, err }
	case r.req.key != nil:
		r.newKey = func() (crypto.Signer, error) { return r.req.key, nil }
	default:
		type result struct {
			key crypto.Signer
			err error
		}
		done := make(chan result, 1)
		go func() {
			key, err := cert.NewKey(r.req.KeyType)
			done <- result{key, err}
		}()
		r.newKey = sync.OnceValues(func() (crypto.Signer, error) { res := <-done; return res.key, res.err })
	}
}

// deadOrder is an order that will never give a certificate.
type deadOrder struct {
	err   error
	again bool // another order may
}

func (e *deadOrder) Error() string { return e.err.Error() }
func (e *deadOrder) Unwrap() error { return e.err }

// maxOrders bounds how often one command orders anew.
const maxOrders = 3

// certificate brings an order to its end. One that died through no fault of the
// challenge is replaced by another.
func (r *run) certificate(ctx context.Context) (chain []*x509.Certificate, err error) {
	for n := 1; ; n++ {
		chain, err = r.attempt(ctx)
		var dead *deadOrder
		if !errors.As(err, &dead) {
			return chain, err
		}
		r.forget()
		if !dead.again || n == maxOrders {
			return nil, dead.err
		}
		r.note("", "ordering anew: "+dead.err.Error())
	}
}

// attempt sees one order through. An order at a CA that breaks the rules is dead: going
// on with it in the next run would meet the same answer.
func (r *run) attempt(ctx context.Context) ([]*x509.Certificate, error) {
	chain, err := r.seeThrough(ctx)
	if ca.FaultOf(err) != nil && !errors.As(err, new(*deadOrder)) {
		err = &deadOrder{err, false}
	}
	return chain, err
}

func (r *run) seeThrough(ctx context.Context) ([]*x509.Certificate, error) {
	order, err := r.place(ctx)
	if err != nil {
		return nil, err
	}
	if order.Status == acme.StatusPending || order.Status == "" {
		if order, err = r.authorize(ctx, order); err != nil {
			return nil, err
		}
	}
	if order, err = r.finalize(ctx, order); err != nil {
		return nil, err
	}
	return r.download(ctx, order)
}

// save writes the order file. The caller holds mu or is alone.
func (r *run) save() error {
	if err := store.Write(r.path, r.order); err != nil {
		return store.Error(r.path, err)
	}
	return nil
}

// promise makes the order file, as it was last saved, survive a power cut.
func (r *run) promise() error {
	if err := state.SyncDir(filepath.Dir(r.path)); err != nil {
		return store.Error(r.path, err)
	}
	return nil
}

// update changes the order and writes it down.
func (r *run) update(change func(*store.Order)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r.order)
	return r.save()
}

// lastWords turns the end of the time or an interrupt into one line that says
// what is left on disk.
func (r *run) lastWords(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return r.unlessResumable(err)
	}
	var own *failure.Error
	if errors.As(err, &own) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	r.mu.Lock()
	waiting := r.waiting
	r.mu.Unlock()
	why := "interrupted"
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		why = "the time is up"
	}
	if waiting != "" {
		why += " while waiting for " + waiting
	}
	if r.order == nil || !store.Exists(r.path) {
		return failure.Later("run the same command again", "%s; nothing is left on disk", why)
	}
	return failure.Later("run the same command again to resume it", "%s; the order stays in %s", why, r.path)
}

// unlessResumable makes trouble with the network temporary once the CA has an
// order of ours.
func (r *run) unlessResumable(err error) error {
	if err == nil || r.order == nil || r.order.URL == "" || ca.Untrusted(err) || !ca.Network(err) {
		return err
	}
	return failure.Later("run the same command again to resume it", "%w; the order stays in %s", err, r.path)
}

func (r *run) waitFor(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = what
}

func (r *run) step(kind StepKind, email, format string, args ...any) {
	r.i.step(kind, r.name, email, fmt.Sprintf(format, args...))
}

func (r *run) note(email, text string) { r.i.step(StepNote, r.name, email, text) }

func (r *run) hint(email, text string) { r.i.step(StepHint, r.name, email, text) }

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

func list(items []string) string { return strings.Join(items, ", ") }
