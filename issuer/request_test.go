package issuer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postseal/internal/failure"
	"postseal/internal/testca"
	"postseal/issuer/cert"
	"postseal/issuer/store"
)

// An invalid request is refused with the reason and a hint before any directory is made.
func TestRequestCheck(t *testing.T) {
	minus := store.Duration(-time.Second)
	p256 := otherKey(t)
	for name, tc := range map[string]struct {
		change func(*Request)
		text   string // "" if it is good
	}{
		"good":              {change: func(*Request) {}},
		"default key":       {change: func(r *Request) { r.KeyType = "" }},
		"given key":         {change: func(r *Request) { r.KeyPath, r.KeyType = p256, "" }},
		"given key, named":  {change: func(r *Request) { r.KeyPath = p256 }},
		"given key, other":  {change: func(r *Request) { r.KeyPath, r.KeyType = p256, "rsa2048" }, text: "does not fit the given key"},
		"given key, usage":  {change: func(r *Request) { r.KeyPath, r.KeyType, r.Usages = p256, "", []string{"keyEncipherment"} }, text: "EC key cannot encipher"},
		"no address":        {change: func(r *Request) { r.Emails = nil }, text: "no address"},
		"wildcard":          {change: func(r *Request) { r.Emails = []string{"*@example.test"} }, text: "wildcard"},
		"twice":             {change: func(r *Request) { r.Emails = []string{alice, " Alice@example.test"} }},
		"http":              {change: func(r *Request) { r.Server = "http://ca.example/dir" }, text: "not an https URL"},
		"no server":         {change: func(r *Request) { r.Server = "" }, text: "not an https URL"},
		"key type":          {change: func(r *Request) { r.KeyType = "ed25519" }, text: `unknown key type "ed25519"`},
		"usage":             {change: func(r *Request) { r.Usages = []string{"cRLSign"} }, text: `unknown usage "cRLSign"`},
		"format":            {change: func(r *Request) { r.P12 = "jks" }, text: "--p12"},
		"join":              {change: func(r *Request) { r.TokenJoin = "glue" }, text: "--token-join"},
		"trigger":           {change: func(r *Request) { r.Trigger = "now" }, text: "--trigger"},
		"compat":            {change: func(r *Request) { r.Compat = []string{"serial", "x"} }, text: "--compat"},
		"settle":            {change: func(r *Request) { r.Settle = &minus }, text: "--settle"},
		"passphrase":        {change: func(r *Request) { r.Passphrase = cert.Passphrase{Kind: cert.PassGiven, Value: "pässe"} }, text: "passphrase"},
		"two usages, wrong": {change: func(r *Request) { r.Usages = []string{"digitalSignature", "keyEncipherment"} }, text: "EC key cannot encipher"},
	} {
		r := Request{Settings: store.Settings{Emails: []string{alice}, Server: "https://ca.example/dir", KeyType: "p256"}}
		tc.change(&r)
		err := r.check()
		if tc.text == "" {
			if err != nil || r.KeyType == "" {
				t.Errorf("%s: %v, key type %q", name, err, r.KeyType)
			}
			continue
		}
		if failure.KindOf(err) != failure.KindUsage || failure.HintOf(err) == "" || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: kind %v, %v, hint %q", name, failure.KindOf(err), err, failure.HintOf(err))
		}
	}
}

// A renewal runs in another directory.
func TestAbsolute(t *testing.T) {
	s := store.Settings{CABundle: "root.pem", Out: "out.p12", Passphrase: cert.Passphrase{Kind: cert.PassFile, Path: "pass"}}
	if err := s.Absolute(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{s.CABundle, s.Out, s.Passphrase.Path} {
		if !filepath.IsAbs(p) {
			t.Errorf("%q", p)
		}
	}
	var empty store.Settings
	if err := empty.Absolute(); err != nil || empty.CABundle != "" || empty.Out != "" {
		t.Errorf("%+v, %v", empty, err)
	}
}

func TestHookEnvironment(t *testing.T) {
	env := hookEnvironment([]string{"PATH=/bin", "POSTSEAL_PASSPHRASE=x", "POSTSEAL_STATE=redis://:y@h", "HOOK_REASON=z", "ODD"})
	if !slices.Equal(env, []string{"PATH=/bin", "ODD"}) {
		t.Errorf("%q", env)
	}
}

// If a hook or a copy fails, the certificate stays and is not due.
func TestAfterStoring(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Request){
		"copy": func(r *Request) { r.Out = "/proc/nowhere/x.p12" },
	} {
		w := newWorld(t, testca.Config{AlwaysReady: true})
		req := w.request(alice)
		change(&req)
		res, err := w.issuer().Obtain(t.Context(), req)
		if failure.KindOf(err) != failure.KindFailed || failure.HintOf(err) == "" || res == nil || !store.Exists(res.P12) {
			t.Errorf("%s: %+v, %v", name, res, err)
		}
		if _, err := w.issuer().Obtain(t.Context(), req); failure.KindOf(err) != failure.KindNotDue {
			t.Errorf("%s, again: %v", name, err)
		}
	}
}

// Each renew repeats a failed hook until it succeeds, and so does every run that names one;
// it keeps no certificate from being renewed. The configuration's present hook and key type
// apply to all certificates without their own.
func TestHookAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{AlwaysReady: true})
	marker := filepath.Join(t.TempDir(), "ran")
	hook := "echo $POSTSEAL_EMAILS >>" + marker
	req := w.request(alice)
	req.DeployHook = "test -e " + marker + " && " + hook
	bob := w.request("bob@example.test")
	bob.Configured = []string{store.SettingDeployHook, store.SettingKeyType}
	w.obtain(bob)
	if _, err := w.issuer().Obtain(t.Context(), req); failure.KindOf(err) != failure.KindFailed {
		t.Fatal(err)
	}
	s, err := w.issuer().Status()
	if err != nil || len(s.Orders) != 1 || !strings.Contains(s.Orders[0].WaitingFor, "exit status 1") {
		t.Errorf("status: %+v, %v", s.Orders, err)
	}
	if _, err := w.issuer().Obtain(t.Context(), w.request(alice)); failure.KindOf(err) != failure.KindNotDue {
		t.Errorf("without a hook: %v", err)
	}
	if _, err := w.issuer().Obtain(t.Context(), req); failure.KindOf(err) != failure.KindFailed {
		t.Errorf("the same command: %v", err)
	}
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	later := func(o *Options) {
		o.Defaults = store.Defaults{DeployHook: hook, KeyType: "p384"}
		o.Now = func() time.Time { return time.Now().Add(80 * day) }
	}
	if n := w.renew(w.issuer(), Renewal{}); n != 1 || string(mustRead(t, marker)) != alice+"\n" {
		t.Errorf("renew: %d, %q", n, mustRead(t, marker))
	}
	if n := w.renew(w.issuer(), Renewal{}); n != 0 {
		t.Errorf("once more: %d", n)
	}
	reqs, err := w.issuer(later).DueRequests(t.Context(), Renewal{})
	if err != nil || len(reqs) != 2 {
		t.Fatal(reqs, err)
	}
	for _, r := range reqs {
		own := r.Emails[0] == alice
		if own != (r.DeployHook == req.DeployHook) || own != (r.KeyType == "p256") || !own && (r.DeployHook != hook || r.KeyType != "p384") {
			t.Errorf("%v: hook %q, key type %s", r.Emails, r.DeployHook, r.KeyType)
		}
	}
}

// A setting on the command line has to match the certificate in place, unless --force
// replaces that.
func TestFits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{AlwaysReady: true})
	w.obtain(w.request(alice))
	for name, tc := range map[string]struct {
		change func(*Request)
		want   failure.Kind
		text   string
	}{
		"the same, in so many words": {func(r *Request) { r.Asked = []string{"server", "key-type", "profile", "usage"} }, failure.KindNotDue, ""},
		"another key type":           {func(r *Request) { r.KeyType, r.Asked = "p384", []string{"key-type"} }, failure.KindFailed, "its key type is p256, not p384"},
		"of the configuration":       {func(r *Request) { r.KeyType = "p384" }, failure.KindNotDue, ""},
		"another CA":                 {func(r *Request) { r.Server, r.Asked = "https://other.example/", []string{"server"} }, failure.KindFailed, "its CA is "},
		"usages":                     {func(r *Request) { r.Usages, r.Asked = []string{"digitalSignature"}, []string{"usage"} }, failure.KindFailed, "its usage is the CA's default, not digitalSignature"},
		"forced":                     {func(r *Request) { r.Usages, r.Asked, r.Force = []string{"digitalSignature"}, []string{"usage"}, true }, failure.KindNone, ""},
	} {
		req := w.request(alice)
		tc.change(&req)
		_, err := w.issuer().Obtain(t.Context(), req)
		if failure.KindOf(err) != tc.want || err != nil && !strings.Contains(err.Error(), tc.text) || tc.want == failure.KindFailed && !strings.Contains(failure.HintOf(err), failure.Force) {
			t.Errorf("%s: exit %d: %v; hint %q", name, failure.KindOf(err), err, failure.HintOf(err))
		}
		if tc.want == failure.KindNone {
			force := w.request(alice)
			force.Force = true
			w.obtain(force)
		}
	}
}

// All modes are for the issuer alone, whatever the umask and the replaced file.
func TestModes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{AlwaysReady: true})
	req := w.request(alice)
	req.Out = filepath.Join(t.TempDir(), "out.p12")
	if err := os.WriteFile(req.Out, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	res := w.obtain(req)
	for _, path := range []string{req.Out, res.Key, res.P12, res.PassphraseFile, filepath.Join(res.Dir, store.RenewalFile)} {
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
		"none":              func(r *Request) { r.Passphrase = cert.Passphrase{Kind: cert.PassNone} },
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
