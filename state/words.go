package state

import (
	"errors"
	"io/fs"
)

// SystemDir is the state directory of a whole mail server.
const SystemDir = "/var/lib/postseal"

// The legal values of settings for one CA that both halves read; the default is first. The
// flags of the same names take the same words.
var (
	TokenJoins = []string{"auto", "string", "bytes"}
	Triggers   = []string{"auto", "reply", "post"}
	Compats    = []string{"certbot", "serial"} // none by default
)

// Cause drops the path from a file error, for a text that names the file itself.
func Cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
