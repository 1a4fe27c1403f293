package cli

import (
	"os"
	"path/filepath"
	"strings"
)

// SystemState is the state directory of a whole mail server.
const SystemState = "/var/lib/postseal"

// DefaultState returns the state directory of the issuing half when none is
// configured: the system's for root, else one below the XDG state directory.
func DefaultState() string {
	if os.Geteuid() == 0 {
		return SystemState
	}
	return userState()
}

// DefaultMailState returns the state directory of the mail half when none is
// configured. It runs as a user of its own on a mail server, and as oneself from
// one's own procmail or sieve: one's own directory counts where it exists.
func DefaultMailState() string {
	if own := userState(); os.Geteuid() != 0 && own != "" {
		if _, err := os.Stat(own); err == nil {
			return own
		}
	}
	return SystemState
}

func userState() string {
	base := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(base) {
		home, err := os.UserHomeDir()
		if err != nil {
			return SystemState
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "postseal")
}

// CheckState refuses a --state that is a URL: taken for a path it would be a strange
// directory, and nobody would find out why no challenge is answered.
func CheckState(path string) error {
	if scheme, _, ok := strings.Cut(path, "://"); ok {
		return Config("give a directory; several hosts can share one over NFS 4", "--state: %s:// is not known to this version", scheme)
	}
	return nil
}
