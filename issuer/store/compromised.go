package store

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"postseal/internal/failure"
	"postseal/issuer/cert"
	"postseal/state"
)

// compromisedDir holds in certs/ a file for each key that was revoked for keycompromise,
// named after the SHA-256 of its public key (SubjectPublicKeyInfo). Such a key is never
// certified again, whatever asks for it; renewals take a new one.
const compromisedDir = ".compromised"

// compromise is the content of such a file, for people.
type compromise struct {
	Version int       `json:"version"`
	Emails  []string  `json:"emails"`
	Serial  string    `json:"serial"` // of the revoked certificate
	Time    time.Time `json:"time"`
}

func (d *Disk) compromisedPath(pub crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return d.Path("certs", compromisedDir, hex.EncodeToString(sum[:])+".json"), nil
}

// Ban makes sure that the key of a certificate is never certified again, even after a power
// cut. Callers call it before they tell the CA: the user's word that somebody else has the
// key counts even if the CA is unreachable.
func (d *Disk) Ban(leaf *x509.Certificate) error {
	path, err := d.compromisedPath(leaf.PublicKey)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Error(dir, err)
	}
	emails, _, _ := cert.Names(leaf) // anybody may have written the certificate
	emails = slices.DeleteFunc(emails, func(e string) bool { return !cert.IsPlain(e) })
	err = Write(path, compromise{Version, emails, cert.Serial(leaf), d.Now().UTC().Truncate(time.Second)})
	if err = errors.Join(err, state.SyncDir(dir), state.SyncDir(filepath.Dir(dir))); err != nil {
		return Error(path, err)
	}
	return nil
}

// Banned reports whether a key was revoked for keycompromise. Only the file's existence
// counts, not its content; when in doubt, the key is banned.
func (d *Disk) Banned(key crypto.Signer) bool {
	if key == nil {
		return false
	}
	path, err := d.compromisedPath(key.Public())
	if err != nil {
		return true
	}
	_, err = os.Lstat(path)
	return !errors.Is(err, os.ErrNotExist)
}

// ErrBanned returns the error of a banned key.
func ErrBanned(where string) error {
	return failure.Failed(failure.NewKey, "%s was revoked for keycompromise and is never certified again", where)
}
