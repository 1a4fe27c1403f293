package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
)

// Group is the group whose members are the mail half.
const Group = "postseal"

// subdirs are the directories of a state directory. The modes are written with
// os.ModeSetgid and os.ModeSticky because os.Chmod ignores the octal bits.
var subdirs = []struct {
	name   string
	mode   fs.FileMode
	shared bool // belongs to the group of the mail half
}{
	{"accounts", 0o700, false},
	{"orders", 0o700, false},
	{"certs", 0o700, false},
	{"pending", os.ModeSetgid | 0o750, true},
	{"answers", os.ModeSetgid | os.ModeSticky | 0o770, true},
}

// Create makes what is missing of the state directory, for the issuing half, and
// sets the modes of what it made whatever the umask. The shared directories go to
// the group "postseal". Where it does not exist or cannot be given, they keep the
// caller's own group and note says so; it is "" when nothing was made.
func (d *Dir) Create() (note string, err error) {
	gid, why := mailGroup()
	made, err := makeDir(d.path, 0o750, true, gid)
	if err != nil {
		return "", err
	}
	for _, sub := range subdirs {
		m, err := makeDir(d.Path(sub.name), sub.mode, sub.shared, gid)
		if err != nil {
			return "", err
		}
		made = made || m
	}
	if made {
		note = why
		err = d.syncMade()
	}
	return note, err
}

// syncMade makes the directories survive a power cut, once, for what is promised in them.
func (d *Dir) syncMade() error {
	_ = SyncDir(filepath.Dir(filepath.Clean(d.path))) // which may be somebody's whom we may not read
	return SyncDir(d.path)
}

// CreatePrivate makes what is missing of a state directory that is the issuing
// half's alone, because the mail half has another Store.
func (d *Dir) CreatePrivate() error {
	made, err := makeDir(d.path, 0o750, false, -1)
	if err != nil {
		return err
	}
	for _, sub := range subdirs {
		if sub.shared {
			continue
		}
		m, err := makeDir(d.Path(sub.name), sub.mode, false, -1)
		if err != nil {
			return err
		}
		made = made || m
	}
	if made {
		return d.syncMade()
	}
	return nil
}

// mailGroup returns the id of the group "postseal", or -1 and why not.
func mailGroup() (gid int, why string) {
	g, err := user.LookupGroup(Group)
	if err != nil {
		return -1, fmt.Sprintf("there is no group %q: only this user's own group can answer challenges", Group)
	}
	if gid, err = strconv.Atoi(g.Gid); err != nil {
		return -1, fmt.Sprintf("group %q has no numeric id", Group)
	}
	if os.Getuid() != 0 && !member(gid) {
		return -1, fmt.Sprintf("this user is not in group %q: only its own group can answer challenges", Group)
	}
	return gid, ""
}

func member(gid int) bool {
	groups, _ := os.Getgroups()
	for _, g := range append(groups, os.Getegid()) {
		if g == gid {
			return true
		}
	}
	return false
}

// makeDir makes one directory with its mode and group, and tells whether it did.
// An existing one is left as the admin made it. A new one gets its name only
// when it is complete, so that nobody can be in between.
func makeDir(path string, mode fs.FileMode, shared bool, gid int) (made bool, err error) {
	if info, err := os.Stat(path); err == nil {
		if !info.IsDir() {
			return false, &fs.PathError{Op: "open", Path: path, Err: errors.New("is not a directory")}
		}
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return false, named(path, err)
	}
	defer os.Remove(tmp)
	if shared && gid >= 0 {
		if err := os.Chown(tmp, -1, gid); err != nil {
			return false, err
		}
	}
	if err := os.Chmod(tmp, mode); err != nil {
		return false, err
	}
	if err := os.Rename(tmp, path); err != nil {
		// Somebody else made it meanwhile and it has content already.
		if _, statErr := os.Stat(path); statErr == nil {
			return false, nil
		}
		return false, err
	}
	return true, nil
}

// named gives a file error the name that the user knows.
func named(path string, err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return &fs.PathError{Op: "create", Path: path, Err: pathErr.Err}
	}
	return err
}
