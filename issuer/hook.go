package issuer

import (
	"cmp"
	"context"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"postseal/internal/failure"
	"postseal/internal/printable"
	"postseal/issuer/cert"
	"postseal/issuer/store"
)

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
func (v *Revocation) runHook(ctx context.Context, i *Issuer, leaf *x509.Certificate, done *Revoked) error {
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
		"HOOK_REASON="+cmp.Or(strings.ToLower(v.Reason), Reasons[0]),
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
