package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// Group is the group whose members are the mail half.
const Group = "postseal"

// Subdir is a directory of a state directory.
type Subdir struct {
	Name   string
	Mode   fs.FileMode
	Shared bool // belongs to the group of the mail half
}

// Subdirs are all of them. They have os.ModeSetgid and os.ModeSticky because os.Chmod ignores
// the octal bits.
var Subdirs = []Subdir{
	{"accounts", 0o700, false},
	{"orders", 0o700, false},
	{"certs", 0o700, false},
	{"pending", os.ModeSetgid | 0o750, true},
	{"answers", os.ModeSetgid | os.ModeSticky | 0o770, true},
}

// subdirs returns those that this directory has.
func (d *Dir) subdirs() []Subdir {
	return slices.DeleteFunc(slices.Clone(Subdirs), func(sub Subdir) bool { return sub.Shared && d.Private })
}

// Create makes the missing parts of the state directory for the issuing half, with exact
// modes whatever the umask. It gives the shared directories to the group "postseal". If that
// group does not exist or the caller may not use it, they keep the caller's own group and
// note says so. The note is "" if Create made nothing, and for a private directory.
func (d *Dir) Create() (note string, err error) {
	gid, why := mailGroup()
	if d.Private {
		gid, why = -1, ""
	}
	made, err := makeDir(d.path, 0o750, true, gid)
	if err != nil {
		return "", err
	}
	for _, sub := range d.subdirs() {
		m, err := makeDir(d.Path(sub.Name), sub.Mode, sub.Shared, gid)
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

// Missing returns the names of the directories that Create would make.
func (d *Dir) Missing() (names []string) {
	for _, sub := range d.subdirs() {
		if _, err := os.Stat(d.Path(sub.Name)); err != nil {
			names = append(names, sub.Name)
		}
	}
	return names
}

// syncMade makes new directories survive a power cut, once, so that later promises in them
// hold.
func (d *Dir) syncMade() error {
	_ = SyncDir(filepath.Dir(filepath.Clean(d.path))) // fails if the parent is not ours to read
	return SyncDir(d.path)
}

// mailGroup returns the id of the group "postseal", or -1 and why not.
func mailGroup() (gid int, why string) {
	g, err := user.LookupGroup(Group)
	if err != nil {
		return -1, fmt.Sprintf("there is no group %q: only this user's own group can answer challenges; \"postseal init\" as root makes it and puts this directory right", Group)
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

// makeDir makes one directory with its mode and group, and reports whether it did. It leaves
// an existing one as the admin made it. A new one gets its name only when it is complete, so
// that nobody can step in between.
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
		// Somebody else made it meanwhile, and it has content already.
		if _, statErr := os.Stat(path); statErr == nil {
			return false, nil
		}
		return false, err
	}
	return true, nil
}

// named replaces the path in a file error by the name that the user knows.
func named(path string, err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return &fs.PathError{Op: "create", Path: path, Err: pathErr.Err}
	}
	return err
}

// Misplaced returns the shared directories and pending records that the mail half cannot use:
// their group is their owner's or root's because the group "postseal" did not exist when they
// were made, or a directory has other modes than Create gives. A group that somebody chose
// counts as right. Misplaced returns nothing for a private directory, and nothing to users
// other than root, who alone can repair this.
func (d *Dir) Misplaced() []string {
	if d.Private || os.Getuid() != 0 {
		return nil
	}
	gid, _ := mailGroup()
	var wrong []string
	for path, mode := range d.shared() {
		info, err := os.Lstat(path)
		if err != nil || info.Mode().IsDir() != (mode&fs.ModeDir != 0) {
			continue
		}
		const bits = fs.ModePerm | fs.ModeSetgid | fs.ModeSticky
		if unchosenGroup(info, gid) || mode&fs.ModeDir != 0 && (info.Mode()^mode)&bits != 0 {
			wrong = append(wrong, path)
		}
	}
	slices.Sort(wrong)
	return wrong
}

// Repair gives all that is Misplaced the group of the mail half and the right mode.
func (d *Dir) Repair() error {
	misplaced := d.Misplaced()
	if len(misplaced) == 0 {
		return nil // such as a user's own directory
	}
	gid, why := mailGroup()
	if why != "" {
		return errors.New(why)
	}
	modes := d.shared()
	for _, path := range misplaced {
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if unchosenGroup(info, gid) {
			if err := os.Lchown(path, -1, gid); err != nil {
				return err
			}
		}
		if mode := modes[path]; mode.IsDir() { // after chown, which clears bits
			if err := os.Chmod(path, mode&^fs.ModeDir); err != nil {
				return err
			}
		}
	}
	return nil
}

// shared returns the paths that the mail half uses, with the modes of directories. It leaves
// out the content of answers/, which is the mail half's own.
func (d *Dir) shared() map[string]fs.FileMode {
	all := map[string]fs.FileMode{d.path: fs.ModeDir | 0o750}
	for _, sub := range Subdirs {
		if sub.Shared {
			all[d.Path(sub.Name)] = fs.ModeDir | sub.Mode
		}
	}
	records, _ := filepath.Glob(d.Path("pending", "*.json"))
	for _, path := range records {
		all[path] = 0
	}
	return all
}

// unchosenGroup reports whether a file has its owner's default group instead of the mail
// half's.
func unchosenGroup(info fs.FileInfo, mail int) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(s.Gid) == mail {
		return false
	}
	owner, err := user.LookupId(strconv.Itoa(int(s.Uid)))
	return s.Gid == 0 || err == nil && owner.Gid == strconv.Itoa(int(s.Gid))
}
