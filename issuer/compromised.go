package issuer

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
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

func (i *Issuer) compromisedPath(pub crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return i.Dir.Path("certs", compromisedDir, hex.EncodeToString(sum[:])+".json"), nil
}

// banKey makes sure that the key of a certificate is not certified again, power cut or
// not. It comes before the CA is told: whoever says that a key is in other hands is
// believed even if the CA cannot be reached.
func (i *Issuer) banKey(leaf *x509.Certificate) error {
	path, err := i.compromisedPath(leaf.PublicKey)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return stateError(dir, err)
	}
	emails, _, _ := cert.Names(leaf)
	err = writeJSON(path, compromise{fileVersion, emails, cert.Serial(leaf), i.now().UTC().Truncate(time.Second)})
	if err = errors.Join(err, state.SyncDir(dir), state.SyncDir(filepath.Dir(dir))); err != nil {
		return stateError(path, err)
	}
	return nil
}

// banned reports whether a key was revoked for keycompromise. What stands in the file does
// not matter, only that it is there; where that cannot be known, the key counts as banned.
func (i *Issuer) banned(key crypto.Signer) bool {
	if key == nil {
		return false
	}
	path, err := i.compromisedPath(key.Public())
	if err != nil {
		return true
	}
	_, err = os.Lstat(path)
	return !errors.Is(err, os.ErrNotExist)
}

func errBanned(where string) error {
	return failure.Failed(failure.NewKey, "%s was revoked for keycompromise and is never certified again", where)
}
