// Package store is the issuer's disk: accounts/, orders/ and certs/ of the state directory.
// It holds orders in flight, certificates and their former generations, the keys that must
// never be certified again, and the locks that keep two processes apart. Package issuer lists
// the files and when each exists.
package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"postseal/internal/failure"
	"postseal/state"
)

// Version is the version of the files in orders/, accounts/ and certs/.
const Version = state.Version

// Disk is the issuer's part of a state directory.
type Disk struct {
	*state.Dir
	Now func() time.Time
}

// CertDir returns the directory of a certificate.
func (d *Disk) CertDir(name string) string { return d.Path("certs", name) }

// Error returns the error of a file of the state directory.
func Error(path string, err error) error {
	if newer := state.Newer(err); newer != nil {
		return failure.Config(failure.NewerPostseal, "%w", newer)
	}
	hint, short := stateHint(err)
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err, path = pathErr.Err, pathErr.Path
	}
	if short {
		return failure.Failed(hint, "state directory: %q: %v", path, err)
	}
	return failure.Config(hint, "state directory: %q: %v", path, err)
}

// stateHint returns the next step for an error of the state directory, and whether the
// machine is short of something, so that another directory would not help.
func stateHint(err error) (hint string, short bool) {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "make room on that file system, then run the same command again", true
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return failure.FewerOrders, true
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.ESTALE):
		return "look at that disk: the kernel's log says more", true
	case errors.Is(err, syscall.EROFS):
		return failure.MountState, false
	}
	return failure.OtherState, false
}

// Read reads a record. It refuses one that is not whole after decoding.
func Read[T any](path string, whole func(*T) bool) (*T, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	record := new(T)
	if err := json.Unmarshal(data, record); err != nil || !whole(record) {
		return nil, notOurs(path, data, err)
	}
	return record, nil
}

// orNone turns a record that does not exist into nil.
func orNone[T any](record *T, err error) (*T, error) {
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return record, err
}

// Names returns the names of the records in a directory, and none if there is no such directory.
func Names(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".json"); ok && e.Name()[0] != '.' {
			names = append(names, name)
		}
	}
	return names, nil
}

// notOurs returns the error for a file that is not a record of this version; err says why it
// does not decode, if that is the reason.
//
// A record of a newer version ends the request (see state.NewerError): to go on without it
// would mean to order again what exists, or not to renew it.
func notOurs(path string, data []byte, err error) error {
	version := state.VersionOf(data)
	switch {
	case version > Version:
		return &state.NewerError{Path: path, Version: version}
	case err != nil:
		return fmt.Errorf("%s: no whole record: %w", path, err)
	case version == Version:
		return fmt.Errorf("%s: the addresses are missing", path)
	}
	return fmt.Errorf("%s: version %d, and this is postseal for version %d", path, version, Version)
}

// Write writes a record.
func Write(path string, record any) error {
	data, err := marshal(record)
	if err != nil {
		return err
	}
	return state.WriteFile(path, data, 0o600)
}

func marshal(record any) ([]byte, error) {
	data, err := json.MarshalIndent(record, "", "  ")
	return append(data, '\n'), err
}

// Exists reports whether a name exists, even as a dangling link.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
