package main

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"postseal/internal/check"
	"postseal/internal/printable"
	"postseal/state"
)

// checkConfig looks at the configuration file and the files that it names. A mistake inside
// the file has ended the program already.
func (c *checker) checkConfig(_ context.Context, r *report) {
	c.configFile(r)
	c.caTable(r)
	if path := c.Config.SMTPPasswordFile; path != "" {
		c.secret(r, "SMTP password", path)
	}
	for _, k := range c.Config.DKIM {
		c.dkimKey(r, k)
	}
	if path := c.Config.SMIMERoots; path != "" {
		c.smimeRoots(r, path)
	}
}

func (c *checker) configFile(r *report) {
	path := c.Config.Path
	if path == "" {
		r.ok("there is no configuration file: flags, environment and defaults count")
		return
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		r.fail("", "configuration file %q: %v", path, state.Cause(err))
	case info.Mode().Perm()&0o022 != 0:
		r.fail("run: chmod go-w "+printable.Word(path), "others than its owner may change the configuration: %s", describe(path))
	case c.unreadable(r, "configuration", path):
	case c.Config.Passphrase && c.mailUser() != nil && c.mailUser().uid != os.Geteuid():
		r.warn("put it into a file for the issuing half alone, and name that: passphrase-file",
			"%s holds the passphrase of containers, and the mail half (user %s) reads it", path, c.mailUser().name)
	default:
		r.ok("%s is read", path)
	}
}

// unreadable complains about a file that the mail half cannot read.
func (c *checker) unreadable(r *report, what, path string) bool {
	user := c.mailUser()
	if user == nil {
		return false // the check of the state directory says so
	}
	at, err := user.blocked(path, mayRead)
	if err != nil || at == "" {
		return false
	}
	word := printable.Word(path)
	hint := fmt.Sprintf("run: chgrp %s %s && chmod g+r %s", user.group(), word, word)
	if at != path {
		hint = "let it pass through " + at + ", or keep the file elsewhere"
	}
	r.fail(hint, "the mail half (user %s) cannot read the %s %s: %s", user.name, what, path, describe(at))
	return true
}

func (c *checker) caTable(r *report) {
	if c.Config.CATable == "" {
		r.ok("no [ca] table applies to %s: defaults", c.Server)
	} else {
		r.ok("[ca.%q] applies to %s", c.Config.CATable, c.Server)
	}
	_, err := os.Lstat(sudoers)
	if id := c.Config.TrustedAuthservID; id != "" && !errors.Is(err, fs.ErrNotExist) {
		r.warn("use one of the two: leave trusted-authserv-id out, or remove the file",
			"trusted-authserv-id = %q believes a field of the message, and %s lets every local user hand in messages of their own", id, sudoers)
	}
}

// sudoers is where recipes install contrib/sudoers.d/postseal.
const sudoers = "/etc/sudoers.d/postseal"

// secret looks at a file that the mail half must be able to read and others must not. It
// reports whether all is well.
func (c *checker) secret(r *report, what, path string) bool {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		r.unseen(fmt.Sprintf("%s %q", what, path), err)
		return false
	case err != nil:
		r.fail("correct the path, or make the file", "%s %q: %v", what, path, state.Cause(err))
		return false
	case info.Mode().Perm()&0o007 != 0:
		r.fail("run: chmod o= "+printable.Word(path), "everybody may use the %s: %s", what, describe(path))
		return false
	}
	return !c.unreadable(r, what, path)
}

// Sizes of RSA keys, in bits: keys shorter than the first verify nowhere (RFC 8301, Section
// 3.2), and keys shorter than the second soon will not.
const (
	leastRSA = 1024
	goodRSA  = 2048
)

func (c *checker) dkimKey(r *report, k check.DKIMKey) {
	what := "DKIM key of " + k.Domain
	if !c.secret(r, what, k.Path) {
		return
	}
	key, err := x509.ParsePKIXPublicKey(k.Public)
	rsaKey, ok := key.(*rsa.PublicKey)
	switch {
	case k.Wrong != "":
		r.fail("a [[dkim]] key is a PEM file, PKCS#8 or PKCS#1, RSA or Ed25519", "%s: %s", what, k.Wrong)
	case err != nil:
		r.unseen(fmt.Sprintf("%s %q", what, k.Path), fs.ErrPermission)
	case ok && rsaKey.N.BitLen() < leastRSA:
		r.fail("make one of 2048 bits", "%s: RSA of %d bits is refused everywhere", what, rsaKey.N.BitLen())
	case ok && rsaKey.N.BitLen() < goodRSA:
		r.warn("make one of 2048 bits", "%s: RSA of %d bits is short", what, rsaKey.N.BitLen())
	default:
		r.ok("%s: %s, selector %s, is usable", what, k.Path, k.Selector)
	}
}

func (c *checker) smimeRoots(r *report, path string) {
	const hint = "give a PEM file as roots in [smime]"
	data, err := os.ReadFile(path)
	switch {
	case err != nil:
		r.fail(hint, "roots of S/MIME signers %q: %v", path, state.Cause(err))
	case !x509.NewCertPool().AppendCertsFromPEM(data):
		r.fail(hint, "roots of S/MIME signers: %q holds no certificate", path)
	case !c.unreadable(r, "roots of S/MIME signers", path):
		r.ok("roots of S/MIME signers: %s", path)
	}
}
