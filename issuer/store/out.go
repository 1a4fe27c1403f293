package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"

	"postseal/internal/failure"
	"postseal/state"
)

// The rules for writing to a path that the admin named, or where the admin has put a link, a
// mount or rights of a group:
//
//  1. A rename replaces a regular file, and nothing else; nobody writes into an existing
//     file, so that no device or pipe receives a key, and no hard link leads elsewhere.
//  2. A symbolic link, at the end of the path or in the middle, is followed only if nobody
//     else can have made it. The owner of a directory may still make one between this look
//     and the writing.
//  3. Owner, group and the group's rights stay if they matter; others never get any.

// CheckOut refuses a file to which a container cannot be written: kind Usage. Callers ask
// before they order or write anything.
func CheckOut(path string) error {
	_, err := outTarget(path)
	return err
}

const outHint = "give the name of a file, new or regular"

// outTarget returns the file that path leads to.
func outTarget(path string) (string, error) {
	bad := func(format string, args ...any) (string, error) {
		return "", failure.Usage(outHint, "%q "+format, append([]any{path}, args...)...)
	}
	if err := checkAbove(path); err != nil {
		return "", err
	}
	link, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if dir, err := os.Stat(filepath.Dir(path)); err != nil || !dir.IsDir() {
			return bad("would be in a directory that does not exist")
		}
		return path, nil
	case err != nil:
		return bad("cannot be looked at: %w", errors.Unwrap(err))
	case link.Mode().IsRegular():
		return path, nil
	case link.Mode().Type() != fs.ModeSymlink:
		return bad("is %s", state.TypeOf(link.Mode()))
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return bad("leads to %s", state.TypeOf(info.Mode()))
	}
	target, err := followTrusted(path)
	if err != nil {
		return "", err
	}
	if dir, err := os.Stat(filepath.Dir(target)); err != nil || !dir.IsDir() {
		return bad("is a symbolic link that leads nowhere")
	}
	return target, nil
}

// followTrusted follows a symbolic link, and any further ones, as long as each is in a
// directory where nobody else can make one.
func followTrusted(path string) (string, error) {
	for range 40 { // as many as Linux follows
		if info, err := os.Lstat(path); err != nil || info.Mode().Type() != fs.ModeSymlink {
			return path, nil //nolint:nilerr // a new name
		}
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err == nil {
			dir, err = filepath.Abs(dir)
		}
		if err != nil {
			return "", failure.Usage(outHint, "%w", err)
		}
		if open := openTo(dir); open != "" {
			return "", failure.Usage("give the file that it leads to", "%q is a symbolic link, and others can make one there: they can write to %s", path, open)
		}
		to, err := os.Readlink(path)
		if err != nil {
			return "", failure.Usage(outHint, "%w", err)
		}
		if path = to; !filepath.IsAbs(to) {
			path = filepath.Join(dir, to)
		}
	}
	return "", failure.Usage(outHint, "%q leads in a circle", path)
}

// checkAbove refuses a path through a link that somebody else could have made.
func checkAbove(path string) error {
	for dir := filepath.Dir(path); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := followTrusted(dir); err != nil {
			return err
		}
	}
	return nil
}

// openTo returns the directory, dir or one above it, in which another user than this one and
// root can make or rename names; "" if nobody can. The sticky bit keeps others from renaming
// a directory, but not from making a link.
func openTo(dir string) string {
	for sticky := fs.FileMode(0); ; sticky = fs.ModeSticky {
		info, err := os.Stat(dir)
		if err != nil {
			return dir
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		theirs := ok && owner.Uid != 0 && int(owner.Uid) != os.Geteuid()
		open := info.Mode().Perm()&0o002 != 0 || info.Mode().Perm()&0o020 != 0 && ok && int(owner.Gid) != os.Getegid()
		if theirs || open && info.Mode()&sticky == 0 {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
		dir = filepath.Dir(dir)
	}
}

// CopyOut copies the container to the path that the admin chose.
func CopyOut(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return WriteOut(to, data)
}

// WriteOut writes a file for its owner alone to the path that the admin chose.
func WriteOut(to string, data []byte) error {
	target, err := outTarget(to)
	if err != nil {
		return err
	}
	if target == to {
		return state.WriteFile(to, data, 0o600)
	}
	return replaceFile(target, data)
}

// replaceFile replaces the content of a file of ours by a rename. Owner, group and the
// group's rights stay, others have none; a new file is 0600.
func replaceFile(path string, data []byte) error { return replaceAs(path, data, path, true) }

// replaceAs is replaceFile with the rights that keepAccess takes from old.
func replaceAs(path string, data []byte, old string, owner bool) error {
	t, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer t.Cleanup()
	if _, err := t.Write(data); err != nil {
		return err
	}
	if err := keepAccess(old, t.File, owner); err != nil {
		return err
	}
	return t.CloseAtomicallyReplace()
}

// keepAccess gives f, which only its owner may use, the group of the file or directory old
// and its group rights; with owner, the owner too. It leaves out what it cannot give, so that
// nobody gains rights. If old does not exist, f stays as it is.
func keepAccess(old string, f *os.File, owner bool) error {
	info, err := os.Lstat(old)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	was, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() && !info.Mode().IsRegular() {
		return nil
	}
	uid := -1
	if owner {
		uid = int(was.Uid)
	}
	if err := f.Chown(uid, int(was.Gid)); err != nil {
		return nil //nolint:nilerr // only root or a member of the group may: f stays the owner's alone
	}
	if err := copyACL(old, f); err != nil {
		return nil //nolint:nilerr // the group bits are then the mask of an access list that f lacks
	}
	mode := info.Mode().Perm()&0o770 | 0o600
	if info.IsDir() {
		mode |= 0o100 | info.Mode()&fs.ModeSetgid
	}
	return f.Chmod(mode)
}
