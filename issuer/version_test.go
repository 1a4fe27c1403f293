package issuer

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postseal/internal/failure"
	"postseal/internal/testca"
	"postseal/issuer/store"
	"postseal/state"
)

// A newer postseal has written here: a command that needs its files is refused with a hint,
// and changes nothing.
func TestNewerVersion(t *testing.T) {
	const bob = "bob@example.test"
	for name, c := range map[string]struct {
		file string // below the state directory; CA stands for that of the CA
		try  map[string]func(*testing.T, *world) error
	}{
		"renewal.json": {"certs/" + alice + "/renewal.json", map[string]func(*testing.T, *world) error{"cert": orderAlice, "renew": renewAll, "status": statusOf}},
		"order":        {"orders/" + alice + ".json", map[string]func(*testing.T, *world) error{"cert": orderAlice, "renew": renewAll, "status": statusOf}},
		"account":      {"accounts/CA/account.json", map[string]func(*testing.T, *world) error{"cert": orderAlice}},
		"pending":      {"pending/" + alice + ".json", map[string]func(*testing.T, *world) error{"cert": orderAlice}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, testca.Config{})
			w.must(w.order(bob)) // makes the account and the directories
			path := w.dir.Path(strings.Replace(c.file, "CA", w.accountName(), 1))
			newer := []byte(`{"version": 2, "emails": {"first": "` + alice + `"}}` + "\n")
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, newer, 0o600); err != nil {
				t.Fatal(err)
			}
			for command, try := range c.try {
				err := try(t, w)
				if failure.KindOf(err) != failure.KindConfig || !strings.Contains(failure.HintOf(err), "install that postseal again") ||
					!strings.Contains(err.Error(), path+": written by a newer postseal: version 2") {
					t.Errorf("%s: %v, hint %q", command, err, failure.HintOf(err))
				}
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, newer) {
				t.Errorf("%s was changed: %s, %v", path, now, err)
			}
		})
	}
}

// The mail half was upgraded first: the order ends at once and says why, instead of waiting
// for an answer that it cannot read.
func TestNewerAnswer(t *testing.T) {
	w := newWorld(t, testca.Config{})
	w.answer = func(w *world, p *state.Pending, _, _, _ string) error {
		return os.WriteFile(w.dir.Path("answers", p.ID+".json"), []byte(`{"version": 2, "id": "`+p.ID+`"}`), 0o640)
	}
	err := w.order(alice)
	if failure.KindOf(err) != failure.KindConfig || !strings.Contains(err.Error(), "written by a newer postseal") || failure.HintOf(err) == "" {
		t.Errorf("%v, hint %q", err, failure.HintOf(err))
	}
}

func orderAlice(_ *testing.T, w *world) error { return w.order(alice) }

func (w *world) order(addr string) error {
	_, err := w.issuer().Obtain(context.Background(), Request{
		Settings: store.Settings{Emails: []string{addr}, Server: w.ca.DirectoryURL, CABundle: w.bundle, KeyType: "p256"}, Timeout: 20 * time.Second,
	})
	return err
}

func renewAll(t *testing.T, w *world) error {
	_, err := w.issuer().DueRequests(t.Context(), Renewal{})
	return err
}

func statusOf(_ *testing.T, w *world) error {
	_, err := w.issuer().Status()
	return err
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// accountName returns the name of the only directory in accounts/.
func (w *world) accountName() string {
	w.t.Helper()
	entries, err := os.ReadDir(w.dir.Path("accounts"))
	w.must(err)
	for _, e := range entries {
		if e.IsDir() {
			return e.Name()
		}
	}
	w.t.Fatal("there is no account")
	return ""
}
