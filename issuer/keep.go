package issuer

import (
	"context"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"postseal/internal/failure"
	"postseal/internal/printable"
	"postseal/issuer/cert"
	"postseal/issuer/store"
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
		Issued: r.i.Now().UTC().Truncate(time.Second), Serial: cert.Serial(leaf), Fingerprint: cert.Fingerprint(leaf),
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

// deploy runs the deploy hook. A failure keeps the certificate.
func (r *run) deploy(ctx context.Context, res *Result) error {
	if r.req.DeployHook == "" {
		return nil
	}
	r.step(StepHook, "", "running the deploy hook")
	err := hook(ctx, r.req.DeployHook,
		"POSTSEAL_EMAILS="+strings.Join(res.Emails, " "),
		"POSTSEAL_P12="+res.P12,
		"POSTSEAL_CERT="+res.Cert,
		"POSTSEAL_KEY="+res.Key,
		"POSTSEAL_CHAIN="+res.Chain,
		"HOOK_KIND="+res.Kind,
		"HOOK_SERIAL="+res.Serial,
		"HOOK_PASSPHRASE_FILE="+res.PassphraseFile,
	)
	if err != nil {
		return failure.Failed("the certificate is in "+res.Dir+"; the next renew runs the hook again", "deploy hook %q: %v", r.req.DeployHook, err)
	}
	return nil
}

// maxHookError bounds HOOK_ERROR, in bytes.
const maxHookError = 4000

// failed runs the fail hook if an order ended without a certificate, and left nothing for
// another run to resume. The hook's own output changes nothing.
func (r *run) failed(res *Result, err error) {
	if r.req.FailHook == "" || r.req.DryRun || failure.KindOf(err) != failure.KindFailed || res != nil || r.order != nil {
		return
	}
	r.step(StepHook, "", "running the fail hook")
	hookErr := hook(r.main, r.req.FailHook,
		"POSTSEAL_EMAILS="+strings.Join(r.req.Emails, " "),
		"HOOK_KIND="+r.req.Kind,
		"HOOK_ERROR="+printable.Line(strings.Join(strings.Fields(err.Error()), " "), maxHookError),
	)
	if hookErr != nil {
		r.hint("", "fail hook \""+r.req.FailHook+"\": "+hookErr.Error())
	}
}

// runHook runs the revoke hook. It also runs for a certificate that was revoked before, so
// that one can repeat it after a failure. The hook's certificate is a copy, for CertPath may
// name a container.
func (v *Revocation) runHook(ctx context.Context, i *Issuer, leaf *x509.Certificate, reason string, done *Revoked) error {
	if v.Hook == "" {
		return nil
	}
	dir, err := os.MkdirTemp("", "postseal-revoked-")
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, store.CertFile)
	if err == nil {
		err = os.WriteFile(path, cert.MarshalChain([]*x509.Certificate{leaf}), 0o600)
	}
	if err != nil {
		return failure.Config("make room in the directory for temporary files, or name another with TMPDIR; then run the same command again", "revoke hook: %v", err)
	}
	i.step(StepHook, "", "", "running the revoke hook")
	err = hook(ctx, v.Hook,
		"POSTSEAL_EMAILS="+strings.Join(done.Emails, " "),
		"POSTSEAL_CERT="+path,
		"HOOK_KIND="+done.Kind,
		"HOOK_SERIAL="+cert.Serial(leaf),
		"HOOK_REASON="+reason,
	)
	if err != nil {
		return failure.Failed("the certificate is revoked; run the same command again once the hook works", "revoke hook %q: %v", v.Hook, err)
	}
	return nil
}

// hook runs a command with extra variables. Its output goes to stderr, since stdout may be
// JSON.
func hook(ctx context.Context, command string, variables ...string) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.Env = append(hookEnvironment(os.Environ()), variables...)
	return cmd.Run()
}

// hookEnvironment leaves out our own variables: hooks must not see passwords and passphrases,
// nor inherit from the caller a variable that belongs to another kind of hook.
func hookEnvironment(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(entry string) bool {
		return strings.HasPrefix(entry, "POSTSEAL_") || strings.HasPrefix(entry, "HOOK_")
	})
}
