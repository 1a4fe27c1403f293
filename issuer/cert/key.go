// Package cert makes the parts of a certificate for mail: addresses, key and usages, the
// request, the check of the CA's result, and the container for mail programs. It works on
// values alone.
package cert

import (
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
	"slices"
	"strings"

	"postseal/internal/failure"
)

// KeyTypes are the types of keys that NewKey makes.
var KeyTypes = []string{"rsa2048", "rsa3072", "rsa4096", "p256", "p384"}

// DefaultKeyType is the key type that every mail program can use.
const DefaultKeyType = "rsa2048"

// NewKey generates a private key.
func NewKey(keyType string) (crypto.Signer, error) {
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

// KeyTypeOf names the type of a key, or says why no CA may take it (CA/B Forum
// S/MIME BR, Section 6.1.5).
func KeyTypeOf(key crypto.Signer) (string, error) {
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

var errNoKey = errors.New("holds no private key")

// ParseKey returns the first private key in PEM text, which may also hold certificates, or
// reads one in DER. The error is errNoKey if there is no unencrypted key.
func ParseKey(data []byte) (crypto.Signer, error) {
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

// MarshalKey writes a key as PKCS#8 in PEM.
func MarshalKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// SamePublicKey reports whether a certificate's public key belongs to a private key.
func SamePublicKey(pub crypto.PublicKey, key crypto.Signer) bool {
	k, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(pub)
}

func isEC(keyType string) bool { return slices.Contains([]string{"p256", "p384"}, keyType) }

// Usages are the key usages that one can order (RFC 5280, Section 4.2.1.3).
var Usages = []string{"digitalSignature", "contentCommitment", "keyEncipherment", "keyAgreement"}

var usageBits = map[string]x509.KeyUsage{
	"digitalSignature":  x509.KeyUsageDigitalSignature,
	"contentCommitment": x509.KeyUsageContentCommitment,
	"keyEncipherment":   x509.KeyUsageKeyEncipherment,
	"keyAgreement":      x509.KeyUsageKeyAgreement,
}

// CheckUsages refuses usages that a key of that type does not support (CA/B Forum S/MIME BR,
// Section 7.1.2.3).
func CheckUsages(usages []string, keyType string) error {
	for _, u := range usages {
		if _, ok := usageBits[u]; !ok {
			return failure.Usage("use "+strings.Join(Usages, ", "), "unknown usage %q", u)
		}
	}
	if isEC(keyType) && slices.Contains(usages, "keyEncipherment") {
		return failure.Usage("use keyAgreement with an EC key, or an RSA key",
			"an EC key cannot encipher keys: keyEncipherment does not go with key type %s", keyType)
	}
	if keyType != "" && !isEC(keyType) && slices.Contains(usages, "keyAgreement") {
		return failure.Usage("use keyEncipherment with an RSA key, or an EC key",
			"an RSA key cannot agree on keys: keyAgreement does not go with key type %s", keyType)
	}
	return nil
}

func usageOf(usages []string) (bits x509.KeyUsage) {
	for _, u := range usages {
		bits |= usageBits[u]
	}
	return bits
}

// signingOnly reports whether usages ask for a certificate that only signs (RFC
// 8823, Section 3.3).
func signingOnly(usages []string) bool {
	return len(usages) > 0 && usageOf(usages)&encryptionBits == 0
}

// EncryptionOnly reports whether usages ask for a certificate that signs nothing.
func EncryptionOnly(usages []string) bool {
	return len(usages) > 0 && usageOf(usages)&^encryptionBits == 0
}

const encryptionBits = x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement
