package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"postseal/state"
)

// historyDir holds in certs/ the results of the last orders for each NAME, for people: no run
// depends on it. A file is removed a year after its last entry.
const historyDir = ".history"

const (
	maxHistory  = 32 // entries for a NAME
	historyKept = 365 * 24 * time.Hour
)

// The kinds of an Event.
const (
	EventOrdered = "ordered"
	EventIssued  = "issued"
	EventFailed  = "failed"
	EventGivenUp = "given up"
	EventRevoked = "revoked"
)

// Event is the result of an order. A NAME may have served several sets of addresses, so each
// event has its own.
type Event struct {
	Time   time.Time `json:"time"`
	What   string    `json:"what"`
	Emails []string  `json:"emails"`
	Server string    `json:"server"`
	Serial string    `json:"serial,omitempty"`
	Reason string    `json:"reason,omitempty"` // one printable line
}

// History is certs/.history/NAME.json, the oldest event first.
type History struct {
	Version int     `json:"version"`
	Events  []Event `json:"events"`
}

func (d *Disk) historyPath(name string) string { return d.Path("certs", historyDir, name+".json") }

// Record adds an event to the history of a NAME. It records the same event of the same
// certificate once, since a run that resumes after a kill repeats it. It replaces a damaged
// history by a new one.
func (d *Disk) Record(name string, e Event) error {
	path := d.historyPath(name)
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	unlock, err := Lock(filepath.Join(dir, ".lock-"+name))
	if err != nil {
		return err
	}
	defer unlock()
	h, err := readHistory(path)
	if state.Newer(err) != nil {
		return err
	}
	if err != nil {
		h = new(History)
	}
	same := func(old Event) bool { return e.Serial != "" && old.Serial == e.Serial && old.What == e.What }
	if slices.ContainsFunc(h.Events, same) {
		return nil
	}
	h.Version, h.Events = Version, append(h.Events, e)
	h.Events = h.Events[max(0, len(h.Events)-maxHistory):]
	return Write(path, h)
}

func readHistory(path string) (*History, error) {
	return Read(path, func(h *History) bool { return h.Version == Version })
}

// Histories reads all histories, by NAME, and calls damaged for those that it cannot read.
func (d *Disk) Histories(damaged func(name string, err error)) map[string]*History {
	names, err := Names(d.Path("certs", historyDir))
	if err != nil {
		damaged(historyDir, err)
	}
	histories, errs := make([]*History, len(names)), make([]error, len(names))
	parallel(len(names), func(n int) { histories[n], errs[n] = readHistory(d.historyPath(names[n])) })
	all := map[string]*History{}
	for n, name := range names {
		if errs[n] != nil {
			damaged(name, errs[n])
		} else {
			all[name] = histories[n]
		}
	}
	return all
}

// sweepHistories removes old ones. A file that it cannot remove does no harm.
func (d *Disk) sweepHistories() {
	names, _ := Names(d.Path("certs", historyDir))
	for _, name := range names {
		info, err := os.Stat(d.historyPath(name))
		if err == nil && d.Now().Sub(info.ModTime()) > historyKept {
			os.Remove(d.historyPath(name))
		}
	}
}

// runsDir has in certs/ how the last run of each command ended that a timer starts, for
// people and for those who watch: no run depends on it.
const runsDir = ".runs"

// The commands that timers start.
const (
	RunRenew  = "renew"
	RunEnroll = "enroll"
)

// Run is certs/.runs/COMMAND.json.
type Run struct {
	Version int       `json:"version"`
	Ended   time.Time `json:"ended"`
	Status  int       `json:"status"` // its exit status
}

func (d *Disk) runPath(command string) string { return d.Path("certs", runsDir, command+".json") }

// RecordRun notes the end of a run. Where there is no certs/ yet, nothing has to be watched.
func (d *Disk) RecordRun(command string, r Run) error {
	path := d.runPath(command)
	err := os.Mkdir(filepath.Dir(path), 0o700)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil && !errors.Is(err, fs.ErrExist):
		return err
	}
	r.Version = Version
	return Write(path, r)
}

// LastRun returns how the last run of a command ended, nil if none has.
func (d *Disk) LastRun(command string) (*Run, error) {
	return orNone(Read(d.runPath(command), func(r *Run) bool { return r.Version == Version }))
}
