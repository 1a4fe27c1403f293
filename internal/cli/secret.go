package cli

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Password returns the SMTP user's password from the file at path, the environment, or the
// configuration file, or "". path is "" if no flag names a file.
func (f *File) Password(path string) (string, error) {
	if path != "" {
		data, err := os.ReadFile(path)
		return strings.TrimRight(string(data), "\r\n"), err
	}
	if p, ok := os.LookupEnv("POSTSEAL_SMTP_PASSWORD"); ok {
		return p, nil
	}
	return f.SMTPPassword, nil
}

// Signer reads the private key: PEM, PKCS#8 or PKCS#1, RSA or Ed25519.
func (k *DKIMKey) Signer() (crypto.Signer, error) {
	data, err := os.ReadFile(k.Key)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block", k.Key)
	}
	key, err := parseKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.Key, err)
	}
	return key, nil
}

func parseKey(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("no private key in PKCS#8 or PKCS#1")
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, fmt.Errorf("a %T is not a DKIM key; use RSA or Ed25519", key)
}
