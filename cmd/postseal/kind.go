package main

import (
	"slices"

	"postseal/internal/cli"
	"postseal/internal/failure"
	"postseal/issuer"
)

// kindsOf reads the [kind] tables of the configuration file.
func kindsOf(file *cli.File) (map[string]*issuer.Kind, error) {
	kinds := map[string]*issuer.Kind{}
	for name, t := range file.Kinds {
		k := issuer.Kind(t)
		err := issuer.CheckKindName(name)
		if err == nil {
			err = k.Check()
		}
		if err != nil {
			return nil, failure.Config(failure.HintOf(err), "%s: [kind.%s]: %v", file.Path, name, err)
		}
		kinds[name] = &k
	}
	return kinds, nil
}

// describing are the flags that say what a certificate is, so that a kind needs no table.
var describing = []string{"usage", "key-type", "profile", "server", "test"}

// ofKind makes a request one for a certificate of a kind. Its table wins over what the
// environment and the rest of the file say of all certificates, and the command line wins
// over the table.
//
// A name without a table that nothing describes is a misspelt one.
func (s *session) ofKind(req issuer.Request, name string) (issuer.Request, error) {
	if err := issuer.CheckKindName(name); err != nil {
		return req, err
	}
	k := s.opts.Kinds[name]
	if k == nil && !slices.ContainsFunc(describing, s.given) {
		return req, failure.In("kind", failure.Usage(failure.DescribeKind, "unknown kind %q", name))
	}
	req.Kind = name
	if k == nil {
		k = new(issuer.Kind)
	}
	k.Into(&req, func(flag string) bool {
		return s.given(flag) || flag == "server" && (req.DryRun || s.given("test")) // the staging directory
	})
	return req, nil
}
