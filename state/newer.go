package state

import (
	"encoding/json"
	"errors"
	"fmt"
)

// NewerError is a record that a newer postseal has written. It is not damaged, but this
// version does not know its meaning: its reader has to give up, not go on as if the record
// were missing. Otherwise an order could be made twice, or a challenge answered twice.
//
// No file holds the version of the whole directory: it could be missing, or contradict the
// records. A version with another layout has to leave a record of its number where this one
// looks.
type NewerError struct {
	Path    string // of the file; "" if the text around it has it already
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

// VersionOf returns the version that a record declares, whatever else it contains, or 0.
func VersionOf(data []byte) int {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return 0
	}
	return head.Version
}

// unreadable returns the error for a file that is not a record of this version: damage,
// unless the record is of a newer one.
func unreadable(path string, err error) error {
	if newer := Newer(err); newer != nil {
		return &NewerError{path, newer.Version}
	}
	return damage{err}
}
