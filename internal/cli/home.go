package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// UserConfig returns the path of a user's own configuration file: postseal/postseal.toml
// below the XDG configuration directory. It is "" for root, and for a user without a home of
// his own.
func UserConfig() string {
	return own("XDG_CONFIG_HOME", ".config", filepath.Join("postseal", filepath.Base(DefaultConfig)))
}

// userState returns the path of a user's own state directory, "" as for UserConfig.
func userState() string {
	return own("XDG_STATE_HOME", filepath.Join(".local", "state"), "postseal")
}

// own is the one way from the environment to a file: name below the directory that variable
// holds, or below rest in HOME. The caller sets these variables, and may be another user
// (sudo can be told to keep HOME); so the path counts only if it is this user's: its existing
// part belongs to the user, and all above that to the user or root, so that nobody else can
// replace it later. For the same reason own returns it without links.
func own(variable, rest, name string) string {
	base := os.Getenv(variable)
	if !filepath.IsAbs(base) {
		base = filepath.Join(os.Getenv("HOME"), rest)
	}
	if !filepath.IsAbs(base) || os.Geteuid() == 0 {
		return ""
	}
	path, missing := filepath.Join(base, name), ""
	for {
		there, err := filepath.EvalSymlinks(path)
		switch {
		case err == nil && ownedBy(there, os.Geteuid()) && safeAbove(there):
			return filepath.Join(there, missing)
		case !errors.Is(err, fs.ErrNotExist):
			return ""
		}
		if _, err := os.Lstat(path); err == nil {
			return "" // a dangling link
		}
		path, missing = filepath.Dir(path), filepath.Join(filepath.Base(path), missing)
	}
}

// safeAbove reports whether each directory above path, which has no links in it, belongs to
// this user or root.
func safeAbove(path string) bool {
	for path != "/" {
		path = filepath.Dir(path)
		if !ownedBy(path, 0) && !ownedBy(path, os.Geteuid()) {
			return false
		}
	}
	return true
}

func ownedBy(path string, uid int) bool {
	info, err := os.Lstat(path)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == uid
}
