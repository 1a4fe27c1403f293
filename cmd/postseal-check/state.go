package main

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

	"golang.org/x/sys/unix"

	"postseal/internal/printable"
	"postseal/state"
)

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
		r.unseen(c.State, err)
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

// modes reports whether the modes of the directory and its subdirectories are right.
func (c *checker) modes(r *report, top fs.FileInfo, user *identity) bool {
	before := len(r.found)
	shut := false // one command opens all that is shared
	if top.Mode().Perm()&0o027 != 0 {
		r.fail("run: chmod 750 "+printable.Word(c.State), "the state directory is too open: %s", describe(c.State))
	}
	for _, sub := range state.Subdirs {
		path := filepath.Join(c.State, sub.Name)
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			r.warn("\"postseal cert\" makes it", "%s does not exist", path)
		case err != nil:
			r.unseen(path, err)
		case !info.IsDir():
			r.fail("move it away", "%s is not a directory", path)
		default:
			mode(r, path, modeBits(info.Mode()), modeBits(sub.Mode))
			shut = shut || sub.Shared && c.shutTo(r, user, path, sub.Mode>>3)
			sameOwner(r, top, info, path)
		}
	}
	return len(r.found) == before
}

// mode compares a directory's mode with the right one. Extra bits let somebody in; without
// the set-group-ID or sticky bit, the mail half's users could remove each other's answers.
func mode(r *report, path string, have, want fs.FileMode) {
	hint := fmt.Sprintf("run: chmod %o %s", want, printable.Word(path))
	switch {
	case have&^want != 0:
		r.fail(hint, "%s is too open: mode %04o, not %04o", path, have, want)
	case have != want:
		r.warn(hint, "%s has mode %04o, not %04o", path, have, want)
	}
}

// shutTo reports a directory that the mail half cannot use, with the command that repairs all
// that it shares.
func (c *checker) shutTo(r *report, user *identity, path string, want fs.FileMode) bool {
	if user == nil {
		return false
	}
	at, err := user.blocked(path, want&0o7)
	if err != nil || at == "" {
		return false
	}
	r.fail(fmt.Sprintf("run: cd %s && chgrp %s . pending answers && chmod 750 . && chmod 2750 pending && chmod 3770 answers && find pending -name '*.json' -exec chgrp %[2]s {} +",
		printable.Word(c.State), user.group()), "the mail half (user %s) cannot use %s: %s", user.name, path, describe(at))
	return true
}

func sameOwner(r *report, top, sub fs.FileInfo, path string) {
	owner, other := stat(top).Uid, stat(sub).Uid
	if owner != other {
		r.fail("run: chown "+userName(owner)+" "+printable.Word(path), "%s belongs to %s, and the state directory to %s",
			path, userName(other), userName(owner))
	}
}

// filesPerDir bounds how many files of a directory are looked at.
const filesPerDir = 1000

// files reports whether the files in the state directory belong to the right users. They may
// be wrong although the directories are right: after "chown -R", or a copy.
func (c *checker) files(r *report, top fs.FileInfo, user *identity) bool {
	if user == nil || user.uid == os.Geteuid() {
		return true // one user is both halves
	}
	before := len(r.found)
	for _, sub := range state.Subdirs {
		wrong, count, example := 0, 0, ""
		for _, path := range someFiles(filepath.Join(c.State, sub.Name), 2) {
			info, err := os.Lstat(path)
			if err != nil {
				continue // the file is gone
			}
			count++
			theirs := int(stat(info).Uid) == user.uid // its owner may close it
			if sub.Shared && !theirs && !user.may(info, mayRead) || !sub.Shared && wrongOwner(top, info, user) {
				wrong, example = wrong+1, path
			}
		}
		switch {
		case wrong == 0:
		case sub.Shared:
			r.fail(c.repair(top, user), "the mail half (user %s) cannot read %d of %d files in %s, for example: %s",
				user.name, wrong, count, filepath.Join(c.State, sub.Name), describe(example))
		default:
			r.fail(c.repair(top, user), "%d of %d files in %s belong to somebody else than the issuing half, for example: %s",
				wrong, count, filepath.Join(c.State, sub.Name), describe(example))
		}
	}
	return len(r.found) == before
}

// wrongOwner reports whether a file that only the issuing half uses belongs to another user
// than the state directory does, or to the mail half, which must not reach a key.
func wrongOwner(top, info fs.FileInfo, user *identity) bool {
	owner := stat(info).Uid
	return owner != stat(top).Uid || user.uid != 0 && int(owner) == user.uid
}

// repair returns the one command that gives all files back to their owners. The mail half may
// write in answers/, so no command there may follow a link: not even chmod(1), which may look
// at a file and then change a link.
func (c *checker) repair(top fs.FileInfo, user *identity) string {
	owner := "root"
	if uid := stat(top).Uid; int(uid) != user.uid {
		owner = userName(uid)
	}
	group := user.group()
	if user.name == state.Group {
		group = state.Group
	}
	return fmt.Sprintf("run: chown -R %s:%s %s && cd %[3]s && chmod -R g+r pending && find answers -maxdepth 1 -type f -exec chown -h %s {} +",
		owner, group, printable.Word(c.State), user.name)
}

// someFiles returns regular files in a directory and its subdirectories, with a bound for
// each. It follows no links, and opens only directories.
func someFiles(dir string, depth int) (paths []string) {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil // another check says so
	}
	defer f.Close()
	entries, _ := f.ReadDir(filesPerDir)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir() && depth > 0:
			paths = append(paths, someFiles(path, depth-1)...)
		case e.Type().IsRegular():
			paths = append(paths, path)
		}
	}
	return paths
}

// privateFiles looks for keys that others may read.
func (c *checker) privateFiles(r *report) {
	for _, pattern := range []string{"accounts/*/*.pem", "certs/*/privkey.pem", "certs/*/cert.p12", "certs/*/passphrase"} {
		paths, _ := filepath.Glob(filepath.Join(c.State, pattern))
		for _, path := range paths {
			if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o007 != 0 { // a group may be intended
				r.fail("run: chmod 600 "+printable.Word(path), "others may use a secret: %s", describe(path))
			}
		}
	}
}

// mostAnswers bounds how many answers are read to find damaged ones.
const mostAnswers = 1000

// leftovers counts pending records and names files that should not be there.
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
		return // an earlier check says so
	}
	all, err := store.All(time.Time{}) // including expired ones
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			r.unseen("pending records", err)
		}
		return
	}
	if _, err := store.Answers(mostAnswers); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.unseen("answers", err)
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

// Free space in bytes: enough for a while, and too little for a container and its records.
const (
	littleSpace = 64 << 20
	noSpace     = 4 << 20
)

// nfsMagic is the type of NFS on Linux (statfs(2)).
const nfsMagic = 0x6969

func (c *checker) fileSystem(r *report) {
	var st unix.Statfs_t
	if err := unix.Statfs(c.State, &st); err != nil {
		r.warn("", "free space of %s: %v", c.State, err)
		return
	}
	free := uint64(st.Bavail) * uint64(st.Bsize)
	switch {
	case free < noSpace || st.Files > 0 && st.Ffree == 0:
		r.fail("make room", "the file system of %s is full: %d MiB free", c.State, free>>20)
	case free < littleSpace:
		r.warn("make room", "%d MiB free for %s", free>>20, c.State)
	default:
		r.ok("%d MiB free", free>>20)
	}
	if st.Type == nfsMagic {
		r.warn("for several MX hosts that is as it must be; else a local disk is quicker",
			"%s is on NFS: changes are noticed by looking, after up to 5 s", c.State)
	}
}
