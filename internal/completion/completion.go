package completion

import (
	"embed"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/template"

	"github.com/alecthomas/kong"
)

// Shells are those that there is a script for.
var Shells = []string{"bash", "zsh", "fish"}

// Values are the words that a flag can have, by the flag's name, where the flag
// itself does not say.
type Values map[string][]string

// word is a command with what it is for.
type word struct{ Name, Help string }

// flag is one flag of a command.
type flag struct {
	Name, Short, Help string
	Kind              string   // none, words, files, dirs, or any: nobody can guess it
	Words             []string // for words
}

// Options returns the flag as it is written on the command line.
func (f flag) Options() []string {
	if f.Short == "" {
		return []string{"--" + f.Name}
	}
	return []string{"--" + f.Name, "-" + f.Short}
}

// node is a command; the program itself is the one with the empty path.
type node struct {
	Path     string
	Commands []word
	Flags    []flag
}

// script is what the templates see.
type script struct {
	Name  string
	Nodes []node
	Flags []flag // of all nodes, each name once
}

// Valued returns the flags that take the next word.
func (s script) Valued() (options []string) {
	for _, f := range s.Flags {
		if f.Kind != "none" {
			options = append(options, f.Options()...)
		}
	}
	return options
}

//go:embed bash.tmpl zsh.tmpl fish.tmpl
var files embed.FS

// Write writes the script for a shell.
func Write(w io.Writer, shell string, app *kong.Application, values Values) error {
	if !slices.Contains(Shells, shell) {
		return fmt.Errorf("there is no completion for %q", shell)
	}
	t, err := template.New(shell+".tmpl").Funcs(template.FuncMap{
		"join": strings.Join, "quote": quote, "zsh": zshItem,
	}).ParseFS(files, shell+".tmpl")
	if err != nil {
		return err
	}
	s := script{Name: app.Name}
	s.add("", app.Node, values)
	return t.Execute(w, s)
}

// add adds a command and those below it.
func (s *script) add(path string, from *kong.Node, values Values) {
	n := node{Path: path}
	for _, group := range from.AllFlags(true) {
		for _, f := range group {
			n.Flags = append(n.Flags, newFlag(f, values))
		}
	}
	for _, f := range n.Flags {
		if !slices.ContainsFunc(s.Flags, func(have flag) bool { return have.Name == f.Name }) {
			s.Flags = append(s.Flags, f)
		}
	}
	at := len(s.Nodes)
	s.Nodes = append(s.Nodes, n)
	for _, child := range from.Children {
		if child.Hidden {
			continue
		}
		s.Nodes[at].Commands = append(s.Nodes[at].Commands, word{child.Name, oneSentence(child.Help)})
		s.add(strings.TrimSpace(path+" "+child.Name), child, values)
	}
}

func newFlag(f *kong.Flag, values Values) flag {
	made := flag{Name: f.Name, Help: oneSentence(f.Help), Kind: "any", Words: values[f.Name]}
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
	case f.PlaceHolder == "FILE" || f.PlaceHolder == "PATH":
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
