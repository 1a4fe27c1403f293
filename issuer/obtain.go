package issuer

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
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

// Result is an issued certificate. The field names of its JSON are stable.
type Result struct {
	Name        string    `json:"name,omitempty"`
	Emails      []string  `json:"emails"`
	Kind        string    `json:"kind,omitempty"`
	Server      string    `json:"server,omitempty"`
	DryRun      bool      `json:"dry_run,omitempty"`
	Serial      string    `json:"serial,omitempty"`
	Fingerprint string    `json:"sha256,omitempty"`
	NotBefore   time.Time `json:"not_before,omitzero"`
	NotAfter    time.Time `json:"not_after,omitzero"`
	// Paths; "" after a dry run.
	Dir                         string `json:"dir,omitempty"`
	P12                         string `json:"p12,omitempty"`
	PassphraseFile              string `json:"passphrase_file,omitempty"` // "" unless it was generated
	Cert, Chain, Fullchain, Key string `json:"-"`
}

// Obtain obtains one certificate: it resumes the order on disk, or makes one. It follows the
// table in doc.go; the numbers behind the calls are its lines.
func (i *Issuer) Obtain(ctx context.Context, req Request) (*Result, error) {
	if err := req.check(); err != nil {
		return nil, err
	}
	if err := i.prepare(); err != nil {
		return nil, err
	}
	r := &run{i: i, req: req, main: ctx}
	ctx, cancel := context.WithTimeout(ctx, req.Timeout)
	defer cancel()
	unlock, err := r.lock(ctx) // 1
	if err != nil {
		return nil, err
	}
	defer unlock()
	res, err := r.obtain(ctx)
	err = r.patience(r.lastWords(ctx, err))
	r.tellFailure(res, err)
	r.failed(res, err)
	return res, err
}

func (r *run) obtain(ctx context.Context) (*Result, error) {
	if err := r.takeUp(); err != nil {
		return nil, err
	}
	if r.order != nil && r.order.Stored {
		return r.finish() // 14 and 15
	}
	if err := r.askPassphrase(); err != nil {
		return nil, err
	}
	r.begun = true
	if err := r.req.queue.ready(ctx, r.i, r.ca); err != nil { // 2
		return nil, err
	}
	if err := r.replaces(ctx); err != nil {
		return nil, err
	}
	r.prepareKey()
	chain, err := r.certificate(ctx) // 3 to 11
	if err != nil {
		return nil, err
	}
	return r.keep(ctx, chain) // 12 to 15
}

// maxOrders bounds how many orders one command makes.
const maxOrders = 3

// certificate completes an order. It replaces an order that failed through no fault of the
// challenge by another. An order at a CA that breaks the rules is dead, too: the next run
// would meet the same answer.
func (r *run) certificate(ctx context.Context) ([]*x509.Certificate, error) {
	for n := 1; ; n++ {
		chain, err := r.seeThrough(ctx)
		dead := &deadOrder{err, false}
		if !errors.As(err, &dead) && ca.FaultOf(err) == nil {
			return chain, err
		}
		r.forget()
		if !dead.again || n == maxOrders {
			return nil, dead.err
		}
		r.tell(store.EventFailed, "", dead.err.Error())
		r.note("", "ordering anew: "+dead.err.Error())
	}
}

func (r *run) seeThrough(ctx context.Context) ([]*x509.Certificate, error) {
	order, err := r.place(ctx) // 3 to 5
	if err != nil {
		return nil, err
	}
	if order.Status == acme.StatusPending || order.Status == "" {
		if order, err = r.authorize(ctx, order); err != nil { // 6 to 9
			return nil, err
		}
	}
	if order, err = r.finalize(ctx, order); err != nil { // 10
		return nil, err
	}
	return r.download(ctx, order) // 11
}

// takeUp finds out what exists: the name, the former certificate and an order that an earlier
// run left.
func (r *run) takeUp() (err error) {
	if r.name, err = r.i.disk.PickName(r.req.Emails, r.req.Kind); err != nil {
		return err
	}
	r.path = r.i.disk.OrderPath(r.name, r.req.DryRun)
	if r.ca, err = r.i.ca(r.req.Server, r.req.CABundle); err != nil {
		return err
	}
	if r.i.disk.Banned(r.req.key) {
		return failure.In("key-path", store.ErrBanned(fmt.Sprintf("the key in %q", r.req.KeyPath)))
	}
	if err := r.ownKey(); err != nil {
		return err
	}
	if err := r.loadOrder(); err != nil {
		return err
	}
	if r.order == nil && r.req.resume {
		return failure.NotDue("", errors.New("the order has ended"))
	}
	r.former, err = store.ReadRenewal(r.dir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.note("", err.Error())
	}
	if err := r.fits(); err != nil {
		return err
	}
	if r.order != nil && (!r.order.Stored || !r.overtaken() && r.resumesHook()) {
		return nil
	}
	if err := r.nothingDue(); err != nil {
		return err
	}
	r.forget() // including the hook of a replaced certificate
	return nil
}

// ownKey refuses the key of a kind for the certificates of two owners.
func (r *run) ownKey() error {
	if r.req.Kind == "" || r.req.KeyPath == "" {
		return nil
	}
	certs, err := r.i.certificates(nil, []string{r.req.Kind})
	for _, c := range certs {
		if c.Name != r.name && c.InForce(r.i.Now()) {
			return failure.Config("leave it out there", "key-path of the kind %s is for one certificate, and %s has it", r.req.Kind, list(c.Emails))
		}
	}
	return err
}

// loadOrder takes up an earlier run's order if it is for the same thing. It gives up one at
// another CA.
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
	if o.Server != r.req.Server || o.Kind != r.req.Kind || !cert.SameAddresses(o.Emails, r.req.Emails) {
		r.note("", "giving up an unfinished order at "+o.Server)
		r.order = o
		r.giveUp("another order took its place")
		return nil
	}
	r.order, r.since = o, o.Since
	if o.Stored {
		return nil
	}
	if key, err := cert.ParseKey([]byte(o.Key)); err == nil && r.i.disk.Banned(key) {
		r.note("", "giving up an unfinished order: its key was revoked for keycompromise")
		r.giveUp("its key was revoked for keycompromise")
		return nil
	}
	r.adopt()
	return nil
}

// adopt lets the present options override those of the order's first run, as far as the CA
// has not seen them yet.
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

// overtaken reports whether a renewal overrules a failed hook: that must not keep a
// certificate from being renewed.
func (r *run) overtaken() bool {
	return r.order.HookError != "" && r.former != nil && (r.req.Force || r.former.Due(r.i.Now()))
}

// resumesHook reports whether this run repeats a failed hook: any run that names one does, as
// renew does.
func (r *run) resumesHook() bool { return r.order.HookError == "" || r.req.DeployHook != "" }

// NotDueError means that a certificate exists and need not be renewed.
type NotDueError struct {
	Name     string
	Emails   []string
	NotAfter time.Time
	Days     int // until it expires
	Dir      string
}

func (e *NotDueError) Error() string {
	return fmt.Sprintf("nothing is due: %s is valid until %s (%s), in %s",
		list(e.Emails), dayOf(e.NotAfter), count(e.Days, "day", "days"), e.Dir)
}

// nothingDue returns an error with exit status 2 if the former certificate is good, from this
// CA, and not due.
func (r *run) nothingDue() error {
	f := r.former
	if f == nil || !f.Revoked.IsZero() || r.req.Force || r.req.DryRun || f.Server != r.req.Server || f.Due(r.i.Now()) {
		return nil
	}
	days := daysLeft(f.NotAfter, r.i.Now())
	return failure.NotDue(failure.Force, &NotDueError{r.name, f.Emails, f.NotAfter, days, r.dir()})
}

// fits refuses an order that would replace a certificate in use by a different one.
func (r *run) fits() error {
	if r.former == nil || !r.former.Revoked.IsZero() || r.req.Force || r.req.DryRun {
		return nil
	}
	var differ []string
	for _, s := range []struct{ setting, word, is, wanted string }{
		{"server", "CA", r.former.Server, r.req.Server},
		{"profile", "profile", r.former.Profile, r.req.Profile},
		{store.SettingKeyType, "key type", r.former.KeyType, r.req.KeyType},
		{"usage", "usage", usageWords(r.former.Usages), usageWords(r.req.Usages)},
	} {
		if slices.Contains(r.req.Asked, s.setting) && s.is != s.wanted {
			differ = append(differ, fmt.Sprintf("%s is %s, not %s", s.word, cmp.Or(s.is, "the CA's default"), cmp.Or(s.wanted, "the CA's default")))
		}
	}
	if differ == nil {
		return nil
	}
	return failure.Failed(failure.ReplaceOrKeep, "there is another certificate for %s, in %s: its %s",
		list(r.req.Emails), r.dir(), strings.Join(differ, ", its "))
}

func usageWords(usages []string) string {
	sorted := slices.Sorted(slices.Values(usages))
	return strings.Join(slices.Compact(sorted), " and ")
}

func daysLeft(end, now time.Time) int { return max(0, int(end.Sub(now)/(24*time.Hour))) }

// askPassphrase asks before the wait starts, so that the user need not stay.
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

// replaces prepares an order that replaces a certificate: its key, if that is reused, and its
// name at the CA (RFC 9773, Section 5).
func (r *run) replaces(ctx context.Context) error {
	if (r.req.ReuseKey || r.req.KeepKey) && r.former != nil {
		if err := r.reuseKey(); err != nil {
			return err
		}
	}
	if r.former == nil || !r.former.Revoked.IsZero() || r.former.Server != r.req.Server || r.req.DryRun {
		return nil
	}
	d, err := r.ca.Directory(ctx)
	if err == nil && d.RenewalInfo != "" {
		r.req.replaces = r.former.CertID
	}
	return err
}

func (r *run) reuseKey() error {
	key, err := store.ReadKey(r.dir())
	if err != nil {
		return failure.In("reuse-key", failure.Failed("leave it out", "%w", err))
	}
	r.req.key = key
	if r.i.disk.Banned(r.req.key) {
		r.req.key = nil
		r.note("", "the key of "+list(r.req.Emails)+" was revoked for keycompromise: making a new one")
	} else if kind, err := cert.KeyTypeOf(r.req.key); err == nil {
		r.req.KeyType = kind
	}
	return nil
}

// prepareKey takes the given or kept key, or starts to generate one: an RSA key takes as long
// as the mail.
func (r *run) prepareKey() {
	switch {
	case r.order != nil && r.order.Key != "":
		key, err := cert.ParseKey([]byte(r.order.Key))
		r.newKey = func() (crypto.Signer, error) { return key, err }
	case r.req.key != nil:
		r.newKey = func() (crypto.Signer, error) { return r.req.key, nil }
	default:
		r.newKey = sync.OnceValues(func() (crypto.Signer, error) { return cert.NewKey(r.req.KeyType) })
		go r.newKey()
	}
}

// lastWords turns a timeout or an interrupt into one line that says what is left on disk.
func (r *run) lastWords(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return r.unlessResumable(err)
	}
	if errors.As(err, new(*failure.Error)) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
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

// unlessResumable makes network trouble temporary once the CA has our order.
func (r *run) unlessResumable(err error) error {
	if err == nil || r.order == nil || r.order.URL == "" || ca.Untrusted(err) || !ca.Network(err) {
		return err
	}
	return failure.Later("run the same command again to resume it", "%w; the order stays in %s", err, r.path)
}

// enough is how long a timer's order may wait. A timer may resume an order for ever, but
// nobody reads that it still waits, whereas monitoring sees a failure. Later runs continue
// the order all the same.
const enough = 24 * time.Hour

// patience turns an order that has waited long enough into a failure. Orders that expired and
// were replaced count as one wait.
func (r *run) patience(err error) error {
	if failure.KindOf(err) != failure.KindLater || !r.req.Unattended || r.since.IsZero() || r.i.Now().Sub(r.since) < enough {
		return err
	}
	return failure.Failed(failure.CheckReason,
		"%s has been waiting since %s: %w", list(r.req.Emails), momentOf(r.since), err)
}
