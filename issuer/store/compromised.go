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

// compromisedDir remembers in certs/ the keys that were revoked for keycompromise: for
// each a file that is named after the SHA-256 of its public key (SubjectPublicKeyInfo).
// Such a key is never certified again, whatever asks for it; renewals take a new one.
const compromisedDir = ".compromised"

// compromise is what such a file says, for people.
type compromise struct {
	Version int       `json:"version"`
	Emails  []string  `json:"emails"`
	Serial  string    `json:"serial"` // of the certificate that was revoked
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

// Ban makes sure that the key of a certificate is not certified again, power cut or
// not. It comes before the CA is told: a user who says that a key is in other hands is
// believed even if the CA cannot be reached.
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

// Banned reports whether a key was revoked for keycompromise. The content of the file does
// not matter, only that it is there; where that cannot be known, the key counts as banned.
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

// ErrBanned returns the error of a key that is banned.
func ErrBanned(where string) error {
	return failure.Failed(failure.NewKey, "%s was revoked for keycompromise and is never certified again", where)
}
