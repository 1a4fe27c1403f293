package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"postseal/internal/check"
	"postseal/internal/cli"
	"postseal/internal/failure"
	"postseal/internal/test/mta"
)

// inLibexec puts a script where packages put postseal-check.
func inLibexec(t *testing.T, script string) {
	t.Helper()
	old := libexec
	libexec = t.TempDir()
	t.Cleanup(func() { libexec = old })
	if script == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(libexec, "postseal-check"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
}

// What the other program may do wrong, and what is made of it.
func TestLook(t *testing.T) {
	const good = `echo '{"check":"dns","status":"ok","text":"fine"}';`
	for name, c := range map[string]struct {
		script string
		found  int
		code   int
		says   string
	}{
		"good":             {good + good, 2, 0, ""},
		"missing":          {"", 0, 78, "postseal-check is neither in "},
		"killed":           {good + "kill -9 $$", 1, 1, "did not come to its end: signal: killed"},
		"fails at once":    {"exit 3", 0, 1, "did not come to its end: exit status 3"},
		"silent":           {"exit 0", 0, 1, "found nothing to say"},
		"fails":            {good + "exit 3", 1, 1, "did not come to its end: exit status 3"},
		"nonsense":         {good + "echo nonsense; exec sleep 60", 1, 1, "line 2 is not a finding"},
		"unknown status":   {`echo '{"check":"dns","status":"fine"}'`, 0, 1, "line 1 is not a finding"},
		"endless line":     {"exec tr '\\0' x </dev/zero", 0, 1, "token too long"},
		"endless findings": {"exec yes '" + `{"check":"dns","status":"ok","text":"fine"}` + "'", maxFindings, 1, "is not a finding"},
	} {
		t.Run(name, func(t *testing.T) {
			inLibexec(t, c.script)
			found := 0
			err := look(t.Context(), check.Options{}, func(check.Finding) { found++ })
			if code := cli.ExitCode(err); code != c.code || found != c.found || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%d findings, exit %d, %v; want %d, exit %d, %q", found, code, err, c.found, c.code, c.says)
			}
			if err != nil && failure.HintOf(err) == "" {
				t.Error("there is no hint")
			}
		})
	}
}

// Passwords are in the options and nowhere else.
func TestLookPassword(t *testing.T) {
	t.Setenv("POSTSEAL_SMTP_PASSWORD", "hunter2")
	dir := t.TempDir()
	inLibexec(t, "echo '{\"status\":\"ok\"}'; cat >"+dir+"/stdin; env >"+dir+"/env; echo \"$@\" >"+dir+"/args")
	if err := look(t.Context(), check.Options{SMTPPassword: "hunter2"}, func(check.Finding) {}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"stdin": true, "env": false, "args": false} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || strings.Contains(string(data), "hunter2") != want {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
}

// Whoever is interrupted ends the other program, and what that has started.
func TestLookInterrupted(t *testing.T) {
	inLibexec(t, "sleep 60")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	start := time.Now()
	if err := look(ctx, check.Options{}, nil); !errors.Is(err, context.Canceled) || time.Since(start) > 30*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
}

// No key and no file of the issuing half alone is opened: here, whoever opens one waits.
func TestLookWithoutKeys(t *testing.T) {
	mta.NotShort(t)
	inLibexec(t, "exec "+filepath.Join(mta.Build(t, "postseal-check"), "postseal-check"))
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "pending"), 0o700), os.Mkdir(filepath.Join(dir, "answers"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"accounts/x/account.json", "accounts/x/key.pem", "certs/a@x.test/privkey.pem", "certs/a@x.test/renewal.json", "orders/a@x.test.json", "dkim.pem"} {
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), syscall.Mkfifo(path, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	o := check.Options{State: dir, SMTP: "smtp://127.0.0.1:1", Server: "https://127.0.0.1:1/", Account: "https://x.test/1", PostfixConfig: "/nowhere"}
	o.Config.DKIM = []check.DKIMKey{{Domain: "x.test", Selector: "s", Path: filepath.Join(dir, "dkim.pem")}}
	orders := false
	err := look(t.Context(), o, func(f check.Finding) {
		orders = orders || strings.HasPrefix(f.Text, "1 orders in flight")
		if strings.Contains(f.Text, "no outcome") {
			t.Errorf("%+v", f)
		}
	})
	if err != nil || !orders {
		t.Errorf("%v; orders were seen: %v", err, orders)
	}
}
