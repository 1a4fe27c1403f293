package mta

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// User is a user of the system that exists for one test: procmail delivers to
// such users, and reads its recipes from their home directories.
type User struct {
	Name     string
	UID, GID int
	Home     string
}

// NewUser makes a user who is gone, with all its files, when the test ends.
func NewUser(t testing.TB) *User {
	t.Helper()
	needRoot(t)
	Need(t, "useradd", "userdel")
	dir, err := tempDir("postseal-home-")
	if err != nil {
		t.Fatal(err)
	}
	u := &User{Name: "ps" + strings.ToLower(rand.Text()[:8]), Home: filepath.Join(dir, "home")}
	release, err := startGuard(`PATH=$PATH:/usr/sbin; userdel "$1"; rm -rf "$2" "/var/mail/$1"`, u.Name, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		endProcesses(t, u.Home) // procmail does not wait for all that it starts
		u.remove(t)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
		release()
	})
	u.add(t)
	return u
}

func (u *User) add(t testing.TB) {
	t.Helper()
	out, err := run("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", u.Home, "--shell", "/bin/sh", u.Name)
	if err != nil {
		t.Fatalf("useradd %s: %v\n%s", u.Name, err, out)
	}
	if u.UID, u.GID, err = ids(u.Name); err != nil {
		t.Fatal(err)
	}
	if err := mkdirFor(u.Name, u.Home); err != nil {
		t.Fatal(err)
	}
}

func (u *User) remove(t testing.TB) {
	if out, err := run("userdel", u.Name); err != nil {
		t.Errorf("userdel %s: %v\n%s", u.Name, err, out)
	}
	os.Remove(filepath.Join("/var/mail", u.Name)) // procmail may have made it
}

// WriteFile writes a file in the user's home directory that belongs to the user.
// Procmail reads no recipes that others may write.
func (u *User) WriteFile(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(u.Home, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, u.UID, u.GID); err != nil {
		t.Fatal(err)
	}
	return path
}

// ownedBy reports whether a file belongs to the user with the number uid.
func ownedBy(info os.FileInfo, uid int) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == uid
}
