package store

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"postseal/internal/failure"
	"postseal/issuer/cert"
	"postseal/state"
)

func fuzzFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// An order reads the same after it is written again.
func FuzzReadOrder(f *testing.F) {
	f.Add([]byte(`{"version":1,"emails":["alice@example.test"],"server":"https://ca.example/dir","settle":"2s","challenges":[{"id":"X","email":"alice@example.test"}]}`))
	f.Add([]byte(`{"version":99}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := fuzzFile(t, "order.json", data)
		o, err := ReadOrder(path)
		if err != nil || o == nil {
			return
		}
		if err := Write(path, o); err != nil {
			return // a time that JSON cannot express
		}
		again, err := ReadOrder(path)
		if err != nil || len(again.Challenges) != len(o.Challenges) || !reflect.DeepEqual(again.Emails, o.Emails) {
			t.Errorf("%+v became %+v, %v", o, again, err)
		}
	})
}

func FuzzReadRenewal(f *testing.F) {
	f.Add([]byte(`{"version":1,"emails":["alice@example.test"],"server":"https://ca.example/dir","not-after":"2027-01-01T00:00:00Z","window":{"start":"2026-01-01T00:00:00Z"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := fuzzFile(t, RenewalFile, data)
		r, err := ReadRenewal(filepath.Dir(path))
		if err != nil {
			return
		}
		r.Due(time.Unix(0, 0))
		r.AskDue(time.Unix(0, 0))
	})
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{`"2s"`: 2 * time.Second, `"1m30s"`: 90 * time.Second, `"0s"`: 0} {
		var d Duration
		if err := json.Unmarshal([]byte(text), &d); err != nil || time.Duration(d) != want {
			t.Errorf("%s: %v, %v", text, d, err)
		}
		if back, err := json.Marshal(d); err != nil || string(back) != text {
			t.Errorf("%s became %s, %v", text, back, err)
		}
	}
	for _, bad := range []string{`2`, `"soon"`, `""`} {
		if err := json.Unmarshal([]byte(bad), new(Duration)); err == nil {
			t.Errorf("%s is a duration", bad)
		}
	}
}

// A hint about the state directory suits the error: another directory does not help against a
// full disk.
func TestStateHints(t *testing.T) {
	for errno, want := range map[syscall.Errno]struct {
		kind failure.Kind
		hint string
	}{
		syscall.ENOSPC: {failure.KindFailed, "make room"}, syscall.EDQUOT: {failure.KindFailed, "make room"}, syscall.EMFILE: {failure.KindFailed, failure.FewerOrders},
		syscall.EROFS: {failure.KindConfig, "read-write"}, syscall.EACCES: {failure.KindConfig, failure.OtherState}, syscall.EIO: {failure.KindFailed, "disk"},
		syscall.ESTALE: {failure.KindFailed, "disk"},
	} {
		err := Error("/x", &os.PathError{Op: "write", Path: "/x/y", Err: errno})
		if failure.KindOf(err) != want.kind || !strings.Contains(failure.HintOf(err), want.hint) || !strings.Contains(err.Error(), "/x/y") {
			t.Errorf("%v: exit %d: %v; hint %q", errno, failure.KindOf(err), err, failure.HintOf(err))
		}
	}
	if err := Error("/x", &state.NewerError{Path: "/x/y", Version: 2}); failure.KindOf(err) != failure.KindConfig || failure.HintOf(err) != failure.NewerPostseal {
		t.Errorf("a newer version: %v; hint %q", err, failure.HintOf(err))
	}
}

// A configuration that changed changes only what came from it, and a hook that was removed
// there runs no more.
func TestDefaults(t *testing.T) {
	now := Defaults{DeployHook: "new", KeyType: "p384", P12: "legacy"}
	for name, tc := range map[string]struct {
		defaults  Defaults
		was, want Settings
	}{
		"given": {now, Settings{DeployHook: "own", KeyType: "p256", P12: "modern"}, Settings{DeployHook: "own", KeyType: "p256", P12: "modern"}},
		"configured": {now, Settings{DeployHook: "old", KeyType: "p256", P12: "modern", Configured: []string{SettingDeployHook, SettingKeyType, SettingP12}},
			Settings{DeployHook: "new", KeyType: "p384", P12: "legacy"}},
		"not said": {now, Settings{KeyType: "p256"}, Settings{DeployHook: "new", KeyType: "p256", P12: "legacy"}},
		"removed": {Defaults{}, Settings{DeployHook: "old", KeyType: "p256", P12: "modern", Configured: []string{SettingDeployHook, SettingKeyType, SettingP12}},
			Settings{KeyType: "p256", P12: "modern"}},
		"does not suit": {now, Settings{KeyType: "rsa3072", Usages: []string{"keyEncipherment"}, Configured: []string{SettingKeyType}},
			Settings{DeployHook: "new", KeyType: "rsa3072", P12: "legacy"}},
	} {
		s := tc.was
		tc.defaults.Into(&s)
		if s.DeployHook != tc.want.DeployHook || s.KeyType != tc.want.KeyType || s.P12 != tc.want.P12 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// A renewal runs in another directory.
func TestAbsolute(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	s := Settings{CABundle: "roots.pem", Out: "a/b.p12", Passphrase: cert.Passphrase{Path: "word"}}
	if err := s.Absolute(); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	if s.CABundle != at("roots.pem") || s.Out != at("a/b.p12") || s.Passphrase.Path != at("word") {
		t.Errorf("%+v", s)
	}
	var none Settings
	if err := none.Absolute(); err != nil || none.Out != "" || none.CABundle != "" || none.Passphrase.Path != "" {
		t.Errorf("%+v, %v", none, err)
	}
}

func TestDurationForPeople(t *testing.T) {
	for d, want := range map[time.Duration]string{30 * time.Minute: "30m", time.Hour: "1h", 90 * time.Second: "1m30s", 20 * time.Second: "20s", 150 * time.Minute: "2h30m"} {
		if got := Duration(d).String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
