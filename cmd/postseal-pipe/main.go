// Command postseal-pipe answers one message from stdin.
package main

import (
	"context"
	"log/slog"
	"os"

	"postseal/internal/challenge"
	"postseal/internal/cli"
	"postseal/internal/failure"
	"postseal/internal/mailconf"
	"postseal/pipe"
)

func main() { os.Exit(Main(new(flags))) }

type flags struct {
	cli.Common
	mailconf.Flags

	Print        bool `xor:"mode" help:"Write the reply to stdout instead of sending it; record nothing."`
	Passthrough  bool `xor:"mode" help:"Copy the message to stdout with a Postseal-Status field on top."`
	Explain      bool `xor:"mode" help:"Write each check and its result to stdout; send and record nothing."`
	AnsweredExit int  `placeholder:"N" default:"0" help:"Exit status when the challenge was answered, instead of 0."`
}

func (f *flags) program() cli.Program {
	return cli.Program{
		Name: "postseal-pipe",
		Description: "Answer one ACME mail challenge (RFC 8823) from stdin. Any other message is read to its end " +
			"and left alone. Exit status: 0 done, 75 try again later, 64 usage, 78 configuration.",
		Example: "postseal-pipe --print < challenge.eml",
		Flags:   f,

		LateSignals: true, // ordinary mail uses no context
	}
}

// Main runs the program and returns its exit status. The caller chooses the status for an
// answered challenge, so that is not an error.
func Main(f *flags) int {
	status := cli.ExitOK
	code := f.program().Main(func(ctx context.Context, p *cli.Parsed) (err error) {
		status, err = f.run(ctx, p)
		return err
	})
	if code != cli.ExitOK {
		return code
	}
	return status
}

func (f *flags) run(ctx context.Context, parsed *cli.Parsed) (status int, err error) {
	if err := f.check(); err != nil {
		return 0, err
	}
	log := slog.New(cli.NewLogHandler())
	p := pipe.Pipe{
		Mode:      f.mode(),
		Responder: func() (*challenge.Responder, error) { return f.responder(parsed.File, log) },
	}
	out, err := p.Run(ctx, os.Stdin, os.Stdout)
	if err != nil {
		return 0, tempFail(err)
	}
	f.report(log, out)
	return f.status(out), nil
}

// responder sets up what a challenge needs, and gives up the rest. Ordinary mail never gets
// here and pays for neither.
func (f *flags) responder(file *cli.File, log *slog.Logger) (*challenge.Responder, error) {
	_ = cli.NoDump() // before there is a password to dump; cli.Confine does it again
	store, err := f.Store(log)
	if err != nil {
		return nil, err
	}
	r, err := f.Responder(file, store, log)
	if err != nil {
		return nil, err
	}
	// If the kernel does not allow it, say nothing: mail servers expect one line for a
	// challenge, and the milter tells admins about their kernel.
	_ = cli.Confine(f.Needs(file, store))
	return r, nil
}

func (f *flags) check() error {
	if f.AnsweredExit < 0 || f.AnsweredExit > 255 {
		return failure.Usage("an exit status is 0 to 255", "--answered-exit: %d is not an exit status", f.AnsweredExit)
	}
	_, err := f.Flags.Check()
	return err
}

// tempFail gives an error without a kind of its own the status that keeps the message in the
// mail server's queue.
func tempFail(err error) error {
	if cli.ExitCode(err) != cli.ExitFailed {
		return err
	}
	return failure.Later("", "%w", err)
}

func (f *flags) mode() pipe.Mode {
	switch {
	case f.Print:
		return pipe.Print
	case f.Passthrough:
		return pipe.Passthrough
	case f.Explain:
		return pipe.Explain
	}
	return pipe.Reply
}

// report writes one line for a message that an order waits for. In the modes that people use
// by hand, it always writes one.
func (f *flags) report(log *slog.Logger, out challenge.Outcome) {
	if !out.Concerns() && out.Verdict == challenge.None && !f.Print {
		return
	}
	word := out.Verdict.String()
	if out.Verdict == challenge.Answered && (f.Print || f.Explain) {
		word = "genuine" // nothing was sent
	}
	log.Log(context.Background(), out.Level(), "challenge "+word, out.Attrs()...)
}

func (f *flags) status(out challenge.Outcome) int {
	switch out.Verdict {
	case challenge.Later:
		return cli.ExitTempFail
	case challenge.Answered:
		if f.Explain {
			return cli.ExitOK
		}
		return f.AnsweredExit
	}
	return cli.ExitOK
}
