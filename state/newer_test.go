package state_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"postseal/state"
)

// A record of a newer version is not damaged: its reader gives up.
func TestNewer(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	d := state.Open(t.TempDir() + "/state")
	if _, err := d.Create(); err != nil {
		t.Fatal(err)
	}
	var said []string
	d.Damaged = func(path string, err error) { said = append(said, path+": "+err.Error()) }
	p := &state.Pending{ID: "id-1", Email: "a@x.test", Server: "https://ca/", From: "c@ca.test", Token: "t", Thumbprint: "p", Created: now, Expires: now.Add(time.Hour)}
	if err := d.Put(p); err != nil {
		t.Fatal(err)
	}
	pending, answer := d.Path("pending", "a@x.test.json"), d.Path("answers", "id-1.json")

	write(t, answer, `{"version": 2, "id": "id-1", "phase": "delegated"}`)
	if _, err := d.Claim(p, "<c>", "<r>", now); !isNewer(err, answer) {
		t.Errorf("Claim: %v", err)
	}
	if _, err := d.Answer("id-1"); !isNewer(err, answer) {
		t.Errorf("Answer: %v", err)
	}
	if all, err := d.Answers(100); err != nil || len(all) != 0 || len(said) != 1 {
		t.Errorf("Answers: %v, %v, %q", all, err, said)
	}

	write(t, pending, `{"version": 2, "id": "id-1", "email": "a@x.test", "token": ["t"]}`)
	for name, err := range map[string]error{
		"Pending":    second(d.Pending("A@x.test", now)),
		"PendingAny": second(d.PendingAny([]string{"b@x.test", "a@x.test"}, now)),
		"Put":        d.Put(p),
	} {
		if !isNewer(err, pending) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if any, err := d.Index().Any(); !any || err != nil {
		t.Errorf("the index says that nobody waits: %v", err)
	}
	if others, err := d.Pending("b@x.test", now); err != nil || len(others) != 0 {
		t.Errorf("another address: %v, %v", others, err)
	}
	if err := errors.Join(d.Purge(now.Add(100*time.Hour)), d.Remove("a@x.test", "https://ca/", "")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(pending); err != nil {
		t.Error("it was removed")
	}

	// Version 0 does not exist, so it is damage.
	write(t, pending, `{"version": 0, "id": "id-1", "email": "a@x.test"}`)
	said = nil
	if found, err := d.Pending("a@x.test", now); err != nil || len(found) != 0 || len(said) == 0 {
		t.Errorf("%v, %v, %q", found, err, said)
	}
}

func second(_ []*state.Pending, err error) error { return err }

func isNewer(err error, path string) bool {
	return state.Newer(err) != nil && strings.Contains(err.Error(), path+": written by a newer postseal: version 2")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}
