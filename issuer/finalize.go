package issuer

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"postseal/internal/failure"
	"postseal/internal/printable"
	"postseal/issuer/ca"
	"postseal/issuer/cert"
	"postseal/issuer/store"
)

// finalize sends the CSR and returns the order once it has a certificate (RFC 8555, Section
// 7.4). The key is on disk before that: a certificate without its key is worthless.
func (r *run) finalize(ctx context.Context, order acme.Order) (acme.Order, error) {
	r.waitFor("the CA to issue the certificate")
	key, err := r.newKey()
	if err != nil {
		return order, err
	}
	if r.i.disk.Banned(key) { // perhaps since the order was made
		return order, &deadOrder{store.ErrBanned("the key of this order"), false}
	}
	r.key = key
	csr, err := cert.NewCSR(key, r.orderedNames(order), r.req.Usages, r.ca.Compat(r.req.Compat, "certbot"))
	if err != nil {
		return order, err
	}
	if err := r.keepFinalizing(); err != nil {
		return order, err
	}
	err = r.ca.Poll(ctx, ca.Finalizing, func(ctx context.Context) error {
		order, err = r.advance(ctx, order, csr)
		return err
	})
	return order, r.finalError(err)
}

func (r *run) keepFinalizing() error {
	if !r.order.Finalizing {
		data, err := cert.MarshalKey(r.key)
		if err != nil {
			return err
		}
		if err := r.update(func(o *store.Order) { o.Key, o.Finalizing = string(data), true }); err != nil {
			return err
		}
	}
	return r.promise()
}

// orderedNames returns the addresses in the CA's form: some CAs compare the CSR byte by byte.
func (r *run) orderedNames(order acme.Order) []string {
	var names []string
	for _, id := range order.Identifiers {
		if r.challengeFor(id) != nil {
			names = append(names, id.Value)
		}
	}
	if !cert.SameAddresses(names, r.req.Emails) {
		return r.req.Emails
	}
	return names
}

// advance makes the one request that the order's state requires.
func (r *run) advance(ctx context.Context, order acme.Order, csr []byte) (acme.Order, error) {
	if order.Status != acme.StatusReady {
		next, err := r.ca.OrderNow(ctx, order)
		if err != nil {
			return order, err
		}
		return r.judge(next)
	}
	next, err := r.ca.FinalizeNow(ctx, order, csr)
	if err != nil {
		return r.afterRefusal(ctx, order, err)
	}
	r.step(StepFinalize, "", "sent the request for the certificate")
	return r.judge(next)
}

// afterRefusal looks at the order after a refused finalize. A CA's 500, or a broken
// connection, may be temporary, with the order unchanged, or the order's end.
func (r *run) afterRefusal(ctx context.Context, order acme.Order, refusal error) (acme.Order, error) {
	if ca.Busy(ctx) {
		return order, refusal // the caller waits
	}
	next, err := r.ca.OrderNow(ctx, order)
	if err != nil {
		return order, refusal
	}
	p, refused := ca.ProblemOf(refusal)
	final := refused && p.Status < http.StatusInternalServerError && p.Type != acme.ProblemTypeOrderNotReady
	refusal = r.ca.Explain(ca.Finalizing, refusal)
	switch {
	case next.Status == acme.StatusReady && final, next.Status == acme.StatusInvalid && next.Error == nil:
		return next, &deadOrder{refusal, false}
	case next.Status == acme.StatusReady, next.Status == acme.StatusProcessing:
		if p.Type != acme.ProblemTypeOrderNotReady {
			if err := r.refused(refusal, final); err != nil {
				return next, err
			}
		}
	}
	if next.Status == acme.StatusReady {
		return next, ca.ErrPending
	}
	return r.judge(next)
}

// refused shows a refusal that may not be the order's end, and records it for the next run
// and "status".
func (r *run) refused(err error, ours bool) error {
	if old := r.order.Refusal; old != nil && old.Text == err.Error() {
		return nil
	}
	r.note("", err.Error()+"; the order lives on: asking on")
	r.waitFor("the CA to issue the certificate, although it refused: " + err.Error())
	return r.update(func(o *store.Order) {
		o.Refusal = &store.Refusal{Text: err.Error(), Hint: failure.HintOf(err), At: r.i.Now().UTC(), Ours: ours}
	})
}

// patience is how long an order may stay "processing" after a refusal of its CSR. If the
// server was at fault, it may have done the work all the same.
func (t Timing) patience(f *store.Refusal) time.Duration {
	if f.Ours {
		return t.Stuck
	}
	return 60 * t.Stuck
}

// judge reports how a finalized order continues.
func (r *run) judge(order acme.Order) (acme.Order, error) {
	switch order.Status {
	case acme.StatusValid:
		return order, nil
	case acme.StatusInvalid:
		return order, &deadOrder{ca.OrderError(order), false}
	case acme.StatusPending, acme.StatusReady, acme.StatusProcessing:
		if f := r.order.Refusal; f != nil && r.i.Now().Sub(f.At) >= r.i.Timing.patience(f) {
			return order, &deadOrder{failure.Failed(f.Hint, "%s; the order is still %s: given up", f.Text, order.Status), false}
		}
		return order, ca.ErrPending
	}
	return order, ca.Fault("the order has a status that no order has: %s", ca.Quoted(order.Status))
}

func (r *run) finalError(err error) error {
	dead, ok := errors.AsType[*deadOrder](err)
	if !ok {
		return err
	}
	if failure.HintOf(dead.err) == "" {
		dead.err = failure.WithHint(dead.err, failure.OtherKind)
	}
	return dead
}

// download returns the certificate. It checks that this is the one ordered, before anything
// on disk is replaced.
func (r *run) download(ctx context.Context, order acme.Order) ([]*x509.Certificate, error) {
	text, err := r.ca.Download(ctx, order)
	if err != nil {
		return nil, err
	}
	chain, err := cert.ReadChain(text)
	if err == nil {
		err = cert.Wanted{Key: r.key, Emails: r.req.Emails, Usages: r.req.Usages, Certbot: r.ca.Compat(r.req.Compat, "certbot"), Now: r.i.Now()}.Check(chain[0])
	}
	if errors.As(err, new(cert.WrongClock)) {
		return nil, failure.Later("put the clock right and run the same command again",
			"the certificate for %s is there, but %v and the clock of this host shows %s; the order stays in %s",
			list(r.req.Emails), err, r.i.Now().Local().Format(time.RFC3339), r.path)
	}
	if err != nil {
		return nil, &deadOrder{failure.Failed("nothing on disk was replaced; ask the CA", "the CA's certificate for %s is not usable: %s", list(r.req.Emails), printable.Line(err.Error(), maxStep)), false}
	}
	r.step(StepIssued, "", "got a certificate for %s, valid until %s, SHA-256 %s",
		list(r.req.Emails), dayOf(chain[0].NotAfter), cert.Fingerprint(chain[0]))
	return chain, nil
}
