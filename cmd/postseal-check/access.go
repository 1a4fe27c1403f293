package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"postseal/state"
)

// identity is a user of the system as permission bits see it. It ignores access lists.
type identity struct {
	name string
	uid  int
	gids []int // the first is the user's own group
}

func lookUpUser(name string) (*identity, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	id := &identity{name: u.Username}
	if id.uid, err = strconv.Atoi(u.Uid); err != nil {
		return nil, err
	}
	groups, _ := u.GroupIds() // without them, the user's own group remains
	for _, g := range slices.Concat([]string{u.Gid}, groups) {
		if gid, err := strconv.Atoi(g); err == nil && !slices.Contains(id.gids, gid) {
			id.gids = append(id.gids, gid)
		}
	}
	return id, nil
}

// group returns the name of the user's own group.
func (id *identity) group() string { return groupName(uint32(id.gids[0])) }

// mailUser returns the mail half's user, or nil if that does not exist. If the user who asks
// is not root and has a state directory in his home, that user is the mail half, from his own
// procmail or sieve.
func (c *checker) mailUser() *identity {
	name := c.MailUser
	if name == "" {
		name = state.Group
		home, err := filepath.EvalSymlinks(os.Getenv("HOME"))
		if err == nil && os.Geteuid() != 0 && strings.HasPrefix(c.State, home+"/") {
			if u, err := user.Current(); err == nil {
				name = u.Username
			}
		}
	}
	id, _ := lookUpUser(name)
	return id
}

// The rights to a file, as in the last three bits of a mode.
const (
	mayRead   fs.FileMode = 4
	mayWrite  fs.FileMode = 2
	maySearch fs.FileMode = 1
)

// may reports whether the permission bits give the user all rights in want.
func (id *identity) may(info fs.FileInfo, want fs.FileMode) bool {
	bits := info.Mode().Perm()
	switch {
	case int(stat(info).Uid) == id.uid:
		bits >>= 6
	case slices.Contains(id.gids, int(stat(info).Gid)):
		bits >>= 3
	}
	return id.uid == 0 || bits&want == want
}

// blocked returns the path that keeps the user from path: the topmost such directory above
// it, or path itself; "" if nothing does.
func (id *identity) blocked(path string, want fs.FileMode) (at string, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	for dir := path; ; dir, want = filepath.Dir(dir), maySearch {
		info, statErr := os.Stat(dir)
		switch {
		case statErr != nil:
			err = statErr
		case !id.may(info, want):
			at, err = dir, nil
		}
		if dir == "/" {
			return at, err
		}
	}
}

// describe writes a file as "ls -l" does: path, owner, group, mode.
func describe(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Sprintf("%s: %v", path, state.Cause(err))
	}
	return fmt.Sprintf("%s is %s:%s %04o", path, userName(stat(info).Uid), groupName(stat(info).Gid), modeBits(info.Mode()))
}

// stat returns the part of a FileInfo that only Unix has.
func stat(info fs.FileInfo) *syscall.Stat_t { return info.Sys().(*syscall.Stat_t) }

func userName(uid uint32) string {
	id := strconv.Itoa(int(uid))
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

func groupName(gid uint32) string {
	id := strconv.Itoa(int(gid))
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}

// modeBits returns a mode in the form that chmod takes.
func modeBits(mode fs.FileMode) fs.FileMode {
	bits := mode.Perm()
	for _, special := range []struct{ is, bit fs.FileMode }{
		{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000},
	} {
		if mode&special.is != 0 {
			bits |= special.bit
		}
	}
	return bits
}

// me returns the name of the user who runs this program.
func me() string { return userName(uint32(os.Geteuid())) }
