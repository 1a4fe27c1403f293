package issuer

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"postseal/internal/failure"
)

// KeyTypes are the types of keys that can be made.
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
	return nil, failure.Usage("use one of "+strings.Join(KeyTypes, ", "), "unknown key type %q", keyType)
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

const keyHint = "use a file with an RSA key of 2048 bits or more, P-256 or P-384: PEM or DER, not encrypted"

// readKey reads a private key for a certificate: PKCS#8, PKCS#1 or SEC 1, in PEM or DER.
// What people have besides is called by its name, with a command that converts it.
func readKey(path string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, failure.In("key-path", failure.Config("give a file with a private key", "%v", err))
	}
	key, err := parseKey(bytes.TrimPrefix(data, []byte("\ufeff")))
	if err == nil {
		_, err = keyTypeOf(key)
	}
	if errors.Is(err, errNoKey) {
		if what, hint := identify(data, path); what != "" {
			return nil, failure.In("key-path", failure.Usage(cmp.Or(hint, keyHint), "%q is %s", path, what))
		}
	}
	if err != nil {
		return nil, failure.In("key-path", failure.Usage(keyHint, "%q: %v", path, err))
	}
	return key, nil
}

var errNoKey = errors.New("holds no private key")

// parseKey finds the first private key in PEM text, where certificates may stand
// beside it, or reads one in DER. The error is errNoKey if there is none that is not
// encrypted.
func parseKey(data []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if slices.Contains([]string{"PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"}, block.Type) && block.Headers["DEK-Info"] == "" {
			return parseDER(block.Bytes)
		}
	}
	if _, err := asn1.Unmarshal(data, new(asn1.RawValue)); err != nil {
		return nil, errNoKey
	}
	if key, err := parseDER(data); err == nil {
		return key, nil
	}
	return nil, errNoKey
}

func parseDER(der []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		if rsaKey, err := x509.ParsePKCS1PrivateKey(der); err == nil {
			return rsaKey, nil
		}
		if ecKey, err := x509.ParseECPrivateKey(der); err == nil {
			return ecKey, nil
		}
		return nil, fmt.Errorf("the key cannot be read: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign", key)
	}
	return signer, nil
}

func marshalKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// samePublicKey reports whether a certificate is for a key.
func samePublicKey(pub crypto.PublicKey, key crypto.Signer) bool {
	k, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(pub)
}

func isEC(keyType string) bool { return slices.Contains([]string{"p256", "p384"}, keyType) }
