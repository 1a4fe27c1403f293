package state

import (
	"encoding/json"
	"errors"
	"fmt"
)

// NewerError is a record that a newer postseal has written. It is not damaged, and
// what it says is not known here: its reader has to give up, not go on as if
// it were not there. An order made twice or a challenge answered twice would be the
// price.
//
// There is no file with the version of the whole directory, which could be missing or
// say something else than the records do. A version that lays the directory out in
// another way has to leave a record of its number where this one looks.
type NewerError struct {
	Path    string // of the file; "" where that is said already
	Version int
}

func (e *NewerError) Error() string {
	text := fmt.Sprintf("written by a newer postseal: version %d, and this is postseal for version %d", e.Version, Version)
	if e.Path != "" {
		text = e.Path + ": " + text
	}
	return text
}

// Newer returns the NewerError in the chain of err, nil if there is none.
func Newer(err error) *NewerError {
	var newer *NewerError
	if errors.As(err, &newer) {
		return newer
	}
	return nil
}

// VersionOf returns the version that a record says of itself, whatever else is in it;
// 0 if it says none.
func VersionOf(data []byte) int {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return 0
	}
	return head.Version
}

// unreadable returns the error for a file whose content is not a record of this version:
// damage, unless it is of a newer one.
func unreadable(path string, err error) error {
	if newer := Newer(err); newer != nil {
		return &NewerError{path, newer.Version}
	}
	return damage{err}
}
