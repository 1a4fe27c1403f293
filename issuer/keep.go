package issuer

import (
	"context"
	"crypto/x509"
	"errors"
	"path/filepath"
	"time"

	"postseal/internal/failure"
	"postseal/issuer/cert"
	"postseal/issuer/store"

	"github.com/mholt/acmez/v3/acme"
)

// keep stores a checked certificate, and ends its order.
func (r *run) keep(ctx context.Context, chain []*x509.Certificate) (*Result, error) {
	if r.req.DryRun {
		r.forget()
		return newResult(r, chain[0]), nil
	}
	dir := r.dir()
	passphrase, err := r.req.Passphrase.Word(store.Passphrase(dir))
	if err != nil {
		return nil, err
	}
	g := &store.Generation{Key: r.key, Chain: chain, Passphrase: passphrase, Renewal: r.newRenewal(ctx, chain[0])}
	if err := r.i.disk.Put(r.name, g); err != nil {
		return nil, store.Error(dir, err)
	}
	r.tell(store.EventIssued, g.Renewal.Serial, "")
	r.step(StepStored, "", "wrote %s", filepath.Join(dir, store.P12File))
	if r.req.Out != "" || r.req.DeployHook != "" {
		if err := r.update(func(o *store.Order) { o.Stored = true }); err != nil {
			return nil, err
		}
	}
	return r.finish()
}

// newRenewal returns what a renewal needs.
func (r *run) newRenewal(ctx context.Context, leaf *x509.Certificate) *store.Renewal {
	f := &store.Renewal{
		Version: store.Version, Settings: r.req.Settings, Account: r.ca.AccountURL(),
		Issued: r.i.now().UTC().Truncate(time.Second), Serial: cert.Serial(leaf), Fingerprint: cert.Fingerprint(leaf),
		NotBefore: leaf.NotBefore.UTC(), NotAfter: leaf.NotAfter.UTC(),
	}
	if id, err := acme.ARIUniqueIdentifier(leaf); err == nil {
		f.CertID = id
	}
	r.firstWindow(ctx, f)
	return f
}

// finish does the work after the certificate is stored: an earlier run may have died right
// before it.
func (r *run) finish() (*Result, error) {
	dir := r.dir()
	leaf, err := store.ReadLeaf(dir)
	if err != nil {
		return nil, store.Error(dir, err)
	}
	res := newResult(r, leaf)
	res.addPaths(dir)
	if r.req.Out != "" {
		if err := store.CopyOut(res.P12, r.req.Out); err != nil {
			err = failure.In("out", failure.Failed("copy it from "+res.P12, "%v", err))
			r.forget()
			return res, err
		}
	}
	if err := r.deploy(r.main, res); err != nil {
		return res, errors.Join(err, r.update(func(o *store.Order) { o.HookError = err.Error() }))
	}
	r.forget()
	return res, nil
}

func newResult(r *run, leaf *x509.Certificate) *Result {
	return &Result{
		Name: r.name, Emails: r.req.Emails, Kind: r.req.Kind, Server: r.req.Server, DryRun: r.req.DryRun,
		Serial: cert.Serial(leaf), Fingerprint: cert.Fingerprint(leaf),
		NotBefore: leaf.NotBefore.UTC(), NotAfter: leaf.NotAfter.UTC(),
	}
}

func (res *Result) addPaths(dir string) {
	res.Dir = dir
	res.Cert, res.Chain = filepath.Join(dir, store.CertFile), filepath.Join(dir, store.ChainFile)
	res.Fullchain, res.Key = filepath.Join(dir, store.FullchainFile), filepath.Join(dir, store.KeyFile)
	res.P12 = filepath.Join(dir, store.P12File)
	if path := filepath.Join(dir, store.PassphraseFile); store.Exists(path) {
		res.PassphraseFile = path
	}
}

// firstWindow asks right after issuance: a CA with short lifetimes may want renewal before we
// would ask.
func (r *run) firstWindow(ctx context.Context, f *store.Renewal) {
	var err error
	if f.Window, f.AskAfter, err = r.ca.AskWindow(ctx, f.CertID); err != nil {
		r.i.step(StepHTTP, "", "", err.Error())
	}
	if f.Window != nil {
		r.i.explainWindow(f.Window, r.name, f.Emails)
	}
}
