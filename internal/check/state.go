package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"postseal/state"
)

// subdirs are the directories of a state directory and their modes, as chmod takes
// them. Package state makes them so.
var subdirs = []struct {
	name   string
	mode   fs.FileMode
	shared fs.FileMode // what the mail half needs there; 0: nothing
}{
	{"accounts", 0o700, 0},
	{"orders", 0o700, 0},
	{"certs", 0o700, 0},
	{"pending", 0o2750, mayRead | maySearch},
	{"answers", 0o3770, mayRead | mayWrite | maySearch},
}

// checkState looks at the state directory.
func (c *checker) checkState(ctx context.Context, r *report) {
	if c.Redis != "" {
		c.checkRedis(ctx, r)
		return
	}
	info, err := os.Stat(c.State)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.warn("the first \"postseal cert\" makes it; systemd-tmpfiles does where the units are installed",
			"%s does not exist yet: no challenge can be answered", c.State)
		c.mailUserExists(r)
		return
	case err != nil:
		r.warn("run this as root", "%s cannot be looked at by %s: %v", c.State, me(), cause(err))
		return
	case !info.IsDir():
		r.fail("give a directory with --state DIR", "%s is not a directory", c.State)
		return
	}
	user := c.mailUserExists(r)
	if before := len(r.found); c.modes(r, info, user) && c.files(r, info, user) && len(r.found) == before {
		r.ok("%s, with the right owners, groups and modes", describe(c.State))
	}
	c.privateFiles(r)
	c.leftovers(r)
	c.fileSystem(r)
}

func (c *checker) mailUserExists(r *report) *identity {
	user := c.mailUser()
	switch {
	case user != nil:
	case c.MailUser != "":
		r.fail("correct --mail-user", "there is no user %q", c.MailUser)
	default:
		r.warn("run: useradd --system --user-group --no-create-home postseal",
			"there is no user %q: only the owner's own group can answer challenges", state.Group)
	}
	return user
}

// modes reports whether nothing is wrong with the directory and those in it.
func (c *checker) modes(r *report, top fs.FileInfo, user *identity) bool {
	before := len(r.found)
	shut := false // one command opens all that is shared
	if top.Mode().Perm()&0o027 != 0 {
		r.fail("run: chmod 750 "+c.State, "the state directory is too open: %s", describe(c.State))
	}
	for _, sub := range subdirs {
		path := filepath.Join(c.State, sub.name)
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			r.warn("\"postseal cert\" makes it", "%s does not exist", path)
		case err != nil:
			r.warn("run this as root", "%s cannot be looked at by %s: %v", path, me(), cause(err))
		case !info.IsDir():
			r.fail("move it away", "%s is not a directory", path)
		default:
			c.mode(r, path, info, sub.mode)
			shut = shut || c.shutTo(r, user, path, sub.shared)
			sameOwner(r, top, info, path)
		}
	}
	return len(r.found) == before
}

// mode compares a directory's mode with what it should be. Bits too many let
// somebody in; a missing set-group-ID or sticky bit lets the mail half's users
// remove each other's answers.
func (c *checker) mode(r *report, path string, info fs.FileInfo, want fs.FileMode) {
	have := modeBits(info.Mode())
	hint := fmt.Sprintf("run: chmod %o %s", want, path)
	switch {
	case have&^want != 0:
		r.fail(hint, "%s is too open: mode %04o, not %04o", path, have, want)
	case have != want:
		r.warn(hint, "%s has mode %04o, not %04o", path, have, want)
	}
}

// shutTo reports a directory that the mail half cannot use, with the command that puts
// right all that it shares.
func (c *checker) shutTo(r *report, user *identity, path string, want fs.FileMode) bool {
	if user == nil || want == 0 {
		return false
	}
	at, err := user.blocked(path, want)
	if err != nil || at == "" {
		return false
	}
	r.fail(fmt.Sprintf("run: cd %s && chgrp %s . pending answers && chmod 750 . && chmod 2750 pending && chmod 3770 answers && find pending -name '*.json' -exec chgrp %[2]s {} +",
		c.State, groupName(uint32(user.gids[0]))), "the mail half (user %s) cannot use %s: %s", user.name, path, describe(at))
	return true
}

func sameOwner(r *report, top, sub fs.FileInfo, path string) {
	a, ok := top.Sys().(*syscall.Stat_t)
	b, isStat := sub.Sys().(*syscall.Stat_t)
	if ok && isStat && a.Uid != b.Uid {
		r.fail("run: chown "+userName(a.Uid)+" "+path, "%s belongs to %s, and the state directory to %s",
			path, userName(b.Uid), userName(a.Uid))
	}
}

// privateFiles looks for keys that others may read.
func (c *checker) privateFiles(r *report) {
	for _, pattern := range []string{"accounts/*/*.pem", "certs/*/privkey.pem", "certs/*/cert.p12", "certs/*/passphrase"} {
		paths, _ := filepath.Glob(filepath.Join(c.State, pattern))
		for _, path := range paths {
			if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o007 != 0 { // a group may be meant to
				r.fail("run: chmod 600 "+path, "others may use a secret: %s", describe(path))
			}
		}
	}
}

// mostAnswers bounds how many answers are read to find the damaged among them.
const mostAnswers = 1000

// leftovers counts what waits and names what should not be there.
func (c *checker) leftovers(r *report) {
	var damaged, newer []string
	store, err := c.store(func(path string, err error) {
		if state.Newer(err) != nil {
			newer = append(newer, path)
			return
		}
		damaged = append(damaged, path+" ("+err.Error()+")")
	})
	if err != nil {
		return // said before
	}
	all, err := store.All(time.Time{}) // expired ones too
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			r.warn("run this as root", "pending records cannot be looked at by %s: %v", me(), cause(err))
		}
		return
	}
	if _, err := store.Answers(mostAnswers); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.warn("run this as root", "answers cannot be looked at by %s: %v", me(), cause(err))
	}
	if len(newer) > 0 {
		slices.Sort(newer)
		r.fail("install that postseal again, both halves", "written by a newer postseal, and of no use to this one: %s", strings.Join(slices.Compact(newer), ", "))
	}
	slices.Sort(damaged)
	for _, file := range slices.Compact(damaged) {
		r.warn("move it away; if an order waits for it, run the order again", "damaged file: %s", file)
	}
	waiting, expired := 0, 0
	for _, p := range all {
		if p.Expires.IsZero() || c.now().Before(p.Expires) {
			waiting++
		} else {
			expired++
		}
	}
	if expired > 0 {
		r.warn("the next \"postseal cert\" or \"postseal renew\" removes them",
			"%d expired records in pending: the milter looks at every mail because of them", expired)
	}
	orders, _ := filepath.Glob(filepath.Join(c.State, "orders", "[^.]*.json"))
	r.ok("%d orders in flight, %d challenges waited for", len(orders), waiting)
}

// Free space that is enough for a while, and that is not for a container and its
// records.
const (
	littleSpace = 64 << 20
	noSpace     = 4 << 20
)

func (c *checker) fileSystem(r *report) {
	space, err := spaceOf(c.State)
	switch {
	case err != nil:
		r.warn("", "free space of %s: %v", c.State, err)
		return
	case space.free < noSpace || space.fullOfFiles:
		r.fail("make room", "the file system of %s is full: %d MiB free", c.State, space.free>>20)
	case space.free < littleSpace:
		r.warn("make room", "%d MiB free for %s", space.free>>20, c.State)
	default:
		r.ok("%d MiB free", space.free>>20)
	}
	if space.nfs {
		r.warn("for several MX hosts that is as it must be; else a local disk is quicker",
			"%s is on NFS: changes are noticed by looking, after up to 5 s", c.State)
	}
}
