package issuer

import (
	"context"
	"crypto"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postseal/internal/failure"
	"postseal/internal/testca"
	"postseal/issuer/cert"
	"postseal/issuer/store"
	"postseal/state"
)

// twoKinds are a person's usual kinds: a signature key that nobody else has, and an
// encryption key that is never lost.
func twoKinds() map[string]*Kind {
	return map[string]*Kind{
		"sign":    {Usage: []string{"digitalSignature"}, KeyType: "p256"},
		"encrypt": {Usage: []string{"keyAgreement"}, KeyType: "p384"},
	}
}

// ofKind asks for a certificate of a kind, as cert --kind does.
func (w *world) ofKind(kinds map[string]*Kind, name string, emails ...string) Request {
	req := w.request(emails...)
	req.Kind = name
	kinds[name].Into(&req, func(string) bool { return false })
	return req
}

func (w *world) key(name string) crypto.Signer {
	w.t.Helper()
	key, err := cert.ReadKey(w.dir.Path("certs", name, store.KeyFile))
	must(w.t, err)
	return key
}

// Two kinds at once: the orders follow each other, since they are for one address at one CA.
// A renewal keeps the encryption key, and replaces the signature key.
func TestKinds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	kinds := twoKinds()
	i := w.issuer(func(o *Options) { o.Kinds = kinds })
	reqs := []Request{w.ofKind(kinds, "sign", alice), w.ofKind(kinds, "encrypt", alice), w.request(alice)}
	i.Batch(t.Context(), reqs, 3, func(n int, res *Result, err error) {
		if err != nil || res.Kind != reqs[n].Kind {
			t.Errorf("%q: %+v, %v", reqs[n].Kind, res, err)
		}
	})
	if names := w.entries("certs"); !slices.Equal(names, []string{alice, alice + ",encrypt", alice + ",sign"}) {
		t.Fatalf("certs: %v\n%s", names, w.transcript())
	}
	signs, encrypts := w.key(alice+",sign"), w.key(alice+",encrypt")
	if cert.SamePublicKey(signs.Public(), encrypts) {
		t.Error("one key for both")
	}
	if n := w.renew(i, Renewal{Force: true, Kinds: []string{"sign", "encrypt"}}); n != 2 {
		t.Errorf("%d renewed", n)
	}
	if cert.SamePublicKey(signs.Public(), w.key(alice+",sign")) {
		t.Error("the signature key was kept")
	}
	if !cert.SamePublicKey(encrypts.Public(), w.key(alice+",encrypt")) {
		t.Error("the encryption key was not kept")
	}

	// The present table counts; without one, the remembered settings do.
	no := false
	kinds["encrypt"].ReuseKey, kinds["encrypt"].KeyType = &no, "p256"
	delete(kinds, "sign")
	if n := w.renew(i, Renewal{Force: true, Emails: []string{alice}, Kinds: []string{"sign", "encrypt"}}); n != 2 {
		t.Errorf("%d renewed", n)
	}
	r, err := store.ReadRenewal(w.dir.Path("certs", alice+",encrypt"))
	if err != nil || r.KeyType != "p256" || cert.SamePublicKey(encrypts.Public(), w.key(alice+",encrypt")) {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = store.ReadRenewal(w.dir.Path("certs", alice+",sign"))
	if err != nil || !slices.Equal(r.Usages, []string{"digitalSignature"}) || r.KeyType != "p256" {
		t.Errorf("%+v, %v", r, err)
	}
}

// What the command line says of a certificate outdoes the table, key and all.
func TestKindAndGiven(t *testing.T) {
	t.Parallel()
	no := false
	for name, k := range map[string]*Kind{"told": {Usage: []string{"keyAgreement"}, ReuseKey: &no}, "signs": {Usage: []string{"digitalSignature"}}} {
		for _, given := range []bool{false, true} {
			r := Request{Settings: store.Settings{KeepKey: true}}
			k.Into(&r, func(setting string) bool { return given && setting == "reuse-key" })
			if r.KeepKey != given {
				t.Errorf("%s: given %v, keeps %v", name, given, r.KeepKey)
			}
		}
	}
}

// Two CAs for one address: each certificate stays with its own.
func TestKindsOfTwoCAs(t *testing.T) {
	t.Parallel()
	w, other := newWorld(t, testca.Config{AlwaysReady: true}), newWorld(t, testca.Config{AlwaysReady: true})
	kinds := map[string]*Kind{"one": {}, "two": {Server: other.ca.DirectoryURL, CABundle: other.bundle}}
	i := w.issuer(func(o *Options) { o.Kinds = kinds })
	for name := range kinds {
		if _, err := i.Obtain(t.Context(), w.ofKind(kinds, name, alice)); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.renew(i, Renewal{Force: true, Server: other.ca.DirectoryURL}); n != 1 {
		t.Errorf("%d renewed at the second CA", n)
	}
	if n := w.renew(i, Renewal{Force: true}); n != 2 {
		t.Errorf("%d renewed", n)
	}
	if one, two := w.ca.Counters().Events[testca.EventIssued], other.ca.Counters().Events[testca.EventIssued]; one != 2 || two != 3 {
		t.Errorf("the CAs have issued %d and %d", one, two)
	}
	for name, server := range map[string]string{"one": w.ca.DirectoryURL, "two": other.ca.DirectoryURL} {
		if r, err := store.ReadRenewal(w.dir.Path("certs", alice+","+name)); err != nil || r.Server != server {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// An order of one kind is left on disk, and another kind is ordered: the run completes the
// first one before, so that its mail is answered with its own token.
func TestKindLeftBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{MailDelay: 300 * time.Millisecond})
	kinds := twoKinds()
	w.leaveWaiting(w.ofKind(kinds, "sign", alice))
	w.obtain(w.ofKind(kinds, "encrypt", alice))
	if names := w.entries("certs"); len(names) != 2 || !w.said(StepNote, "resuming an earlier order for "+alice+" (sign) first") {
		t.Errorf("certs: %v\n%s", names, w.transcript())
	}
	if left := append(w.entries("orders"), w.entries("pending")...); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

// host is one of several hosts that share a store, with its own certificates.
func (w *world) host(now func() time.Time) *Issuer {
	return w.issuer(func(o *Options) {
		o.Store, o.Now = w.dir, now
		o.Dir = state.Open(filepath.Join(w.t.TempDir(), "own"))
	})
}

// Two hosts order for one address at one CA at the same time. The second waits: one record
// cannot serve two orders.
func TestOrdersOfTwoHosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{MailDelay: 200 * time.Millisecond})
	if _, err := w.dir.Create(); err != nil {
		t.Fatal(err)
	}
	var hosts sync.WaitGroup
	for range 2 {
		i := w.host(time.Now)
		hosts.Go(func() {
			if _, err := i.Obtain(t.Context(), w.request(alice, "bob@example.test")); err != nil {
				t.Error(err)
			}
		})
	}
	hosts.Wait()
	if !w.said(StepNote, "is in the way") {
		t.Errorf("nobody waited:\n%s", w.transcript())
	}
	if left := w.entries("pending"); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

// A host dies with an order. Another host waits for its record no longer than an order takes,
// and removing the record of an abandoned order spares its successor's.
func TestOrderOfDeadHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	if _, err := w.dir.Create(); err != nil {
		t.Fatal(err)
	}
	old := &state.Pending{ID: "dead", Email: alice, Server: w.ca.DirectoryURL, Thumbprint: "t", From: "ca@ca.test", Token: "t", Created: time.Now(), Expires: time.Now().Add(day)}
	must(t, w.dir.Put(old))
	ctx, cancel := context.WithCancel(t.Context())
	w.onStep = func(s Step) {
		if s.Kind == StepHint {
			cancel()
		}
	}
	if _, err := w.host(time.Now).Obtain(ctx, w.request(alice)); failure.KindOf(err) != failure.KindLater {
		t.Errorf("%v", err)
	}
	if found, err := w.dir.Pending(alice, time.Now()); err != nil || len(found) != 1 || found[0].ID != "dead" {
		t.Errorf("%v, %v", found, err)
	}
	w.onStep = nil
	if _, err := w.host(func() time.Time { return time.Now().Add(2 * time.Hour) }).Obtain(t.Context(), w.request(alice)); err != nil {
		t.Error(err)
	}
	// On one host an order that no process holds is abandoned.
	must(t, w.dir.Put(old))
	w.obtain(w.request(alice))
}

// A key for one owner is not certified for two.
func TestKeyPathOfKind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	kinds := map[string]*Kind{"own": {KeyPath: filepath.Join(t.TempDir(), "key.pem")}}
	key, err := cert.NewKey("p256")
	must(t, err)
	data, err := cert.MarshalKey(key)
	must(t, err)
	must(t, store.WriteOut(kinds["own"].KeyPath, data))
	w.obtain(w.ofKind(kinds, "own", alice))
	if !cert.SamePublicKey(key.Public(), w.key(alice+",own")) {
		t.Error("another key")
	}
	_, err = w.issuer().Obtain(t.Context(), w.ofKind(kinds, "own", "bob@example.test"))
	if failure.KindOf(err) != failure.KindConfig {
		t.Errorf("a second owner: %v", err)
	}
	i := w.issuer(func(o *Options) { o.Kinds = kinds })
	if n := w.renew(i, Renewal{Force: true}); n != 1 || !cert.SamePublicKey(key.Public(), w.key(alice+",own")) {
		t.Errorf("%d renewed, or with another key", n)
	}
}

func TestKindCheck(t *testing.T) {
	for name, k := range map[string]*Kind{
		"key type": {KeyType: "rsa1024"},
		"usage":    {Usage: []string{"all"}},
		"both":     {Usage: []string{"keyEncipherment"}, KeyType: "p256"},
		"server":   {Server: "http://ca.example/"},
		"compat":   {Compat: []string{"all"}},
		"p12":      {P12: "old"},
	} {
		if k.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, k := range twoKinds() {
		must(t, k.Check())
	}
	for name, ok := range map[string]bool{"sign": true, "S-1_x": true, "": false, "a,b": false, "a.b": false, "-a": false, "a/b": false, "x@y": false, "ä": false,
		strings.Repeat("x", 32): true, strings.Repeat("x", 33): false} {
		if (CheckKindName(name) == nil) != ok {
			t.Errorf("%q: %v", name, CheckKindName(name))
		}
	}
}
