package store

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"postseal/internal/failure"
	"postseal/internal/test/mta"
)

const mailGroupID = 8 // not root's

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return data
}

// A container replaces a regular file or gets a new name, and nothing else.
func TestOut(t *testing.T) {
	mta.NotShort(t)
	dir := t.TempDir() // a user's own: nobody else can write there
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.WriteFile(at("from"), []byte("container"), 0o600))
	must(t, os.WriteFile(at("file"), []byte("old"), 0o644))
	must(t, os.WriteFile(at("target"), []byte("old"), 0o600))
	must(t, os.Chown(at("target"), 1, mailGroupID))
	must(t, os.Chmod(at("target"), 0o646))
	must(t, syscall.Mkfifo(at("pipe"), 0o600))
	must(t, os.Mkdir(at("open"), 0o700))
	must(t, os.Chmod(at("open"), 0o1777))
	must(t, os.Mkdir(at("theirs"), 0o755))
	must(t, os.Mkdir(at("theirs/deep"), 0o755))
	must(t, os.Chown(at("theirs"), 1, 1))
	must(t, os.Mkdir(at("plain"), 0o755))
	must(t, os.Mkdir(at("group"), 0o700))
	must(t, os.Chown(at("group"), 0, mailGroupID))
	must(t, os.Chmod(at("group"), 0o775))
	l, err := net.Listen("unix", at("socket"))
	must(t, err)
	defer l.Close()
	for link, to := range map[string]string{
		"link": "target", "chain": "link", "newlink": at("fresh"), "nulllink": "/dev/null", "pipelink": "pipe", "dirlink": "open", "nowhere": "no/file",
		"circle": "circle", "open/link": "../target", "theirs/deep/link": "../../target", "viaopen": "open/link", "group/link": at("target"),
		"theirs/dir": at("plain"), "ours": "plain",
	} {
		must(t, os.Symlink(to, at(link)))
	}
	for path, want := range map[string]string{
		at("file"): "", at("new"): "", at("link"): "", at("chain"): "", at("newlink"): "",
		"/dev/null": "is a device", at("nulllink"): "leads to a device", at("pipe"): "is a named pipe", at("pipelink"): "leads to a named pipe",
		at("socket"): "is a socket", at("open"): "is a directory", at("dirlink"): "leads to a directory",
		at("no/file"): "does not exist", at("nowhere"): "leads nowhere", at("circle"): "leads in a circle",
		at("open/link"): "others can make one there", at("theirs/deep/link"): "they can write to " + at("theirs"), at("viaopen"): "others can make one",
		at("group/link"):     "others can make one",
		at("theirs/dir/new"): "they can write to " + at("theirs"), at("ours/new"): "", at("theirs/deep/new"): "",
	} {
		err := CheckOut(path)
		if want != "" {
			if failure.KindOf(err) != failure.KindUsage || !strings.Contains(err.Error(), want) || failure.HintOf(err) == "" {
				t.Errorf("%s: %v, want %q", path, err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		must(t, CopyOut(at("from"), path))
		if got := string(mustRead(t, path)); got != "container" {
			t.Errorf("%s: holds %q", path, got)
		}
	}
	for path, want := range map[string]string{"file": "0 0 600", "new": "0 0 600", "fresh": "0 0 600", "target": "1 8 640"} {
		if got := access(t, at(path)); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if to, err := os.Readlink(at("link")); err != nil || to != "target" {
		t.Errorf("the link is gone: %q, %v", to, err)
	}
}

// access is the owner, group and mode of a file.
func access(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	s := info.Sys().(*syscall.Stat_t)
	return strconv.Itoa(int(s.Uid)) + " " + strconv.Itoa(int(s.Gid)) + " " + strconv.FormatInt(int64(info.Mode().Perm()), 8)
}
