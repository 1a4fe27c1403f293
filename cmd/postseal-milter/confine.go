package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	stdlog "log"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/VictoriaMetrics/metrics"

	"postseal/internal/cli"
	"postseal/state"
)

// confine gives up what the milter does not need once it listens. If the kernel does not
// allow that, the milter works all the same, protected by users and modes alone.
func (f *flags) confine(log *slog.Logger, file *cli.File, store state.Store, l sockets) {
	needs := f.Needs(file, store)
	needs.Lasting = true
	needs.Remove = l.dirs()
	if f.Metrics != "" {
		needs.Read = append(needs.Read, "/proc") // for the process's own resource usage
	}
	if err := cli.Confine(needs); err != nil {
		log.Info("not confined", "reason", err)
	} else {
		log.Info("confined", "writes", writes(needs), "reads", strings.Join(needs.Read, " "))
	}
	if f.Metrics != "" {
		foregoIO()
	}
}

// writes names the directory that the milter writes to; with Redis there is none.
func writes(n cli.Needs) string {
	if len(n.Write) == 0 {
		return "nothing"
	}
	return cli.Nearest(n.Write[0])
}

// dirs returns the directories of the unix sockets that the milter removes at its end.
func (s sockets) dirs() []string {
	var dirs []string
	for _, l := range s {
		if path := l.Addr().String(); l.Addr().Network() == "unix" && !strings.HasPrefix(path, "@") {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	return dirs
}

// foregoIO makes the metrics library find out at once that a process without core files may
// not read its own /proc/self/io. The library says so a single time, in words that help
// nobody.
func foregoIO() {
	old := stdlog.Writer()
	stdlog.SetOutput(io.Discard)
	defer stdlog.SetOutput(old)
	metrics.WriteProcessMetrics(io.Discard)
}

// explained adds to an error what an admin cannot see: to Landlock, a recreated directory is
// another one.
func explained(pending func() (bool, error)) func() (bool, error) {
	return func() (bool, error) {
		found, err := pending()
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w (if it was replaced while this program ran: restart it)", err)
		}
		return found, err
	}
}
