package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	"postseal/state"
)

func pendingAlice(t *testing.T, dir *state.Dir) {
	t.Helper()
	check(t, dir.Put(&state.Pending{
		ID: "1", Email: "alice@example.test", Server: "https://ca.example.net/dir", From: "ca@example.net",
		Token: "x6I65YvEk6xC4KV0QMvdJw", Thumbprint: "hC4xyXNn8ZDH4yrcp93Zj3qgQs7LyT_GUL45YD7IVMQ",
		Created: time.Now(), Expires: time.Now().Add(time.Hour),
	}))
}

const acme = " ACME: V4nE8NhYh6edBpfQTg5qqQ"

// A milter confined before there is a state directory uses one that is made later. One that
// is recreated after that is out of reach, and the log says what to do.
func TestConfinedBeforeTheState(t *testing.T) {
	parent := t.TempDir()
	dir := state.Open(filepath.Join(parent, "state"))
	s := startService(t, "--state", dir.Path())
	s.line("confined", "writes="+parent)
	_, err := dir.Create()
	check(t, err)
	pendingAlice(t, dir)
	wantAction(t, s.send(acme), milter.ActAccept)
	s.line(`msg="challenge refused"`, "address=alice@example.test")
	s.stop()

	s = startService(t, "--state", dir.Path())
	s.line("msg=confined", "writes="+dir.Path("answers"), "reads="+dir.Path("pending"))
	old := dir.Path() + ".old"
	check(t, os.Rename(dir.Path(), old))
	check(t, state.Open(old).Remove("alice@example.test", "https://ca.example.net/dir", "")) // otherwise it looks again after 5 s
	_, err = dir.Create()
	check(t, err)
	pendingAlice(t, dir)
	wantAction(t, s.send(" lunch"), milter.ActAccept)
	s.line("permission denied", "restart it")
	wantAction(t, s.send(acme), milter.ActReplyCode)
	s.line("challenge later", "permission denied")
	s.stop()
}

// A confined program still reports its own resource usage, without a useless line in the log.
func TestConfinedMetrics(t *testing.T) {
	port := freePort(t)
	s := startService(t, "--state", t.TempDir(), "--metrics", port)
	r, err := http.Get("http://" + port + "/metrics")
	check(t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	check(t, err)
	if !strings.Contains(string(body), "\npostseal_milter_pending -1\n") {
		t.Errorf("without a state it is not known who waits:\n%s", body)
	}
	for _, name := range []string{"process_resident_memory_bytes", "go_goroutines"} {
		if !strings.Contains(string(body), "\n"+name+" ") {
			t.Errorf("no %s", name)
		}
	}
	check(t, s.cmd.Process.Signal(os.Interrupt))
	for s.log.Scan() {
		if strings.Contains(s.log.Text(), "ERROR") {
			t.Error(s.log.Text())
		}
	}
	check(t, s.cmd.Wait())
}
