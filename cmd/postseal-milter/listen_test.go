package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"postseal/internal/cli"
	"postseal/internal/submit"
)

func TestParseListen(t *testing.T) {
	for in, want := range map[string][2]string{
		"unix:/run/s":         {"unix", "/run/s"},
		"unix:a:b":            {"unix", "a:b"},
		"inet:8891@127.0.0.1": {"tcp", "127.0.0.1:8891"},
		"inet:8891@mx":        {"tcp", "mx:8891"},
		"inet:8891@::1":       {"tcp", "[::1]:8891"},
		"inet:8891@[::1]":     {"tcp", "[::1]:8891"},
		"inet:0@localhost":    {"tcp", "localhost:0"},
		"unix:":               {},
		"/run/s":              {},
		"local:/run/s":        {},
		"inet:8891":           {},
		"inet:8891@":          {},
		"inet:smtp@mx":        {},
		"inet:-1@mx":          {},
		"inet:65536@mx":       {},
	} {
		network, addr, err := parseListen(in)
		if network != want[0] || addr != want[1] {
			t.Errorf("%q: %q %q", in, network, addr)
		}
		if (err == nil) != (network != "") || err != nil && cli.ExitCode(err) != cli.ExitUsage {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// The mode does not depend on the umask, and a closed socket is removed.
func TestSocketMode(t *testing.T) {
	for _, mode := range []fs.FileMode{0o600, 0o660, 0o666} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := listenUnix(path, mode)
		check(t, err)
		info, err := os.Stat(path)
		check(t, err)
		if info.Mode().Perm() != mode {
			t.Errorf("mode %v, want %v", info.Mode().Perm(), mode)
		}
		sockets{l}.Close()
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after Close: %v", err)
		}
	}
}

func TestReplyResult(t *testing.T) {
	for want, err := range map[string]error{
		"sent":     nil,
		"refused":  &submit.Error{Class: submit.Failed},
		"in_doubt": &submit.Error{Class: submit.Unknown},
		"later":    &submit.Error{},
	} {
		if got := replyResult(err); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
