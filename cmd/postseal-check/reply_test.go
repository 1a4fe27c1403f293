package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// foreignMail are the things that the owner of a mailbox can put in place of mail. Each
// function makes one at a path; secret is a file that he may not read.
var foreignMail = map[string]func(path, secret string) error{
	"a named pipe": func(path, _ string) error { return syscall.Mkfifo(path, 0o666) },
	"a socket": func(path, _ string) error {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err == nil {
			l.SetUnlinkOnClose(false)
			l.Close()
		}
		return err
	},
	"a device": func(path, _ string) error {
		if os.Geteuid() != 0 { // only root can make one
			return os.Symlink("/dev/zero", path)
		}
		return syscall.Mknod(path, syscall.S_IFCHR|0o666, 1<<8|5) // the same
	},
	"a link to nothing":     func(path, _ string) error { return os.Symlink(path+"-nothing", path) },
	"a link to itself":      func(path, _ string) error { return os.Symlink(path, path) },
	"a link to a secret":    func(path, secret string) error { return os.Symlink(secret, path) },
	"a directory":           func(path, _ string) error { return os.Mkdir(path, 0o777) },
	"a sparse file of 1 GB": func(path, _ string) error { return sparse(path, 1<<30) },
	"a sparse file of 1 TB": func(path, _ string) error { return sparse(path, 1<<40) },
}

func sparse(path string, size int64) error {
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		return err
	}
	return os.Truncate(path, size)
}

const sentID = "<1@check.test>"

// The check finds the message in a Maildir beside whatever else arrives.
func TestForeignMaildir(t *testing.T) {
	dir := t.TempDir()
	secret := secretFile(t)
	for _, sub := range []string{"new", "cur"} {
		must(t, os.Mkdir(filepath.Join(dir, sub), 0o700))
	}
	plant := func(sub, prefix string) {
		for name, make := range foreignMail {
			must(t, make(filepath.Join(dir, sub, prefix+name), secret))
		}
	}
	plant("cur", "before ")
	b, err := openMailbox(dir)
	must(t, err)
	plant("new", "a ")
	if msg := b.look([]byte(sentID)); msg != nil {
		t.Fatalf("found %.100q", msg)
	}
	plant("new", "b ")
	want := []byte("Message-ID: " + sentID + "\n\nhello\n")
	must(t, os.WriteFile(filepath.Join(dir, "new", "z"), want, 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if msg, err := b.wait(ctx, sentID); err != nil || !bytes.Equal(msg, want) {
		t.Errorf("got %.100q, %v", msg, err)
	}
}

// Anything in the place of an mbox file is refused, or has no message; so is its later
// replacement.
func TestForeignMbox(t *testing.T) {
	for name, make := range foreignMail {
		t.Run(name, func(t *testing.T) {
			secret := secretFile(t)
			path := filepath.Join(t.TempDir(), "alice")
			must(t, make(path, secret))
			if b, err := openMailbox(path); err == nil {
				if msg := b.look([]byte(sentID)); msg != nil {
					t.Errorf("found %.100q", msg)
				}
			}
			must(t, os.RemoveAll(path))
			must(t, os.WriteFile(path, nil, 0o600))
			b, err := openMailbox(path)
			must(t, err)
			must(t, os.Remove(path))
			must(t, make(path, secret))
			if msg := b.look([]byte(sentID)); msg != nil {
				t.Errorf("found %.100q", msg)
			}
		})
	}
}

// secretFile would pass for the message.
func secretFile(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(path, []byte("From root\nMessage-ID: "+sentID+"\n\nSqueamish ossifrage\n\n"), 0o600))
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The directories of a Maildir are its owner's, too: a link there leads nowhere, and nobody
// waits for a pipe.
func TestForeignMaildirDirectories(t *testing.T) {
	elsewhere := t.TempDir()
	must(t, os.Rename(secretFile(t), filepath.Join(elsewhere, "1")))
	for name, make := range foreignMail {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.Mkdir(filepath.Join(dir, "cur"), 0o700))
			b, err := openMailbox(dir)
			must(t, err)
			must(t, make(filepath.Join(dir, "new"), elsewhere))
			if msg := b.look([]byte(sentID)); msg != nil {
				t.Errorf("found %.100q", msg)
			}
			must(t, os.WriteFile(filepath.Join(dir, "cur", "1"), []byte(sentID), 0o600))
			if msg := b.look([]byte(sentID)); msg == nil {
				t.Error("the message in cur is not found")
			}
			if _, err := openMailbox(dir); err != nil {
				t.Error(err)
			}
		})
	}
}
