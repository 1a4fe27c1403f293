package issuer

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"postseal/internal/failure"
	"postseal/issuer/ca"
	"postseal/issuer/cert"
	"postseal/issuer/store"
)

// Renewal says what to renew, and what to change.
type Renewal struct {
	Emails     []string // certificates that name one of these; nil for all
	Kinds      []string // certificates of these kinds; nil for all, of no kind among them
	Server     string   // certificates of this CA; "" for all
	Force      bool     // though not due
	ReuseKey   bool
	Passphrase cert.Passphrase
	Timeout    time.Duration
	FailHook   string // for certificates without their own
	// Pause is called once before the first request to a CA.
	Pause func(context.Context) error
}

// DueRequests returns the requests for the work to do: orders that an earlier run left
// unfinished, and certificates that are due.
func (i *Issuer) DueRequests(ctx context.Context, o Renewal) ([]Request, error) {
	if err := i.prepare(); err != nil {
		return nil, err
	}
	emails, err := cert.ParseAddresses(o.Emails)
	if err != nil {
		return nil, err
	}
	certs, err := i.certificates(emails, o.Kinds)
	if err != nil {
		return nil, err
	}
	requests, err := i.unfinished(emails, o.Kinds)
	if err != nil {
		return nil, err
	}
	if certs, requests, err = i.leavers().stay(emails, certs, requests); err != nil {
		return nil, err
	}
	if o.Server != "" {
		certs = slices.DeleteFunc(certs, func(c store.Certificate) bool { return c.Server != o.Server })
		requests = slices.DeleteFunc(requests, func(r Request) bool { return r.Server != o.Server })
	}
	if len(emails) > 0 && len(certs)+len(requests) == 0 {
		return nil, o.noneFor(emails)
	}
	due, err := i.dueOf(ctx, certs, o, len(requests) > 0)
	if err != nil {
		return nil, err
	}
	for _, c := range due {
		known := func(r Request) bool { return r.Kind == c.Kind && cert.SameAddresses(r.Emails, c.Emails) }
		if !slices.ContainsFunc(requests, known) {
			requests = append(requests, Request{Settings: c.Settings})
		}
	}
	for n := range requests {
		i.renewed(&requests[n])
		o.apply(&requests[n])
	}
	return requests, nil
}

func (o *Renewal) noneFor(emails []string) error {
	whose := list(emails) + ofKind(o.Kinds)
	if o.Server != "" {
		return failure.In("server", failure.Failed("leave it out", "no certificate of %s names %s", o.Server, whose))
	}
	return failure.Failed(failure.OrderOne, "no certificate names %s", whose)
}

// apply lets the options of this run override others.
func (o *Renewal) apply(r *Request) {
	r.Force, r.ReuseKey, r.Timeout, r.Unattended = o.Force, o.ReuseKey, o.Timeout, true
	r.FailHook = cmp.Or(r.FailHook, o.FailHook)
	if o.Passphrase.Kind != "" {
		r.Passphrase = o.Passphrase
	}
}

// certificates reads the certificates that name one of the addresses, or all, and are of one
// of the kinds, or any.
func (i *Issuer) certificates(emails, kinds []string) ([]store.Certificate, error) {
	all, err := i.disk.Certificates(i.leftOut)
	return slices.DeleteFunc(all, func(c store.Certificate) bool {
		return !cert.NamesOneOf(c.Emails, emails) || !isOneOf(c.Kind, kinds)
	}), err
}

func isOneOf(kind string, kinds []string) bool {
	return len(kinds) == 0 || slices.Contains(kinds, kind)
}

// ofKind returns the kinds in words, to follow an address.
func ofKind(kinds []string) string {
	if names := list(kinds); names != "" {
		return " (" + names + ")"
	}
	return ""
}

// unfinished returns the orders that an earlier run left. It includes one that a process
// works on only if the caller names its address: a long run must not delay all renewals.
func (i *Issuer) unfinished(emails, kinds []string) (requests []Request, err error) {
	orders, err := i.disk.Orders(i.leftOut)
	for _, o := range orders {
		if emails == nil && i.disk.Running(o.Emails[0], o.Kind) {
			continue
		}
		if !o.DryRun && cert.NamesOneOf(o.Emails, emails) && isOneOf(o.Kind, kinds) {
			requests = append(requests, Request{Settings: o.Settings})
		}
	}
	return requests, err
}

// askersAtOnce is how many windows are requested at a time at each CA.
const askersAtOnce = 8

// dueOf returns the certificates to renew, the longest overdue first.
func (i *Issuer) dueOf(ctx context.Context, certs []store.Certificate, o Renewal, pause bool) ([]store.Certificate, error) {
	certs = slices.DeleteFunc(certs, func(c store.Certificate) bool { return !c.Revoked.IsZero() && !o.Force })
	if o.Force {
		return certs, nil
	}
	asks := slices.DeleteFunc(slices.Clone(certs), func(c store.Certificate) bool { return !c.AskDue(i.Now()) })
	pause = pause || len(asks) > 0 || slices.ContainsFunc(certs, func(c store.Certificate) bool { return c.Due(i.Now()) })
	if pause && o.Pause != nil {
		if err := o.Pause(ctx); err != nil {
			return nil, failure.Later("run the same command again", "interrupted before anything was ordered")
		}
	}
	i.refreshWindows(ctx, asks)
	due := slices.DeleteFunc(certs, func(c store.Certificate) bool { return !c.Due(i.Now()) })
	slices.SortStableFunc(due, func(a, b store.Certificate) int { return a.RenewAt().Compare(b.RenewAt()) })
	return due, nil
}

// refreshWindows asks each certificate's own CA for its window. If a CA cannot be reached or
// trusted, this run does not ask it again, and goes on with the others.
func (i *Issuer) refreshWindows(ctx context.Context, certs []store.Certificate) {
	at := func(n int) caKey { return caKey{certs[n].Server, certs[n].CABundle} }
	atEachCA(ctx, len(certs), askersAtOnce, at, func(ctx context.Context, q *queue, n int) {
		if ctx.Err() == nil && i.refreshWindow(ctx, certs[n]) != nil {
			q.stop()
		}
	})
}

// refreshWindow asks the CA and records the answer. If the CA does not answer, the old window
// stays; the error means that it is useless to ask about another certificate.
func (i *Issuer) refreshWindow(ctx context.Context, old store.Certificate) error {
	c, err := i.ca(old.Server, old.CABundle)
	if err != nil {
		return err
	}
	w, again, err := c.AskWindow(ctx, old.CertID)
	switch {
	case err != nil && ctx.Err() != nil:
		return err
	case err != nil:
		i.step(StepHTTP, old.Name, "", "renewal window of "+old.Name+": "+err.Error())
		if !errors.As(err, new(ca.RefusedWindow)) {
			return err
		}
	case w != nil && w.Same(old.Window):
		w.At = old.Window.At
	case w != nil:
		i.explainWindow(w, old.Name, old.Emails)
	}
	old.AskAfter = again
	if w != nil {
		old.Window = w
	}
	if err := i.disk.Rewrite(old); err != nil && !errors.Is(err, store.ErrLocked) { // the lock's holder knows better
		i.step(StepNote, old.Name, "", "the renewal window could not be written down: "+err.Error())
	}
	return nil
}
