package issuer

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"

	"postseal/internal/failure"
)

// Kinds of Passphrase.
const (
	PassGenerated = "generated" // random, written beside the container
	PassGiven     = "given"     // by flag or prompt
	PassFile      = "file"      // read from a file at each renewal
	PassNone      = "none"      // empty, with a MAC
)

// Passphrase says how a container is locked. A given one is remembered for
// renewals in renewal.json, which is 0600 and stands beside the private key in
// the clear: it opens nothing there that is not open already.
type Passphrase struct {
	Kind  string `json:"kind,omitempty"`
	Value string `json:"value,omitempty"` // of a given one
	Path  string `json:"path,omitempty"`  // of a file
}

// resolve returns the passphrase. A generated one stays the same for all
// renewals of a certificate: its owner has written it down.
func (p Passphrase) resolve(certDir string) (string, error) {
	switch p.Kind {
	case PassNone:
		return "", nil
	case PassGiven:
		return p.Value, checkPassphrase(p.Value)
	case PassFile:
		return ReadPassphrase(p.Path)
	}
	if old, err := os.ReadFile(filepath.Join(certDir, passphraseName)); err == nil {
		return string(bytes.TrimSpace(old)), nil
	}
	return rand.Text(), nil
}

// ReadPassphrase reads the first line of a file.
func ReadPassphrase(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", failure.In("passphrase-file", failure.Config("give a file with the passphrase in its first line", "%v", err))
	}
	line, _, _ := strings.Cut(string(data), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" {
		return "", failure.In("passphrase-file", failure.Config(failure.EmptyPass, "the first line of %q is empty", path))
	}
	return line, checkPassphrase(line)
}
