package issuer

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"postseal/internal/failure"
	"postseal/issuer/cert"
	"postseal/issuer/store"
	"postseal/state"
)

// Reasons are the reasons for a revocation (RFC 5280, Section 5.3.1).
var Reasons = []string{"unspecified", "keycompromise", "affiliationchanged", "superseded", "cessationofoperation"}

var reasonCodes = map[string]int{
	"unspecified":          acme.ReasonUnspecified,
	"keycompromise":        acme.ReasonKeyCompromise,
	"affiliationchanged":   acme.ReasonAffiliationChanged,
	"superseded":           acme.ReasonSuperseded,
	"cessationofoperation": acme.ReasonCessationOfOperation,
}

// Revocation asks to revoke a certificate.
type Revocation struct {
	CertPath   string                 // PEM or PKCS#12
	KeyPath    string                 // the certificate's key; "" for the one in the container, or the account key
	Passphrase cert.Passphrase        // of the container; without a kind if it is not given
	AskPass    func() (string, error) // nil if there is nobody to ask
	Reason     string
	Server     string // "" for the one that issued it, if known
	Default    string // the server if nothing else is known
	Hook       string // run after success

	known []store.Certificate // its entries in certs/ after a look-up; otherwise nil
}

// Revoked is a revoked certificate. The field names of its JSON are stable.
type Revoked struct {
	Emails      []string `json:"emails"`
	Kind        string   `json:"kind"` // "" for none, or if it is not in certs/
	Serial      string   `json:"serial"`
	Server      string   `json:"server"`
	Already     bool     `json:"already"` // it was revoked before
	SignedByKey bool     `json:"-"`       // the certificate's own key
	Stored      bool     `json:"-"`       // it is in certs/, and can be renewed
}

// Revoke revokes a certificate (RFC 8555, Section 7.6). It succeeds if the certificate was
// revoked before.
func (i *Issuer) Revoke(ctx context.Context, v Revocation) (*Revoked, error) {
	reason := cmp.Or(strings.ToLower(v.Reason), Reasons[0])
	code, ok := reasonCodes[reason]
	if !ok {
		return nil, failure.In("reason", failure.Usage("use "+strings.Join(Reasons, ", "), "unknown reason %q", v.Reason))
	}
	leaf, key, err := v.read()
	if err != nil {
		return nil, err
	}
	if err := i.prepare(); err != nil {
		return nil, err
	}
	if code == acme.ReasonKeyCompromise {
		if err := i.disk.Ban(leaf); err != nil {
			return nil, err
		}
	}
	known := v.known
	if known == nil {
		known = i.find(leaf)
	}
	server, bundle := v.where(leaf, known)
	c, err := i.ca(server, bundle)
	if err != nil {
		return nil, err
	}
	already, err := c.Revoke(ctx, leaf, key, code)
	if err != nil {
		return nil, err
	}
	emails, _, _ := cert.Names(leaf) // anybody may have made the certificate
	emails = slices.DeleteFunc(emails, func(e string) bool { return !cert.IsPlain(e) })
	done := &Revoked{Emails: emails, Serial: cert.Serial(leaf), Server: server, Already: already, SignedByKey: key != nil}
	if done.Stored = len(known) > 0; done.Stored {
		done.Kind = known[0].Kind
	}
	return done, errors.Join(i.markRevoked(known, reason), v.runHook(ctx, i, leaf, reason, done))
}

// where returns the CA of the certificate: from the renewal.json beside it, which may be
// outside our certs/, or from one in certs/.
func (v *Revocation) where(leaf *x509.Certificate, known []store.Certificate) (server, bundle string) {
	if r, err := store.ReadRenewal(filepath.Dir(v.CertPath)); err == nil && r.Fingerprint == cert.Fingerprint(leaf) {
		known = []store.Certificate{{Renewal: r}}
	}
	server = v.Server
	for _, k := range known {
		bundle = k.CABundle
		server = cmp.Or(server, k.Server)
	}
	return cmp.Or(server, v.Default), bundle
}

// InForce returns the certificates that name an address, of the given kinds or of any, and
// that have neither expired nor been revoked, as paths for Revoke. The error, of the kind
// Failed, means that there are none.
func (i *Issuer) InForce(email string, kinds []string) (paths []string, err error) {
	addr, err := cert.ParseAddress(email)
	if err != nil {
		return nil, err
	}
	certs, err := i.certificates([]string{addr}, kinds)
	if err != nil {
		return nil, err
	}
	for _, c := range certs {
		if c.InForce(i.Now()) {
			paths = append(paths, filepath.Join(i.disk.CertDir(c.Name), store.CertFile))
		}
	}
	if len(paths) == 0 {
		return nil, failure.Failed(failure.SeeStatus, "no certificate in force names %s", addr+ofKind(kinds))
	}
	return paths, nil
}

// find returns the entries of certs/ that hold the certificate.
func (i *Issuer) find(leaf *x509.Certificate) []store.Certificate {
	all, err := i.certificates(nil, nil)
	if err != nil && state.Newer(err) == nil {
		return nil
	}
	return slices.DeleteFunc(all, func(c store.Certificate) bool { return c.Fingerprint != cert.Fingerprint(leaf) })
}

// markRevoked keeps renewals from ordering a revoked certificate again.
func (i *Issuer) markRevoked(certs []store.Certificate, reason string) error {
	for _, c := range certs {
		i.tell(c.Name, store.Event{What: store.EventRevoked, Emails: c.Emails, Server: c.Server, Serial: c.Serial, Reason: reason})
		c.Revoked = i.Now().UTC().Truncate(time.Second)
		err := i.disk.Rewrite(c)
		if errors.Is(err, store.ErrLocked) {
			return failure.Later(failure.RevokeAgain, "the certificate is revoked, but another postseal is working on an order for %s", list(c.Emails))
		}
		if err != nil {
			return store.Error(i.disk.CertDir(c.Name), err)
		}
	}
	return nil
}

// read reads the certificate, and the key to sign with: nil for the account's.
func (v *Revocation) read() (*x509.Certificate, crypto.Signer, error) {
	leaf, key, err := cert.Read(v.CertPath, v.passphrases())
	if err != nil || v.KeyPath == "" {
		return leaf, key, err
	}
	if key, err = cert.ReadKey(v.KeyPath); err != nil {
		return nil, nil, err
	}
	if !cert.SamePublicKey(leaf.PublicKey, key) {
		return nil, nil, failure.In("key-path", failure.Usage("give the key of that certificate",
			"%q is not the key of %q", v.KeyPath, v.CertPath))
	}
	return leaf, key, nil
}

// passphrases returns the passphrases to try, in order: the given one, none, the one beside a
// container of ours, and one that the user types.
func (v *Revocation) passphrases() []func() (string, error) {
	constant := func(s string) func() (string, error) { return func() (string, error) { return s, nil } }
	switch v.Passphrase.Kind {
	case "":
	case cert.PassFile:
		return []func() (string, error){func() (string, error) { return cert.ReadPassphrase(v.Passphrase.Path) }}
	default:
		return []func() (string, error){constant(v.Passphrase.Value)}
	}
	tries := []func() (string, error){constant("")}
	dir := filepath.Dir(v.CertPath)
	if word := store.Passphrase(dir); word != "" {
		tries = append(tries, constant(word))
	}
	if r, err := store.ReadRenewal(dir); err == nil && r.Passphrase.Kind == cert.PassGiven {
		tries = append(tries, constant(r.Passphrase.Value))
	}
	if v.AskPass != nil {
		tries = append(tries, v.AskPass)
	}
	return tries
}
