package issuer

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postseal/internal/failure"
	"postseal/internal/testca"
	"postseal/issuer/cert"
	"postseal/issuer/store"
	"postseal/state"
)

func TestRevoke(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		v    func(*Result) Revocation
		kind failure.Kind
		text string
		own  bool // signed with the certificate's key
	}{
		"account key":     {v: func(r *Result) Revocation { return Revocation{CertPath: r.Cert} }},
		"certificate key": {v: func(r *Result) Revocation { return Revocation{CertPath: r.Cert, KeyPath: r.Key} }, own: true},
		"container":       {v: func(r *Result) Revocation { return Revocation{CertPath: r.P12} }, own: true},
		"every reason":    {v: func(r *Result) Revocation { return Revocation{CertPath: r.Cert, Reason: "Superseded"} }},
		"key compromise":  {v: func(r *Result) Revocation { return Revocation{CertPath: r.P12, Reason: "keycompromise"} }, own: true},
		"wrong passphrase": {v: func(r *Result) Revocation {
			return Revocation{CertPath: r.P12, Passphrase: cert.Passphrase{Kind: cert.PassGiven, Value: "wrong"}}
		}, kind: failure.KindFailed, text: "does not open"},
		"no passphrase": {v: func(r *Result) Revocation {
			return Revocation{CertPath: r.P12, Passphrase: cert.Passphrase{Kind: cert.PassNone}}
		}, kind: failure.KindFailed, text: "does not open"},
		"no certificate":     {v: func(r *Result) Revocation { return Revocation{CertPath: r.PassphraseFile} }, kind: failure.KindUsage, text: "not a certificate in PEM, DER or PKCS#12"},
		"no file":            {v: func(r *Result) Revocation { return Revocation{CertPath: r.P12 + "x"} }, kind: failure.KindConfig, text: "--cert-path"},
		"a reason of no RFC": {v: func(r *Result) Revocation { return Revocation{CertPath: r.Cert, Reason: "bored"} }, kind: failure.KindUsage, text: "bored"},
		"another's key":      {v: func(r *Result) Revocation { return Revocation{CertPath: r.Cert, KeyPath: otherKey(t)} }, kind: failure.KindUsage, text: "not the key of"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testca.Config{AlwaysReady: true})
			res := w.obtain(w.request(alice))
			got, err := w.issuer().Revoke(t.Context(), tc.v(res))
			if tc.kind != failure.KindNone {
				if failure.KindOf(err) != tc.kind || !strings.Contains(err.Error(), tc.text) {
					t.Errorf("exit %d: %v", failure.KindOf(err), err)
				}
				return
			}
			if err != nil || got.Already || got.Serial != res.Serial || got.SignedByKey != tc.own {
				t.Fatalf("%+v, %v", got, err)
			}
			if n := w.ca.Counters().Events[testca.EventRevoked]; n != 1 {
				t.Errorf("the CA revoked %d", n)
			}
			again, err := w.issuer().Revoke(t.Context(), tc.v(res))
			if err != nil || !again.Already {
				t.Errorf("again: %+v, %v", again, err)
			}
		})
	}
}

func otherKey(t *testing.T) string {
	key, err := cert.NewKey("p256")
	if err != nil {
		t.Fatal(err)
	}
	data, err := cert.MarshalKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A revoked certificate is not renewed, shows as revoked, and may be ordered again.
func TestAfterRevoke(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{AlwaysReady: true, ARIDue: true})
	res := w.obtain(w.request(alice))
	if _, err := w.issuer().Revoke(t.Context(), Revocation{CertPath: res.Cert}); err != nil {
		t.Fatal(err)
	}
	if n := w.renew(w.issuer(), Renewal{}); n != 0 {
		t.Errorf("%d renewed", n)
	}
	s, err := w.issuer().Status()
	if err != nil || len(s.Certificates) != 1 || s.Certificates[0].State != CertRevoked {
		t.Errorf("%+v, %v", s, err)
	}
	if again := w.obtain(w.request(alice)); again.Serial == res.Serial {
		t.Error("the same certificate")
	}
}

// A key that was revoked for keycompromise is never certified again, whatever asks for it: a
// renewal that reuses keys, --key-path, or an order that has it already.
func TestCompromised(t *testing.T) {
	t.Parallel()
	for name, revoke := range map[string]func(*Result) Revocation{
		"in certs/": func(r *Result) Revocation { return Revocation{CertPath: r.Cert, Reason: "keycompromise"} },
		"elsewhere": func(r *Result) Revocation {
			return Revocation{CertPath: copied(t, r.Cert), KeyPath: copied(t, r.Key), Reason: "keyCompromise"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testca.Config{AlwaysReady: true})
			res := w.obtain(w.request(alice))
			burnt := copied(t, res.Key)
			v := revoke(res)
			v.Server = w.ca.DirectoryURL
			if _, err := w.issuer(func(o *Options) { o.CABundle = w.bundle }).Revoke(t.Context(), v); err != nil {
				t.Fatal(err)
			}
			if n := w.renew(w.issuer(), Renewal{Emails: []string{alice}, Force: true, ReuseKey: true}); n != 1 || !w.said(StepNote, "making a new one") {
				t.Errorf("%d renewed\n%s", n, w.transcript())
			}
			if bytes.Equal(mustRead(t, res.Key), mustRead(t, burnt)) {
				t.Error("the key was certified again")
			}
			req := w.request("bob@example.test")
			req.KeyPath, req.KeyType = burnt, ""
			if _, err := w.issuer().Obtain(t.Context(), req); failure.KindOf(err) != failure.KindFailed || !strings.Contains(err.Error(), "never certified again") || failure.HintOf(err) == "" {
				t.Errorf("--key-path: exit %d, %v", failure.KindOf(err), err)
			}
			req = w.request("carol@example.test")
			o := &store.Order{Version: store.Version, Settings: req.Settings, Key: string(mustRead(t, burnt)), Finalizing: true, URL: w.ca.DirectoryURL}
			if err := store.Write(w.dir.Path("orders", "carol@example.test.json"), o); err != nil {
				t.Fatal(err)
			}
			if got := w.obtain(req); bytes.Equal(mustRead(t, got.Key), mustRead(t, burnt)) || !w.said(StepNote, "giving up an unfinished order") {
				t.Errorf("an order that had the key\n%s", w.transcript())
			}
			if n := w.ca.Counters().Events[testca.EventIssued]; n != 3 {
				t.Errorf("%d issued", n)
			}
		})
	}
}

func copied(t *testing.T, path string) string {
	to := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := store.CopyOut(path, to); err != nil {
		t.Fatal(err)
	}
	return to
}

// A key that is revoked while its order waits for the CA is not sent.
func TestCompromisedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	res := w.obtain(w.request(alice))
	req := w.request("bob@example.test")
	req.KeyPath, req.KeyType = copied(t, res.Key), ""
	w.answerWith(func(w *world, p *state.Pending, part1, from, to string) error {
		if _, err := w.issuer().Revoke(w.t.Context(), Revocation{CertPath: res.Cert, Reason: "keycompromise"}); err != nil {
			w.t.Error(err)
		}
		return sendReply(w, p, part1, from, to)
	})
	_, err := w.issuer().Obtain(t.Context(), req)
	if failure.KindOf(err) != failure.KindFailed || !strings.Contains(err.Error(), "never certified again") || len(w.entries("orders")) != 0 {
		t.Errorf("%v, %v", err, w.entries("orders"))
	}
}

// A host without the order can revoke with the container alone.
func TestRevokeElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{AlwaysReady: true})
	res := w.obtain(w.request(alice))
	moved := filepath.Join(t.TempDir(), "copy.p12")
	if err := store.CopyOut(res.P12, moved); err != nil {
		t.Fatal(err)
	}
	pass := strings.TrimSpace(string(mustRead(t, res.PassphraseFile)))
	elsewhere := newWorld(t, testca.Config{})
	v := Revocation{CertPath: moved, Server: w.ca.DirectoryURL, AskPass: func() (string, error) { return pass, nil }}
	if got, err := elsewhere.issuer(func(o *Options) { o.CABundle = w.bundle }).Revoke(t.Context(), v); err != nil || !got.SignedByKey {
		t.Errorf("%+v, %v", got, err)
	}
	v.CertPath = res.Cert
	if _, err := elsewhere.issuer(func(o *Options) { o.CABundle = w.bundle }).Revoke(t.Context(), v); !strings.Contains(failure.HintOf(err), failure.NameKeyOrCA) {
		t.Errorf("%v", err)
	}
}

// A certificate is revoked while an order for its successor is under way: the revocation is
// not silently forgotten.
func TestRevokeWhileRenewing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{AlwaysReady: true})
	w.obtain(w.request(alice))
	i := w.issuer()
	unlock, err := i.disk.LockName(alice, "")
	must(t, err)
	path := w.dir.Path("certs", alice, store.CertFile)
	if _, err := i.Revoke(t.Context(), Revocation{CertPath: path}); failure.KindOf(err) != failure.KindLater {
		t.Errorf("%v", err)
	}
	unlock()
	if done, err := i.Revoke(t.Context(), Revocation{CertPath: path}); err != nil || !done.Already {
		t.Errorf("%+v, %v", done, err)
	}
	if r, err := store.ReadRenewal(w.dir.Path("certs", alice)); err != nil || r.Revoked.IsZero() {
		t.Errorf("%+v, %v", r, err)
	}
}
