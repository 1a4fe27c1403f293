package issuer

import (
	"fmt"

	"postseal/state"
)

// notOurs returns the error for a file that is no record of this version; err says
// why it cannot be decoded, if that is so.
//
// A record of a newer version ends what was asked for (see state.NewerError): to go on
// without it would mean to order again what is there, or not to renew it.
func notOurs(path string, data []byte, err error) error {
	version := state.VersionOf(data)
	switch {
	case version > fileVersion:
		return &state.NewerError{Path: path, Version: version}
	case err != nil:
		return fmt.Errorf("%s: no whole record: %w", path, err)
	case version == fileVersion:
		return fmt.Errorf("%s: the addresses are missing", path)
	}
	return fmt.Errorf("%s: version %d, and this is postseal for version %d", path, version, fileVersion)
}
