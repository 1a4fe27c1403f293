package main

import (
	"errors"

	"postseal/internal/cli"
	"postseal/issuer"
)

// exitCodes are the exit statuses of package issuer's kinds of errors.
var exitCodes = map[issuer.Kind]int{
	issuer.Failed: cli.ExitFailed,
	issuer.NotDue: cli.ExitNothingDue,
	issuer.Later:  cli.ExitTempFail,
	issuer.Usage:  cli.ExitUsage,
	issuer.Config: cli.ExitConfig,
}

// asCLI gives an error of package issuer its exit status and hint.
func asCLI(err error) error {
	var theirs *issuer.Error
	if err == nil || !errors.As(err, &theirs) {
		return err
	}
	return &cli.Error{Code: exitCodes[theirs.Kind], Err: err, Hint: issuer.HintOf(err)}
}

// caSettings translates the [ca] table of the configuration file.
func caSettings(file *cli.File) func(server string) issuer.CASettings {
	return func(server string) issuer.CASettings {
		t := file.CAFor(server)
		s := issuer.CASettings{TokenJoin: t.TokenJoin, Trigger: t.Trigger, Settle: t.Settle, Compat: t.Compat}
		s.Policy.DKIM, s.Policy.AutoSubmitted = t.DKIM, t.AutoSubmitted
		s.Policy.Unsigned, s.Policy.TrustedAuthservID = t.Unsigned, t.TrustedAuthservID
		return s
	}
}
