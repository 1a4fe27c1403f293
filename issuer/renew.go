package issuer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"postseal/internal/failure"
	"postseal/issuer/cert"
	"postseal/state"
)

// Renewal says what to renew, and how other than the first time.
type Renewal struct {
	Emails     []string // certificates that name one of these; nil for all
	Server     string   // certificates of this CA; "" for all
	Force      bool     // though not due
	ReuseKey   bool
	Passphrase cert.Passphrase
	Timeout    time.Duration
	FailHook   string // for those that were not given their own
	// Pause is called once before a CA is asked for anything.
	Pause func(context.Context) error
}

// stored is a certificate in certs/.
type stored struct {
	name string
	*renewalFile
}

// DueRequests returns the requests for what is to be renewed: orders that an
// earlier run left unfinished, and certificates that are due.
func (i *Issuer) DueRequests(ctx context.Context, o Renewal) ([]Request, error) {
	if err := i.prepare(); err != nil {
		return nil, err
	}
	emails, err := cert.ParseAddresses(o.Emails)
	if err != nil {
		return nil, err
	}
	certs, err := i.stored(emails)
	if err != nil {
		return nil, err
	}
	requests, err := i.unfinished(emails)
	if err != nil {
		return nil, err
	}
	if o.Server != "" {
		certs = slices.DeleteFunc(certs, func(c stored) bool { return c.Server != o.Server })
		requests = slices.DeleteFunc(requests, func(r Request) bool { return r.Server != o.Server })
	}
	if len(emails) > 0 && len(certs)+len(requests) == 0 {
		if o.Server != "" {
			return nil, failure.In("server", failure.Failed("leave it out", "no certificate of %s names %s", o.Server, list(emails)))
		}
		return nil, failure.Failed(failure.OrderOne, "no certificate names %s", list(emails))
	}
	due, err := i.dueOf(ctx, certs, o, len(requests) > 0)
	if err != nil {
		return nil, err
	}
	for _, c := range due {
		known := func(r Request) bool { return cert.SameAddresses(r.Emails, c.Emails) }
		if !slices.ContainsFunc(requests, known) {
			requests = append(requests, Request{Settings: c.Settings})
		}
	}
	for n := range requests {
		i.Defaults.into(&requests[n].Settings)
		o.apply(&requests[n])
	}
	return requests, nil
}

// apply lets the options of this run win.
func (o *Renewal) apply(r *Request) {
	r.Force, r.ReuseKey, r.Timeout, r.renewal = o.Force, o.ReuseKey, o.Timeout, true
	if r.FailHook == "" {
		r.FailHook = o.FailHook
	}
	if o.Passphrase.Kind != "" {
		r.Passphrase = o.Passphrase
	}
}

// stored reads the certificates that name one of the addresses, or all. With an error
// that is a state.NewerError come those that can be read.
func (i *Issuer) stored(emails []string) ([]stored, error) {
	names, err := i.certNames()
	if err != nil {
		return nil, stateError(i.Dir.Path("certs"), err)
	}
	all := make([]stored, len(names))
	newer := make([]error, len(names))
	parallel(len(names), func(n int) {
		r, err := readRenewal(i.certDir(names[n]))
		if state.Newer(err) != nil {
			newer[n] = err
			return
		}
		if err != nil {
			switch _, gone := os.Stat(i.certDir(names[n])); {
			case gone != nil:
				i.step(StepNote, names[n], "", i.certDir(names[n])+" leads nowhere: is what it leads to mounted?")
			case !errors.Is(err, os.ErrNotExist):
				i.step(StepNote, names[n], "", err.Error())
			}
			return
		}
		all[n] = stored{names[n], r}
	})
	all = slices.DeleteFunc(all, func(c stored) bool { return c.renewalFile == nil || !namesOneOf(c.Emails, emails) })
	for _, err := range newer {
		if err != nil {
			return all, stateError(i.Dir.Path("certs"), err)
		}
	}
	return all, nil
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

func namesOneOf(emails, wanted []string) bool {
	return len(wanted) == 0 || slices.ContainsFunc(emails, func(e string) bool {
		return slices.ContainsFunc(wanted, func(w string) bool { return state.Key(w) == state.Key(e) })
	})
}

// unfinished returns the orders that an earlier run left.
func (i *Issuer) unfinished(emails []string) ([]Request, error) {
	names, err := i.orderNames()
	if err != nil {
		return nil, stateError(i.Dir.Path("orders"), err)
	}
	var requests []Request
	for _, name := range names {
		o, err := readOrder(i.Dir.Path("orders", name+".json"))
		if state.Newer(err) != nil {
			return nil, stateError(name, err)
		}
		if err != nil {
			i.step(StepNote, name, "", err.Error())
		}
		if o != nil && !o.DryRun && !strings.HasSuffix(name, drySuffix) && namesOneOf(o.Emails, emails) {
			requests = append(requests, Request{Settings: o.Settings})
		}
	}
	return requests, nil
}

// askersAtOnce is how many certificates' windows are asked for at a time at each CA.
const askersAtOnce = 8

// dueOf returns the certificates to renew, the longest overdue first.
func (i *Issuer) dueOf(ctx context.Context, certs []stored, o Renewal, pause bool) ([]stored, error) {
	certs = slices.DeleteFunc(certs, func(c stored) bool { return !c.Revoked.IsZero() && !o.Force })
	if o.Force {
		return certs, nil
	}
	asks := slices.DeleteFunc(slices.Clone(certs), func(c stored) bool { return !i.askDue(c.renewalFile) })
	pause = pause || len(asks) > 0 || slices.ContainsFunc(certs, func(c stored) bool { return i.due(c.renewalFile) })
	if pause && o.Pause != nil {
		if err := o.Pause(ctx); err != nil {
			return nil, failure.Later("run the same command again", "interrupted before anything was ordered")
		}
	}
	i.refreshWindows(ctx, asks)
	due := slices.DeleteFunc(certs, func(c stored) bool { return !i.due(c.renewalFile) })
	slices.SortStableFunc(due, func(a, b stored) int { return renewAt(a.renewalFile).Compare(renewAt(b.renewalFile)) })
	return due, nil
}

// refreshWindows asks for each certificate at its own CA. One CA that cannot be reached
// or trusted is not asked again in this run, and leaves the others alone.
func (i *Issuer) refreshWindows(ctx context.Context, certs []stored) {
	at := func(k int) caKey { return caKey{certs[k].Server, certs[k].CABundle} }
	var cas sync.WaitGroup
	for key, numbers := range byCA(len(certs), at) {
		cas.Go(func() {
			ctx, gone := context.WithCancel(ctx)
			defer gone()
			q := &queue{numbers: numbers}
			var askers sync.WaitGroup
			for range min(askersAtOnce, len(numbers)) {
				askers.Go(func() {
					for k := q.next(); k >= 0 && ctx.Err() == nil; k = q.next() {
						i.refreshWindow(ctx, gone, key, certs[k])
					}
				})
			}
			askers.Wait()
		})
	}
	cas.Wait()
}

// refreshWindow asks the CA and writes the answer down. A CA that does not answer
// leaves what was known before.
func (i *Issuer) refreshWindow(ctx context.Context, gone func(), key caKey, c stored) {
	w, again, err := i.askWindow(ctx, key, c.CertID)
	var refused refusedWindow
	switch {
	case err != nil && ctx.Err() != nil:
		return
	case err != nil:
		i.step(StepHTTP, c.name, "", "renewal window of "+c.name+": "+err.Error())
		if !errors.As(err, &refused) {
			gone()
			return
		}
	case w != nil && w.same(c.Window):
		w.At = c.Window.At
	case w != nil:
		w.explain(i, c.name, c.Emails)
	}
	c.AskAfter = again
	if w != nil {
		c.Window = w
	}
	if err := i.rewriteRenewal(c); err != nil {
		i.step(StepNote, c.name, "", "the renewal window could not be written down: "+err.Error())
	}
}

func (i *Issuer) askWindow(ctx context.Context, key caKey, certID string) (*window, time.Time, error) {
	ca, err := i.ca(key.server, key.bundle)
	if err != nil {
		return nil, time.Time{}, err
	}
	return ca.askWindow(ctx, certID)
}

// rewriteRenewal changes renewal.json, unless the certificate was replaced
// meanwhile.
func (i *Issuer) rewriteRenewal(c stored) error {
	unlock, err := i.tryLockName(c.Emails[0])
	if err != nil {
		return nil //nolint:nilerr // the other process knows better
	}
	defer unlock()
	now, err := readRenewal(i.certDir(c.name))
	if err != nil || now.Fingerprint != c.Fingerprint {
		return err
	}
	return c.write(i.certDir(c.name))
}

// enough is how long a renewal may wait. A timer resumes an order as often as it likes,
// but nobody reads that it still waits; that it has failed, monitoring sees. Later runs
// go on with the order all the same.
const enough = 24 * time.Hour

// patience makes a failure of a renewal that has waited long enough. Orders that
// expired meanwhile and were replaced count as one wait.
func (r *run) patience(err error) error {
	if failure.KindOf(err) != failure.KindLater || !r.req.renewal || r.since.IsZero() || r.i.now().Sub(r.since) < enough {
		return err
	}
	return failure.Failed(failure.CheckReason,
		"%s has been waiting since %s: %w", list(r.req.Emails), r.since.Local().Format("2006-01-02 15:04"), err)
}

// formerly prepares an order that replaces a certificate: its key, if that is to
// be used again, and its name at the CA (RFC 9773, Section 5).
func (r *run) formerly(ctx context.Context) error {
	dir := r.i.certDir(r.name)
	if r.req.ReuseKey {
		data, err := os.ReadFile(filepath.Join(dir, keyFile))
		if err != nil {
			return failure.In("reuse-key", failure.Failed("leave it out", "%v", err))
		}
		if r.req.key, err = cert.ParseKey(data); err != nil {
			return failure.In("reuse-key", failure.Failed("leave it out", "%s: %v", filepath.Join(dir, keyFile), err))
		}
		if r.i.banned(r.req.key) {
			r.req.key = nil
			r.note("", "the key of "+list(r.req.Emails)+" was revoked for keycompromise: making a new one")
		} else if kind, err := cert.KeyTypeOf(r.req.key); err == nil {
			r.req.KeyType = kind
		}
	}
	former, err := readRenewal(dir)
	if err != nil || former.Server != r.req.Server || !former.Revoked.IsZero() || r.req.DryRun {
		return nil //nolint:nilerr // nothing that this order could replace
	}
	d, err := r.ca.directory(ctx)
	if err != nil {
		return err
	}
	if d.RenewalInfo != "" {
		r.req.replaces = former.CertID
	}
	return nil
}
