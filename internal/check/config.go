package check

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// checkConfig looks at the configuration file and the files that it names. What is
// wrong inside the file has ended the program already.
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
		r.fail("", "configuration file %q: %v", path, cause(err))
	case info.Mode().Perm()&0o022 != 0:
		r.fail("run: chmod go-w "+path, "others than its owner may change the configuration: %s", describe(path))
	case c.unreadable(r, "configuration", path):
	default:
		r.ok("%s is read", path)
	}
}

// unreadable complains about a file that the mail half cannot read.
func (c *checker) unreadable(r *report, what, path string) bool {
	user := c.mailUser()
	if user == nil {
		return false // said by the check of the state directory
	}
	at, err := user.blocked(path, mayRead)
	if err != nil || at == "" {
		return false
	}
	hint := fmt.Sprintf("run: chgrp %s %s && chmod g+r %s", groupName(uint32(user.gids[0])), path, path)
	if at != path {
		hint = "let it pass through " + at + ", or keep the file elsewhere"
	}
	r.fail(hint, "the mail half (user %s) cannot read the %s %s: %s", user.name, what, path, describe(at))
	return true
}

func (c *checker) caTable(r *report) {
	switch c.Config.CATable {
	case "":
		r.ok("no [ca] table applies to %s: defaults", c.Server)
	default:
		r.ok("[ca.%q] applies to %s", c.Config.CATable, c.Server)
	}
	if id := c.Config.TrustedAuthservID; id != "" && exists(sudoers) {
		r.warn("use one of the two: leave trusted-authserv-id out, or remove the file",
			"trusted-authserv-id = %q believes a field of the message, and %s lets every local user hand in messages of their own", id, sudoers)
	}
}

// sudoers is where recipes install contrib/sudoers.d/postseal.
const sudoers = "/etc/sudoers.d/postseal"

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// secret looks at a file that others must not read and the mail half must. It
// reports whether all is well.
func (c *checker) secret(r *report, what, path string) bool {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		r.warn("run this as root", "%s %q cannot be looked at by %s: %v", what, path, me(), cause(err))
		return false
	case err != nil:
		r.fail("correct the path, or make the file", "%s %q: %v", what, path, cause(err))
		return false
	case info.Mode().Perm()&0o007 != 0:
		r.fail("run: chmod o= "+path, "everybody may use the %s: %s", what, describe(path))
		return false
	}
	return !c.unreadable(r, what, path)
}

// Sizes of RSA keys: shorter ones than the first verify nowhere (RFC 8301,
// Section 3.2), shorter ones than the second soon will not.
const (
	leastRSA = 1024
	goodRSA  = 2048
)

func (c *checker) dkimKey(r *report, k DKIMKey) {
	what := "DKIM key of " + k.Domain
	if !c.secret(r, what, k.Path) {
		return
	}
	key, err := readDKIMKey(k.Path)
	if errors.Is(err, fs.ErrPermission) {
		r.warn("run this as root", "%s %q cannot be looked at by %s", what, k.Path, me())
		return
	}
	if err != nil {
		r.fail("a [[dkim]] key is a PEM file, PKCS#8 or PKCS#1, RSA or Ed25519", "%s: %v", what, err)
		return
	}
	rsaKey, ok := key.(*rsa.PublicKey)
	switch {
	case ok && rsaKey.N.BitLen() < leastRSA:
		r.fail("make one of 2048 bits", "%s: RSA of %d bits is refused everywhere", what, rsaKey.N.BitLen())
	case ok && rsaKey.N.BitLen() < goodRSA:
		r.warn("make one of 2048 bits", "%s: RSA of %d bits is short", what, rsaKey.N.BitLen())
	default:
		r.ok("%s: %s, selector %s, is usable", what, k.Path, k.Selector)
	}
}

// readDKIMKey returns the public half of a private key, in the forms that the mail
// half takes.
func readDKIMKey(path string) (crypto.PublicKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%q holds no PEM block", path)
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key.Public(), nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%q holds no private key in PKCS#8 or PKCS#1", path)
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key.Public(), nil
	case ed25519.PrivateKey:
		return key.Public(), nil
	}
	return nil, fmt.Errorf("%q holds a %T, which is not a DKIM key", path, key)
}

func (c *checker) smimeRoots(r *report, path string) {
	const hint = "give a PEM file as roots in [smime]"
	data, err := os.ReadFile(path)
	switch {
	case err != nil:
		r.fail(hint, "roots of S/MIME signers %q: %v", path, cause(err))
	case !x509.NewCertPool().AppendCertsFromPEM(data):
		r.fail(hint, "roots of S/MIME signers: %q holds no certificate", path)
	case !c.unreadable(r, "roots of S/MIME signers", path):
		r.ok("roots of S/MIME signers: %s", path)
	}
}
