package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// KeyTypes are the values of --key-type.
var KeyTypes = []string{"rsa2048", "rsa3072", "rsa4096", "p256", "p384"}

// DefaultKeyType is what every mail program can use.
const DefaultKeyType = "rsa2048"

// newKey generates a private key.
func newKey(keyType string) (crypto.Signer, error) {
	switch keyType {
	case "rsa2048", "":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "rsa3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "rsa4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	case "p256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "p384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	}
	return nil, usageError("use one of "+strings.Join(KeyTypes, ", "), "key type %q is none", keyType)
}

// keyTypeOf names the type of a key, or says why no CA may take it (CA/B Forum
// S/MIME BR, Section 6.1.5).
func keyTypeOf(key crypto.Signer) (string, error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if bits := k.N.BitLen(); bits >= 2048 && bits%8 == 0 {
			return fmt.Sprintf("rsa%d", bits), nil
		}
		return "", fmt.Errorf("an RSA key of %d bits is not taken by any CA", k.N.BitLen())
	case *ecdsa.PrivateKey:
		switch k.Curve {
		case elliptic.P256():
			return "p256", nil
		case elliptic.P384():
			return "p384", nil
		}
		return "", fmt.Errorf("an EC key on %s is not taken by any CA", k.Curve.Params().Name)
	}
	return "", fmt.Errorf("a key of type %T is not taken by any CA", key)
}

// readKey reads a private key for a certificate: PEM of PKCS#8, PKCS#1 or SEC 1.
func readKey(path string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, configError("give a PEM file with a private key", "--key-path: %v", err)
	}
	key, err := parseKey(data)
	if err == nil {
		_, err = keyTypeOf(key)
	}
	if err != nil {
		return nil, usageError("use an unencrypted PEM file with an RSA key of 2048 bits or more, P-256 or P-384",
			"--key-path: %q: %v", path, err)
	}
	return key, nil
}

// parseKey finds the first private key in PEM text; certificates may stand
// beside it.
func parseKey(data []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "PRIVATE KEY":
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, err
			}
			if signer, ok := key.(crypto.Signer); ok {
				return signer, nil
			}
			return nil, fmt.Errorf("a key of type %T cannot sign", key)
		case "RSA PRIVATE KEY":
			return x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			return x509.ParseECPrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("the key is encrypted")
		}
	}
	return nil, errors.New("holds no private key")
}

func marshalKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// samePublicKey tells whether a certificate is for a key.
func samePublicKey(pub crypto.PublicKey, key crypto.Signer) bool {
	k, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(pub)
}

func isEC(keyType string) bool { return slices.Contains([]string{"p256", "p384"}, keyType) }
