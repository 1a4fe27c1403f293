package main

import (
	"github.com/alecthomas/kong"

	"postseal/internal/completion"
	"postseal/internal/setup"
	"postseal/issuer"
)

// completionCmd are the commands of "postseal completion".
type completionCmd struct {
	Bash completionScript `cmd:"" help:"Write the script for bash."`
	Zsh  completionScript `cmd:"" help:"Write the script for zsh."`
	Fish completionScript `cmd:"" help:"Write the script for fish."`
}

type completionScript struct{}

// BeforeResolve is called by kong before the configuration file is looked at:
// whoever completes command lines need not be allowed to read it.
func (completionScript) BeforeResolve(k *kong.Kong, ctx *kong.Context) error {
	err := completion.Write(k.Stdout, ctx.Selected().Name, k.Model, flagValues)
	if err == nil {
		k.Exit(0)
	}
	return err
}

// flagValues are the words that flags can have. Package issuer refuses others.
var flagValues = completion.Values{
	"key-type":   issuer.KeyTypes,
	"usage":      issuer.Usages,
	"p12":        issuer.Formats,
	"reason":     issuer.Reasons,
	"via":        setup.Names(),
	"token-join": {"auto", "string", "bytes"},
	"trigger":    {"auto", "reply", "post"},
	"compat":     {"certbot", "serial"},
}
