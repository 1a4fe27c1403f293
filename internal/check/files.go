package check

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"postseal/state"
)

// filesPerDir bounds how many files of a directory are looked at.
const filesPerDir = 1000

// files reports whether the files in the state directory belong to whom they should. The
// directories may be right, and what is in them not: after "chown -R", or a copy.
func (c *checker) files(r *report, top fs.FileInfo, user *identity) bool {
	if user == nil || user.uid == os.Geteuid() {
		return true // the one user is both halves
	}
	before := len(r.found)
	for _, sub := range subdirs {
		wrong, count, example := 0, 0, ""
		for path, info := range someFiles(filepath.Join(c.State, sub.name)) {
			count++
			if bad := wrongOwner(top, info, user); sub.shared != 0 && !user.may(info, mayRead) || sub.shared == 0 && bad {
				wrong, example = wrong+1, path
			}
		}
		switch {
		case wrong == 0:
		case sub.shared != 0:
			r.fail(c.repair(top, user), "the mail half (user %s) cannot read %d of %d files in %s, for example: %s",
				user.name, wrong, count, filepath.Join(c.State, sub.name), describe(example))
		default:
			r.fail(c.repair(top, user), "%d of %d files in %s belong to somebody else than the issuing half, for example: %s",
				wrong, count, filepath.Join(c.State, sub.name), describe(example))
		}
	}
	return len(r.found) == before
}

// wrongOwner reports whether a file of the issuing half alone belongs to another user
// than the state directory, or to the mail half, which must not reach a key.
func wrongOwner(top, info fs.FileInfo, user *identity) bool {
	a, ok := top.Sys().(*syscall.Stat_t)
	b, isStat := info.Sys().(*syscall.Stat_t)
	return ok && isStat && (a.Uid != b.Uid || user.uid != 0 && int(b.Uid) == user.uid)
}

// repair is the one command that gives everything back to whom it belongs.
func (c *checker) repair(top fs.FileInfo, user *identity) string {
	owner := "root"
	if stat, ok := top.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != user.uid {
		owner = userName(stat.Uid)
	}
	group := groupName(uint32(user.gids[0]))
	if user.name == state.Group {
		group = state.Group
	}
	return fmt.Sprintf("run: chown -R %s:%s %s && cd %[3]s && chmod -R g+r pending answers && find answers -type f -exec chown %s {} +",
		owner, group, c.State, user.name)
}

// someFiles goes over regular files in a directory and those of its directories, each
// bounded. Links are not followed, and nothing is opened but directories.
func someFiles(dir string) func(yield func(string, fs.FileInfo) bool) {
	return func(yield func(string, fs.FileInfo) bool) { walkSome(dir, 2, yield) }
}

func walkSome(dir string, depth int, yield func(string, fs.FileInfo) bool) bool {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return true // said elsewhere
	}
	defer f.Close()
	entries, _ := f.ReadDir(filesPerDir)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		info, err := e.Info()
		switch {
		case err != nil:
		case info.IsDir() && depth > 0:
			if !walkSome(path, depth-1, yield) {
				return false
			}
		case info.Mode().IsRegular() && !yield(path, info):
			return false
		}
	}
	return true
}
