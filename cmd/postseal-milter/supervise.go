package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"postseal/state"
)

// superviseBy tells systemd that the program is ready, that it is alive as often as the unit
// asks (WatchdogSec=), and at the end of ctx that it is stopping. Without systemd it does
// nothing. The returned function ends the signs of life, which continue while messages are
// being finished.
func superviseBy(ctx context.Context, log *slog.Logger) (end func()) {
	notify(log, daemon.SdNotifyReady)
	stopping := make(chan struct{})
	unused := context.AfterFunc(ctx, func() { notify(log, daemon.SdNotifyStopping); close(stopping) })
	told := func() {
		if !unused() {
			<-stopping // otherwise the process may be gone first
		}
	}
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the watchdog cannot be used", "error", err)
	}
	if interval <= 0 {
		return told
	}
	tick := time.NewTicker(interval / 2)
	done := make(chan struct{})
	go alive(log, tick.C, done)
	return func() { tick.Stop(); close(done); told() }
}

func alive(log *slog.Logger, tick <-chan time.Time, done <-chan struct{}) {
	for {
		select {
		case <-tick:
			notify(log, daemon.SdNotifyWatchdog)
		case <-done:
			return
		}
	}
}

func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("cannot notify systemd", "state", state, "error", err)
	}
}

// Intervals between messages to the issuing half that a milter runs here, normally and after
// a failure: the first order makes the state directory, and misses a milter after ten
// seconds.
const (
	seenEvery = 5 * time.Minute
	seenAgain = 5 * time.Second
)

// showAlive tells the issuing half that a milter runs on this host until ctx ends. It logs
// the first failure, unless there is no state directory yet.
func showAlive(ctx context.Context, log *slog.Logger, store state.Store) {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	said := false
	for {
		pause := seenEvery
		err := store.Alive(host, time.Now())
		if err != nil {
			pause = seenAgain
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !said {
			log.Warn("cannot tell the issuing half that this milter runs", "error", err)
			said = true
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}
