package cli

import "github.com/alecthomas/kong"

// Model returns the commands and flags of p, to compare other texts with.
func (p Program) Model() (*kong.Application, error) {
	parser, err := kong.New(p.Flags, append([]kong.Option{
		kong.Name(p.Name), kong.Description(p.Description), kong.DefaultEnvars("POSTSEAL"),
		kong.Vars{"version": "", "config_default": DefaultConfig},
	}, p.Options...)...)
	if err != nil {
		return nil, err
	}
	return parser.Model, nil
}
