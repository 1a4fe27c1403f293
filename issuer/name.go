package issuer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"postseal/issuer/cert"
	"postseal/state"
)

// maxName bounds a NAME in bytes; a longer one becomes a digest. File systems
// stop at 255, and prefixes and suffixes of ours come to it.
const maxName = 200

// maxSets bounds how many certificates may share their first address.
const maxSets = 99

// baseName returns the NAME of a first address: the address itself, with %XX for
// what cannot stand in a file name or would hide it.
func baseName(addr string) string {
	var b strings.Builder
	for i, c := range []byte(state.Key(addr)) {
		if c <= ' ' || c == 0x7f || c == '/' || c == '%' || c == '\\' || c == '.' && i == 0 {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	if b.Len() > maxName {
		sum := sha256.Sum256([]byte(b.String()))
		return "sha256-" + hex.EncodeToString(sum[:])
	}
	return b.String()
}

// pickName returns the NAME for a set of addresses: that under which the set is
// known, else the first that is free. The caller holds the lock of the base.
func (i *Issuer) pickName(emails []string) (string, error) {
	base := baseName(emails[0])
	for n := 1; n <= maxSets; n++ {
		name := base
		if n > 1 {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		known, taken, err := i.addressesOf(name)
		if err != nil {
			return "", stateError(name, err)
		}
		if !taken || cert.SameAddresses(known, emails) {
			return name, nil
		}
	}
	return "", fmt.Errorf("%d certificates begin with %s", maxSets, emails[0])
}

// addressesOf tells which addresses a NAME stands for, and whether it is taken. The
// error means that a newer postseal knows.
func (i *Issuer) addressesOf(name string) (emails []string, taken bool, err error) {
	if exists(i.certDir(name)) {
		r, err := readRenewal(i.certDir(name))
		if state.Newer(err) != nil {
			return nil, true, err
		}
		switch {
		case err == nil:
			return r.Emails, true, nil
		case !i.isPrepared(name):
			return nil, true, nil // nobody knows what it is: leave it alone
		}
	}
	for _, dry := range []bool{false, true} {
		o, err := readOrder(i.orderPath(name, dry))
		if state.Newer(err) != nil {
			return nil, true, err
		}
		if err == nil && o != nil {
			return o.Emails, true, nil
		}
	}
	return nil, false, nil
}

// isPrepared reports whether certs/NAME is an empty directory: an admin's link or mount
// that is to have a certificate.
func (i *Issuer) isPrepared(name string) bool {
	entries, err := os.ReadDir(i.certDir(name))
	return err == nil && !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() != "lost+found" })
}
