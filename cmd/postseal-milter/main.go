// Command postseal-milter answers ACME mail challenges inside Postfix or Sendmail.
//
// It is a milter: mail servers show it each message while the client waits. See
// postseal-milter(8), and package milter for what happens to a message.
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"

	"postseal/internal/challenge"
	"postseal/internal/cli"
	"postseal/internal/failure"
	"postseal/internal/hostport"
	"postseal/internal/mailconf"
	"postseal/milter"
	"postseal/state"
)

func main() { os.Exit(Main()) }

type flags struct {
	cli.Common
	mailconf.Flags

	Listen         string `placeholder:"ADDR" help:"Where mail servers connect: unix:PATH or inet:PORT@HOST. Not needed under systemd socket activation."`
	SocketMode     string `placeholder:"MODE" default:"0660" help:"Permissions of a unix socket (default: ${default})."`
	OnAnswered     string `enum:"accept,discard" default:"accept" help:"What becomes of a challenge that was answered: accept (deliver it; the default) or discard."`
	Metrics        string `placeholder:"HOST:PORT" help:"Serve Prometheus metrics at http://HOST:PORT/metrics (default: off)."`
	MaxConnections int    `placeholder:"N" default:"1024" help:"Connections of mail servers at a time (default: ${default})."`
	Probe          bool   `env:"-" help:"Ask the milter at --listen whether it answers mail servers, and exit with 0 or 1: the health check of a container."`
}

func (f *flags) program() cli.Program {
	return cli.Program{
		Name: "postseal-milter",
		Description: "Answer ACME mail challenges (RFC 8823) inside Postfix or Sendmail. Ordinary mail is accepted " +
			"before its body is read.",
		Example: "postseal-milter --listen unix:/var/spool/postfix/postseal-milter/milter.sock",
		Flags:   f,
	}
}

// Main runs the program and returns its exit status.
func Main() int {
	f := new(flags)
	return f.program().Main(f.run)
}

// memoryLimit makes the garbage collector work harder before the process grows, in bytes:
// other bounds hold a flood of large messages to a quarter of it in any case.
const memoryLimit = 48 << 20

func (f *flags) run(ctx context.Context, parsed *cli.Parsed) error {
	if f.Probe {
		return f.probe(ctx)
	}
	log := slog.New(cli.NewLogHandler())
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	if f.MaxConnections < 1 {
		return failure.Usage("the default is 1024", "--max-connections: %d is too few", f.MaxConnections)
	}
	if f.Metrics != "" {
		if _, err := hostport.Listen(f.Metrics); err != nil {
			return failure.Usage(metricsExample, "--metrics: %v", err)
		}
	}
	_ = cli.NoDump() // before there is a password to dump; f.confine reports a failure
	store, err := f.Store(log)
	if err != nil {
		return err
	}
	responder, err := f.Responder(parsed.File, store, log)
	if err != nil {
		return err
	}
	listeners, err := f.listeners()
	if err != nil {
		return err
	}
	f.confine(log, parsed.File, store, listeners)
	return f.serve(ctx, log, store, responder, listeners)
}

// serve answers until the context ends, and then shuts down in good order.
func (f *flags) serve(ctx context.Context, log *slog.Logger, store state.Store, r *challenge.Responder, l sockets) error {
	defer l.Close()
	index := store.Index()
	defer index.Close()
	m := newMeter(store, r)
	server := milter.New(milter.Config{
		Pending:        explained(index.Any),
		Answer:         m.answer,
		OnAnswered:     f.action(),
		Logger:         log,
		MaxConnections: f.MaxConnections,
	})
	m.watch(server.Stats())
	stopMetrics, err := m.serve(f.Metrics)
	if err != nil {
		return err
	}
	defer stopMetrics()

	defer superviseBy(ctx, log)()
	go showAlive(ctx, log, store)
	f.logStart(log, store, index, l)
	err = server.Serve(ctx, l...)
	if errors.Is(err, milter.ErrCutOff) {
		log.Warn("stopped before every message was done", "error", err)
		err = nil
	}
	log.Info("stopped", "messages", server.Stats().Messages.Load())
	return err
}

func (f *flags) action() milter.Action {
	if f.OnAnswered == "discard" {
		return milter.Discard
	}
	return milter.Accept
}

// logStart writes the line that admins look for after a restart, and a second one if it
// cannot read the state: that is not an error, for the first order makes the directory.
func (f *flags) logStart(log *slog.Logger, store state.Store, index state.Index, l sockets) {
	log.Info("listening", "on", strings.Join(l.names(), " "), "state", store.String(), "smtp", f.SMTP, "version", cli.Version())
	if _, err := index.Any(); err != nil {
		log.Warn("the state cannot be read; until then every message is looked at", "error", err)
	}
}
