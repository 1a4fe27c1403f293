package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// superviseBy tells systemd that the program is ready, that it is alive as often
// as the unit wants (WatchdogSec=), and with the end of ctx that it stops. Without
// systemd it does nothing. The function it returns ends the signs of life; they go
// on while messages are being finished.
func superviseBy(ctx context.Context, log *slog.Logger) (end func()) {
	notify(log, daemon.SdNotifyReady)
	stopping := make(chan struct{})
	unused := context.AfterFunc(ctx, func() { notify(log, daemon.SdNotifyStopping); close(stopping) })
	told := func() {
		if !unused() {
			<-stopping // or the process may be gone before it is said
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
