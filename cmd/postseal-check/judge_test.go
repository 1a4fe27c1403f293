package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"postseal/internal/challenge"
	"postseal/internal/check"
)

// What the way of a reply did to it, with the finding that its sender needs.
func TestJudge(t *testing.T) {
	_, text := challenge.Sample("alice@example.test", "ca@ca.test", time.Now())
	good := strings.ReplaceAll(string(text), "\r\n", "\n")
	all := strings.Join(challenge.MustSign, ":")
	digest := regexp.MustCompile(`(?m)^[A-Za-z0-9_-]{43}$`)
	signed := func(tags string) func(string) string {
		return func(s string) string { return "DKIM-Signature: v=1; a=rsa-sha256; " + tags + "\n" + s }
	}
	replace := func(old, new string) func(string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q in\n%s", old, good)
		}
		return func(s string) string { return strings.Replace(s, old, new, 1) }
	}
	for name, tc := range map[string]struct {
		change func(string) string
		status check.Status
		want   string
	}{
		"covers all":        {signed("d=Example.Test; s=a; h=" + all), check.OK, "covers what it must"},
		"in small letters":  {signed("d=example.test; s=a; h=" + strings.ToLower(all)), check.OK, "covers what it must"},
		"not all":           {signed("d=example.test; s=a; h=" + strings.TrimPrefix(all, challenge.MustSign[0]+":")), check.Failure, "lacks " + challenge.MustSign[0]},
		"others may append": {signed("d=example.test; s=a; l=7; h=" + all), check.Warning, "has l="},
		"of a parent":       {signed("d=test; s=a; h=" + all), check.Failure, "signed by test, not by example.test"},
		"a better one below": {func(s string) string {
			return signed("d=example.test; s=b; h=From")(signed("d=example.test; s=a; h=" + all)(s))
		}, check.OK, "covers what it must"},
		"base64":      {replace("Encoding: 7bit", "Encoding: BASE64"), check.Failure, "encoded as base64"},
		"HTML":        {replace("text/plain", "text/html"), check.Failure, "not text/plain"},
		"no block":    {replace(challenge.BeginBlock, "-----BEGIN-----"), check.Failure, "no block"},
		"no end":      {replace(challenge.EndBlock, "-----END-----"), check.Failure, "no block"},
		"short":       {replace(challenge.BeginBlock+"\n", challenge.BeginBlock+"\nx\n"), check.Failure, "was folded"},
		"cut off":     {func(s string) string { return digest.ReplaceAllStringFunc(s, func(d string) string { return d[1:] }) }, check.Failure, "not 43 characters"},
		"two senders": {replace("From: alice@example.test", "From: alice@example.test, bob@example.test"), check.Failure, "not a single address"},
	} {
		c := newChecker(t, check.Options{Resolver: "127.0.0.1:1"})
		t.Run(name, func(t *testing.T) {
			wantFinding(t, found(t, func(ctx context.Context, r *report) { c.judge(ctx, r, "it", []byte(tc.change(good))) }), tc.status, tc.want)
		})
	}
}

// Keys that nobody accepts, or soon will not.
func TestDKIMKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	bits := func(n uint) *rsa.PublicKey {
		return &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), n-1), E: 65537}
	}
	for name, tc := range map[string]struct {
		key    any
		wrong  string
		status check.Status
		want   string
	}{
		"Ed25519": {ed, "", check.OK, "is usable"}, "2048": {bits(2048), "", check.OK, "is usable"},
		"2047": {bits(2047), "", check.Warning, "RSA of 2047 bits is short"}, "1024": {bits(1024), "", check.Warning, "is short"},
		"1023": {bits(1023), "", check.Failure, "refused everywhere"}, "not a key": {nil, "holds no key", check.Failure, "holds no key"},
		"unseen": {nil, "", check.Warning, "cannot be looked at"},
	} {
		k := check.DKIMKey{Domain: "example.test", Selector: "a", Path: path, Wrong: tc.wrong}
		if tc.key != nil {
			if k.Public, err = x509.MarshalPKIXPublicKey(tc.key); err != nil {
				t.Fatal(err)
			}
		}
		all := found(t, func(_ context.Context, r *report) {
			newChecker(t, check.Options{MailUser: "no-such-user"}).dkimKey(r, k)
		})
		if len(all) != 1 {
			t.Errorf("%s: %+v", name, all)
		}
		wantFinding(t, all, tc.status, tc.want)
	}
}

// Nobody but its owner and a group may use the password, not even overwrite it.
func TestPasswordFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := newChecker(t, check.Options{MailUser: "no-such-user", Config: check.Config{SMTPPasswordFile: path}})
	for mode, wrong := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true, 0o602: true, 0o601: true} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		failures := 0
		for _, f := range found(t, c.checkConfig) {
			if f.Status == check.Failure {
				failures++
			}
		}
		if (failures > 0) != wrong {
			t.Errorf("mode %o: %d failures", mode, failures)
		}
	}
}

func TestSMIMERoots(t *testing.T) {
	_, roots := testCertificate(t)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]check.Status{roots: check.OK, empty: check.Failure, empty + ".none": check.Failure} {
		c := newChecker(t, check.Options{MailUser: "no-such-user", Config: check.Config{SMIMERoots: path}})
		wantFinding(t, found(t, c.checkConfig), want, "roots of S/MIME signers")
	}
}

// Every secret is looked at, and a group may have been given the right to read one.
func TestPrivateFiles(t *testing.T) {
	for _, name := range []string{"accounts/ca.example+dir/key.pem", "accounts/ca.example+dir/key.next.pem", "certs/a@x.test/privkey.pem", "certs/a@x.test/cert.p12", "certs/a@x.test/passphrase"} {
		for mode, wrong := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o601: true, 0o602: true, 0o604: true} {
			c := newChecker(t, check.Options{})
			path := filepath.Join(c.State, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600), os.Chmod(path, mode)); err != nil {
				t.Fatal(err)
			}
			all := found(t, func(_ context.Context, r *report) { c.privateFiles(r) })
			if (len(all) > 0) != wrong {
				t.Errorf("%s, mode %o: %+v", name, mode, all)
			}
		}
	}
}

// Of two addresses of one place, one is Postfix's and one the admin's.
func TestSameAddr(t *testing.T) {
	dir := t.TempDir()
	socket, link := filepath.Join(dir, "socket"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(socket, nil, 0o600), os.Symlink("socket", link)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"localhost:1", "127.0.0.1:1", true}, {"[::1]:1", "localhost:1", true}, {"localhost:1", "localhost:2", false},
		{socket, link, true}, {socket, socket + "2", false}, {socket + "3", socket + "2", false},
	} {
		if got := sameAddr(c.a, c.b); got != c.same {
			t.Errorf("%s and %s: %v", c.a, c.b, got)
		}
	}
}

// A CAA record that breaks its own lengths says nothing.
func TestParseCAA(t *testing.T) {
	for data, want := range map[string]caa{
		"\x00\x09issuemailca.example": {false, "issuemail", "ca.example"}, "\x80\x09ISSUEMAIL": {true, "issuemail", ""}, "\x01\x01ax": {false, "a", "x"},
		"": {}, "\x00": {}, "\x00\x00x": {}, "\x00\x05issu": {},
	} {
		if got, err := parseCAA([]byte(data)); got != want || (err == nil) != (want.tag != "") {
			t.Errorf("%q: %+v, %v", data, got, err)
		}
	}
}
