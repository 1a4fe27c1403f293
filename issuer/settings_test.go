package issuer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postseal/internal/testca"
)

// What makes no sense is refused with the reason and a hint before any directory
// is made.
func TestRequestCheck(t *testing.T) {
	minus := Duration(-time.Second)
	p256 := otherKey(t)
	for name, tc := range map[string]struct {
		change func(*Request)
		text   string // "" if it is good
	}{
		"good":              {change: func(*Request) {}},
		"default key":       {change: func(r *Request) { r.KeyType = "" }},
		"given key":         {change: func(r *Request) { r.KeyPath, r.KeyType = p256, "" }},
		"given key, named":  {change: func(r *Request) { r.KeyPath = p256 }},
		"given key, other":  {change: func(r *Request) { r.KeyPath, r.KeyType = p256, "rsa2048" }, text: "does not fit --key-path"},
		"given key, usage":  {change: func(r *Request) { r.KeyPath, r.KeyType, r.Usages = p256, "", []string{"keyEncipherment"} }, text: "EC key cannot encipher"},
		"no address":        {change: func(r *Request) { r.Emails = nil }, text: "no address"},
		"wildcard":          {change: func(r *Request) { r.Emails = []string{"*@example.test"} }, text: "wildcard"},
		"twice":             {change: func(r *Request) { r.Emails = []string{alice, "Alice@example.test"} }, text: "given twice"},
		"http":              {change: func(r *Request) { r.Server = "http://ca.example/dir" }, text: "no https URL"},
		"no server":         {change: func(r *Request) { r.Server = "" }, text: "no https URL"},
		"key type":          {change: func(r *Request) { r.KeyType = "ed25519" }, text: `"ed25519" is none`},
		"usage":             {change: func(r *Request) { r.Usages = []string{"cRLSign"} }, text: `"cRLSign" is none`},
		"format":            {change: func(r *Request) { r.P12 = "jks" }, text: "--p12"},
		"join":              {change: func(r *Request) { r.TokenJoin = "glue" }, text: "--token-join"},
		"trigger":           {change: func(r *Request) { r.Trigger = "now" }, text: "--trigger"},
		"compat":            {change: func(r *Request) { r.Compat = []string{"serial", "x"} }, text: "--compat"},
		"settle":            {change: func(r *Request) { r.Settle = &minus }, text: "--settle"},
		"passphrase":        {change: func(r *Request) { r.Passphrase = Passphrase{Kind: PassGiven, Value: "pässe"} }, text: "passphrase"},
		"two usages, wrong": {change: func(r *Request) { r.Usages = []string{"digitalSignature", "keyEncipherment"} }, text: "EC key cannot encipher"},
	} {
		r := Request{Settings: Settings{Emails: []string{alice}, Server: "https://ca.example/dir", KeyType: "p256"}}
		tc.change(&r)
		err := r.check()
		if tc.text == "" {
			if err != nil || r.KeyType == "" {
				t.Errorf("%s: %v, key type %q", name, err, r.KeyType)
			}
			continue
		}
		if KindOf(err) != Usage || HintOf(err) == "" || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: kind %v, %v, hint %q", name, KindOf(err), err, HintOf(err))
		}
	}
}

// A renewal runs in another directory.
func TestAbsolute(t *testing.T) {
	s := Settings{CABundle: "root.pem", Out: "out.p12", Passphrase: Passphrase{Kind: PassFile, Path: "pass"}}
	if err := s.absolute(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{s.CABundle, s.Out, s.Passphrase.Path} {
		if !filepath.IsAbs(p) {
			t.Errorf("%q", p)
		}
	}
	var empty Settings
	if err := empty.absolute(); err != nil || empty.CABundle != "" || empty.Out != "" {
		t.Errorf("%+v, %v", empty, err)
	}
}

func TestCompat(t *testing.T) {
	for _, tc := range []struct {
		list, table []string
		want        bool
	}{
		{nil, nil, false}, {nil, []string{"serial"}, true}, {[]string{}, []string{"serial"}, false},
		{[]string{"serial"}, nil, true}, {[]string{"certbot"}, []string{"serial"}, false},
	} {
		if got := compat(tc.list, tc.table, "serial"); got != tc.want {
			t.Errorf("%v over %v: %v", tc.list, tc.table, got)
		}
	}
}

func TestHookEnvironment(t *testing.T) {
	env := hookEnvironment([]string{"PATH=/bin", "POSTSEAL_PASSPHRASE=x", "POSTSEAL_STATE=redis://:y@h", "HOOK_REASON=z", "ODD"})
	if !slices.Equal(env, []string{"PATH=/bin", "ODD"}) {
		t.Errorf("%q", env)
	}
}

// A hook or a copy that fails keeps the certificate, which is then not due.
func TestAfterStoring(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Request){
		"hook": func(r *Request) { r.DeployHook = "exit 3" },
		"copy": func(r *Request) { r.Out = "/proc/nowhere/x.p12" },
	} {
		w := newWorld(t, testca.Config{AlwaysReady: true})
		req := w.request(alice)
		change(&req)
		res, err := w.issuer().Obtain(t.Context(), req)
		if KindOf(err) != Failed || HintOf(err) == "" || res == nil || !exists(res.P12) {
			t.Errorf("%s: %+v, %v", name, res, err)
		}
		if _, err := w.issuer().Obtain(t.Context(), req); KindOf(err) != NotDue {
			t.Errorf("%s, again: %v", name, err)
		}
	}
}

// All modes are the issuer's alone, whatever the umask and whatever is replaced.
func TestModes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{AlwaysReady: true})
	req := w.request(alice)
	req.Out = filepath.Join(t.TempDir(), "out.p12")
	if err := os.WriteFile(req.Out, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	res := w.obtain(req)
	for _, path := range []string{req.Out, res.Key, res.P12, res.PassphraseFile, filepath.Join(res.Dir, renewalName)} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	info, err := os.Stat(res.Dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
}

// Orders of every kind survive a kill while they wait.
func TestResumeKinds(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Request){
		"several addresses": func(r *Request) { r.Emails = []string{alice, "bob@example.test", "carol@example.test"} },
		"RSA":               func(r *Request) { r.KeyType = "rsa2048" },
		"given key":         func(r *Request) { r.KeyPath, r.KeyType = otherKey(t), "" },
		"usages":            func(r *Request) { r.Usages = []string{"digitalSignature"} },
		"none":              func(r *Request) { r.Passphrase = Passphrase{Kind: PassNone} },
		"serial":            func(r *Request) { r.Emails, r.Compat = []string{alice, "bob@example.test"}, []string{"serial"} },
	} {
		for _, step := range []StepKind{StepWait, StepFinalize} {
			t.Run(name+", "+string(step), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, testca.Config{})
				req := w.request(alice)
				change(&req)
				if !w.killedAt(step, req) {
					t.Fatal("was not killed")
				}
				w.obtain(req)
				if orders := w.ca.Counters().Events[testca.EventOrder]; orders != 1 {
					t.Errorf("%d orders", orders)
				}
			})
		}
	}
}
