package issuer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postseal/internal/testca"
)

func TestRevoke(t *testing.T) {
	t.Parallel()
	wrong, none := "wrong", ""
	tests := map[string]struct {
		v    func(*Result) Revocation
		kind Kind
		text string
		own  bool // signed with the certificate's key
	}{
		"account key":        {v: func(r *Result) Revocation { return Revocation{CertPath: r.Cert} }},
		"certificate key":    {v: func(r *Result) Revocation { return Revocation{CertPath: r.Cert, KeyPath: r.Key} }, own: true},
		"container":          {v: func(r *Result) Revocation { return Revocation{CertPath: r.P12} }, own: true},
		"every reason":       {v: func(r *Result) Revocation { return Revocation{CertPath: r.Cert, Reason: "Superseded"} }},
		"key compromise":     {v: func(r *Result) Revocation { return Revocation{CertPath: r.P12, Reason: "keycompromise"} }, own: true},
		"wrong passphrase":   {v: func(r *Result) Revocation { return Revocation{CertPath: r.P12, Passphrase: &wrong} }, kind: Failed, text: "does not open"},
		"no passphrase":      {v: func(r *Result) Revocation { return Revocation{CertPath: r.P12, Passphrase: &none} }, kind: Failed, text: "does not open"},
		"no certificate":     {v: func(r *Result) Revocation { return Revocation{CertPath: r.PassphraseFile} }, kind: Usage, text: "neither PEM nor PKCS#12"},
		"no file":            {v: func(r *Result) Revocation { return Revocation{CertPath: r.P12 + "x"} }, kind: Config, text: "--cert-path"},
		"a reason of no RFC": {v: func(r *Result) Revocation { return Revocation{CertPath: r.Cert, Reason: "bored"} }, kind: Usage, text: "bored"},
		"another's key":      {v: func(r *Result) Revocation { return Revocation{CertPath: r.Cert, KeyPath: otherKey(t)} }, kind: Usage, text: "not the key of"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testca.Config{AlwaysReady: true})
			res := w.obtain(w.request(alice))
			got, err := w.issuer().Revoke(t.Context(), tc.v(res))
			if tc.kind != None {
				if KindOf(err) != tc.kind || !strings.Contains(err.Error(), tc.text) {
					t.Errorf("exit %d: %v", KindOf(err), err)
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
	key, err := newKey("p256")
	if err != nil {
		t.Fatal(err)
	}
	data, err := marshalKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What was revoked is not renewed, shows as revoked, and may be ordered again.
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

// A host that did not order it can revoke with the container alone.
func TestRevokeElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{AlwaysReady: true})
	res := w.obtain(w.request(alice))
	moved := filepath.Join(t.TempDir(), "copy.p12")
	if err := copyOut(res.P12, moved); err != nil {
		t.Fatal(err)
	}
	pass := strings.TrimSpace(string(mustRead(t, res.PassphraseFile)))
	elsewhere := newWorld(t, testca.Config{})
	v := Revocation{CertPath: moved, Server: w.ca.DirectoryURL, CABundle: w.bundle, AskPass: func() (string, error) { return pass, nil }}
	if got, err := elsewhere.issuer().Revoke(t.Context(), v); err != nil || !got.SignedByKey {
		t.Errorf("%+v, %v", got, err)
	}
	v.CertPath = res.Cert
	if _, err := elsewhere.issuer().Revoke(t.Context(), v); !strings.Contains(HintOf(err), "--key-path") {
		t.Errorf("%v", err)
	}
}
