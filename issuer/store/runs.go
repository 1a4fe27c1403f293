package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

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
