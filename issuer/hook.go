package issuer

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// secretVariables are not for the eyes of hooks.
var secretVariables = []string{"POSTSEAL_PASSPHRASE", "POSTSEAL_SMTP_PASSWORD"}

// deploy runs the deploy hook. Its output goes to stderr, since stdout may be
// JSON. A failure keeps the certificate.
func (r *run) deploy(ctx context.Context, res *Result) error {
	if r.req.DeployHook == "" {
		return nil
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", r.req.DeployHook)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.Env = append(hookEnvironment(os.Environ()),
		"POSTSEAL_EMAILS="+strings.Join(res.Emails, " "),
		"POSTSEAL_P12="+res.P12,
		"POSTSEAL_CERT="+res.Cert,
		"POSTSEAL_KEY="+res.Key,
		"POSTSEAL_CHAIN="+res.Chain,
	)
	r.step(StepHook, "", "running the deploy hook")
	if err := cmd.Run(); err != nil {
		return failed("the certificate is in "+res.Dir+"; run the hook by hand once it works", "deploy hook %q: %v", r.req.DeployHook, err)
	}
	return nil
}

func hookEnvironment(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(secretVariables, name)
	})
}
