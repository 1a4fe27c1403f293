package issuer

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postseal/internal/failure"
	"postseal/internal/testca"
	"postseal/issuer/ca"
	"postseal/issuer/cert"
	"postseal/issuer/store"
	"postseal/state"
)

func TestAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{AlwaysReady: true, Profiles: map[string]string{"smime": "for mail"}})
	ctx := t.Context()
	if _, err := w.account().Show(ctx); failure.KindOf(err) != failure.KindFailed {
		t.Errorf("no account: %v", err)
	}
	w.obtain(w.request(alice))
	info, err := w.account().Show(ctx)
	if err != nil || info.Status != "valid" || info.Profiles["smime"] != "for mail" || !info.ARI {
		t.Fatalf("%+v, %v", info, err)
	}
	for _, name := range []string{accountName, accountKey} {
		st, err := os.Stat(filepath.Join(w.accountDir(), name))
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	if err := w.account().SetContact(ctx, []string{"admin@example.test"}); err != nil {
		t.Fatal(err)
	}
	if text := mustRead(t, filepath.Join(w.accountDir(), accountName)); !strings.Contains(string(text), "admin@example.test") {
		t.Errorf("a CA that loses its accounts gets the old contact: %s", text)
	}
	if err := w.account().Rollover(ctx); err != nil {
		t.Fatal(err)
	}
	after, err := w.account().Show(ctx)
	if err != nil || after.Thumbprint == info.Thumbprint || !slices.Equal(after.Contact, []string{"mailto:admin@example.test"}) {
		t.Errorf("%+v, %v", after, err)
	}
	w.obtain(w.request("bob@example.test"))

	kept, err := w.account().Deactivate(ctx)
	if err != nil || !store.Exists(filepath.Join(kept, accountKey)) {
		t.Fatalf("%s, %v", kept, err)
	}
	w.obtain(w.request("carol@example.test"))
	if n := w.ca.Counters().Events[testca.EventAccount]; n != 2 {
		t.Errorf("%d accounts", n)
	}
}

// Somebody kills a rollover: the next command finds out which key counts.
func TestRolloverKilled(t *testing.T) {
	t.Parallel()
	for name, changed := range map[string]bool{"before the CA": false, "after the CA": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testca.Config{AlwaysReady: true})
			w.obtain(w.request(alice))
			dir := w.accountDir()
			old := mustRead(t, filepath.Join(dir, accountKey))
			next, err := cert.NewKey("p256")
			if err != nil {
				t.Fatal(err)
			}
			data, err := cert.MarshalKey(next)
			if err != nil {
				t.Fatal(err)
			}
			if changed {
				if err := w.account().Rollover(t.Context()); err != nil {
					t.Fatal(err)
				}
				data = mustRead(t, filepath.Join(dir, accountKey))
				if err := os.WriteFile(filepath.Join(dir, accountKey), old, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, nextKey), data, 0o600); err != nil {
				t.Fatal(err)
			}
			w.obtain(w.request("bob@example.test"))
			if store.Exists(filepath.Join(dir, nextKey)) {
				t.Error("undecided still")
			}
		})
	}
}

// The replies of orders in flight carry the old key's thumbprint.
func TestRolloverInFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	w.answerWith(func(*world, *state.Pending, string, string, string) error { return nil })
	w.leaveWaiting(w.request(alice))
	err := w.account().Rollover(t.Context())
	if failure.KindOf(err) != failure.KindFailed || !strings.Contains(err.Error(), "in flight") {
		t.Errorf("%v", err)
	}
	s, err := w.issuer().Status()
	if err != nil || len(s.Orders) != 1 || len(s.Pending) != 1 || s.Orders[0].Running || !strings.Contains(s.Orders[0].WaitingFor, "challenge mail") {
		t.Errorf("%+v, %v", s, err)
	}
	path := w.dir.Path("orders", alice+".json")
	for what, change := range map[string]func(o *store.Order){
		"another CA's": func(o *store.Order) { o.Server = "https://other.example/directory" }, "one that has its certificate": func(o *store.Order) { o.Stored = true },
	} {
		o, err := store.ReadOrder(path)
		must(t, err)
		was := *o
		change(o)
		must(t, store.Write(path, o))
		if err := w.account().Rollover(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		must(t, store.Write(path, was))
	}
}

// A CA that refuses a new key knows the old one, and no other key stays; one that fails may
// know either.
func TestRolloverRefused(t *testing.T) {
	t.Parallel()
	page := func(r *httptest.ResponseRecorder) {
		r.Code, r.Body = http.StatusInternalServerError, bytes.NewBufferString("trouble")
	}
	for name, refuse := range map[string]func(*httptest.ResponseRecorder){"refused": problemScene(http.StatusForbidden), "failed": page} {
		w := newWorld(t, testca.Config{AlwaysReady: true, Tamper: tamper(func(resource string, r *httptest.ResponseRecorder) {
			if resource == "key-change" {
				refuse(r)
			}
		})})
		w.obtain(w.request(alice))
		if err := w.account().Rollover(t.Context()); failure.KindOf(err) != failure.KindFailed {
			t.Errorf("%s: %v", name, err)
		}
		if got := store.Exists(filepath.Join(w.accountDir(), nextKey)); got != (name == "failed") {
			t.Errorf("%s: the next key is there: %v", name, got)
		}
	}
}

// An account that the CA has closed is not taken for a new one.
func TestClosedAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{Tamper: tamper(func(resource string, r *httptest.ResponseRecorder) {
		if resource == "new-account" {
			setJSON(r, []any{"status"}, "deactivated")
		}
	})})
	_, err := w.issuer().Obtain(t.Context(), w.request(alice))
	if failure.KindOf(err) != failure.KindFailed || !strings.Contains(err.Error(), "is deactivated") || failure.HintOf(err) != failure.ForgetAccount || w.accountMade() {
		t.Errorf("%v; hint %q", err, failure.HintOf(err))
	}
}

// Show tells the terms that the user agreed to from those that the CA has now.
func TestNewTerms(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{AlwaysReady: true})
	w.obtain(w.request(alice))
	path := filepath.Join(w.accountDir(), accountName)
	text := strings.ReplaceAll(string(mustRead(t, path)), "/terms\"", "/former-terms\"")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	info, err := w.account().Show(t.Context())
	if err != nil || !strings.HasSuffix(info.Terms, "/former-terms") || !strings.HasSuffix(info.NewTerms, "/terms") {
		t.Errorf("%+v, %v", info, err)
	}
}

// A CA that has lost its database gets the account again.
func TestForgottenAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{AlwaysReady: true})
	w.obtain(w.request(alice))
	path := filepath.Join(w.accountDir(), accountKey)
	key, err := cert.NewKey("p256")
	if err != nil {
		t.Fatal(err)
	}
	data, err := cert.MarshalKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	accountFilePath := filepath.Join(filepath.Dir(path), accountName)
	text := strings.ReplaceAll(string(mustRead(t, accountFilePath)), "/acme/account/", "/acme/account/x")
	if err := os.WriteFile(accountFilePath, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.obtain(w.request("bob@example.test"))
	if !w.said(StepNote, "making it anew") {
		t.Errorf("%s", w.transcript())
	}
	url := ca.KnownAccount(w.dir, w.ca.DirectoryURL)
	if !strings.Contains(url, "/acme/account/") || strings.Contains(url, "/acme/account/x") {
		t.Errorf("the account is at %q", url)
	}
	text = strings.ReplaceAll(string(mustRead(t, accountFilePath)), "/acme/account/", "/acme/account/x")
	must(t, os.WriteFile(accountFilePath, []byte(text), 0o600))
	if kept, err := w.account().Deactivate(t.Context()); err != nil || !store.Exists(kept) {
		t.Errorf("an account that is gone already: %q, %v", kept, err)
	}
}
