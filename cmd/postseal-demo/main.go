// Command postseal-demo shows the whole of postseal on loopback: a test CA, a
// small mail server with postseal-milter in it, and an order for a certificate.
// Nothing leaves the machine and nothing of it is needed afterwards.
package main

import (
	"context"
	"os"

	"github.com/alecthomas/kong"

	"postseal/internal/cli"
)

func main() { os.Exit(Main()) }

type flags struct {
	Version kong.VersionFlag `help:"Print the version and exit." env:"-"`

	Run demoCmd `cmd:"" default:"withargs" name:"run" help:"Order a certificate for alice@example.test and show each step (the default)."`
	CA  caCmd   `cmd:"" name:"ca" help:"Serve the test CA alone until stopped."`
}

func (f *flags) program() cli.Program {
	return cli.Program{
		Name: "postseal-demo",
		Description: "Show postseal on this machine alone: a test CA, a mail server with postseal-milter in it, " +
			"and an order from the first request to the PKCS#12 container.",
		Example: "postseal-demo\npostseal-demo ca --dir /tmp/ca --relay 127.0.0.1:25",
		Examples: map[string]string{
			"run": "postseal-demo --dir /tmp/demo",
			"ca":  "postseal-demo ca --dir /tmp/ca --relay 127.0.0.1:25 --mail-trigger post",
		},
		Flags:  f,
		NoFile: true,
	}
}

// Main runs the program and returns its exit status.
func Main() int {
	f := new(flags)
	return f.program().Main(func(ctx context.Context, p *cli.Parsed) error {
		if p.Kong.Command() == "ca" {
			return f.CA.Run()
		}
		return f.Run.run(ctx, os.Stdout)
	})
}
