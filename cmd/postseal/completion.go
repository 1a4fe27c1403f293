package main

import (
	"embed"
	"io"
	"slices"
	"strings"
	"text/template"

	"github.com/alecthomas/kong"

	"postseal/internal/setup"
	"postseal/issuer"
	"postseal/issuer/cert"
	"postseal/state"
)

// completionCmd are the commands of "postseal completion". The scripts are made from
// kong's model, so they know every command and flag, and need no program at run time.
//
// All three work the same way: they go through the words before the cursor, leave out
// the values of flags, and so know which command is being written. Then they offer the
// values of the flag before the cursor, or else the command's own commands and flags.
type completionCmd struct {
	Bash completionScript `cmd:"" help:"Write the script for bash."`
	Zsh  completionScript `cmd:"" help:"Write the script for zsh."`
	Fish completionScript `cmd:"" help:"Write the script for fish."`
}

type completionScript struct{}

// BeforeResolve is called by kong before the configuration file is looked at:
// the user at the shell need not be allowed to read it.
func (completionScript) BeforeResolve(k *kong.Kong, ctx *kong.Context) error {
	err := writeCompletion(k.Stdout, ctx.Selected().Name, k.Model, flagValues)
	if err == nil {
		k.Exit(0)
	}
	return err
}

// flagValues are the words that flags can have. Package issuer refuses others.
var flagValues = flagWords{
	"key-type":   cert.KeyTypes,
	"usage":      cert.Usages,
	"p12":        cert.Formats,
	"format":     cert.Exports,
	"reason":     issuer.Reasons,
	"via":        setup.Names(setup.Servers),
	"token-join": state.TokenJoins,
	"trigger":    state.Triggers,
	"compat":     state.Compats,
}

// flagWords are the words that a flag can have, by the flag's name, where the flag
// itself does not say.
type flagWords map[string][]string

// shellWord is a command with what it is for.
type shellWord struct{ Name, Help string }

// shellFlag is one flag of a command.
type shellFlag struct {
	Name, Short, Help string
	Kind              string   // none, words, files, dirs, or any: nobody can guess it
	Words             []string // for words
}

// Options returns the flag as it is written on the command line.
func (f shellFlag) Options() []string {
	if f.Short == "" {
		return []string{"--" + f.Name}
	}
	return []string{"--" + f.Name, "-" + f.Short}
}

// shellCommand is a command; the program itself is the one with the empty path.
type shellCommand struct {
	Path     string
	Commands []shellWord
	Flags    []shellFlag
}

// shellScript is what the templates see.
type shellScript struct {
	Name  string
	Nodes []shellCommand
	Flags []shellFlag // of all nodes, each name once
}

// Valued returns the flags that take the next word.
func (s shellScript) Valued() (options []string) {
	for _, f := range s.Flags {
		if f.Kind != "none" {
			options = append(options, f.Options()...)
		}
	}
	return options
}

//go:embed completion.bash completion.zsh completion.fish
var completions embed.FS

// writeCompletion writes the script for a shell.
func writeCompletion(w io.Writer, shell string, app *kong.Application, values flagWords) error {
	name := "completion." + shell
	t, err := template.New(name).Funcs(template.FuncMap{
		"join": strings.Join, "quote": quote, "zsh": zshItem,
	}).ParseFS(completions, name)
	if err != nil {
		return err
	}
	s := shellScript{Name: app.Name}
	s.add("", app.Node, values)
	return t.Execute(w, s)
}

// add adds a command and those below it.
func (s *shellScript) add(path string, from *kong.Node, values flagWords) {
	n := shellCommand{Path: path}
	for _, group := range from.AllFlags(true) {
		for _, f := range group {
			n.Flags = append(n.Flags, newFlag(f, values))
		}
	}
	for _, f := range n.Flags {
		if !slices.ContainsFunc(s.Flags, func(have shellFlag) bool { return have.Name == f.Name }) {
			s.Flags = append(s.Flags, f)
		}
	}
	at := len(s.Nodes)
	s.Nodes = append(s.Nodes, n)
	for _, child := range from.Children {
		if child.Hidden {
			continue
		}
		s.Nodes[at].Commands = append(s.Nodes[at].Commands, shellWord{child.Name, oneSentence(child.Help)})
		s.add(strings.TrimSpace(path+" "+child.Name), child, values)
	}
}

func newFlag(f *kong.Flag, values flagWords) shellFlag {
	made := shellFlag{Name: f.Name, Help: oneSentence(f.Help), Kind: "any", Words: values[f.Name]}
	if f.Short != 0 {
		made.Short = string(f.Short)
	}
	if f.Enum != "" {
		made.Words = f.EnumSlice()
	}
	if slices.Contains(made.Words, made.Help) { // the help is a list of them
		made.Help = strings.ReplaceAll(f.Name, "-", " ")
	}
	switch {
	case f.IsBool():
		made.Kind = "none"
	case len(made.Words) > 0:
		made.Kind = "words"
	case slices.Contains([]string{"FILE", "FILE|DIR", "PATH"}, f.PlaceHolder):
		made.Kind = "files"
	case f.PlaceHolder == "DIR" || f.Name == "dir":
		made.Kind = "dirs"
	}
	return made
}

// oneSentence cuts a help text to what fits beside a word.
func oneSentence(help string) string {
	help, _, _ = strings.Cut(help, " (")
	help, _, _ = strings.Cut(help, ": ")
	help, _, _ = strings.Cut(help, "; ")
	return strings.TrimSuffix(help, ".")
}

// quote makes one word of a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// zshItem is a word with its description, as _describe wants it.
func zshItem(name, help string) string {
	return quote(strings.ReplaceAll(name, ":", `\:`) + ":" + help)
}
