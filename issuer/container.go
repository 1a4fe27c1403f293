package issuer

import (
	"crypto"
	"crypto/x509"
	"strings"

	"software.sslmate.com/src/go-pkcs12"
)

// Formats are the values of --p12: modern is AES-256 with PBKDF2-SHA256, legacy
// is 3DES for old phones and gpgsm.
var Formats = []string{"modern", "legacy"}

// encodeContainer makes the PKCS#12 file: key, leaf, and the rest of the chain.
func encodeContainer(format string, key crypto.Signer, chain []*x509.Certificate, passphrase string) ([]byte, error) {
	encoder := pkcs12.Modern2023
	if format == "legacy" {
		encoder = pkcs12.LegacyDES
	}
	return encoder.Encode(key, chain[0], chain[1:], passphrase)
}

// checkPassphrase: importers disagree on the encoding of anything but ASCII.
func checkPassphrase(s string) error {
	if !isASCII(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return usageError("use printable ASCII", "the passphrase has characters that not all mail programs read alike")
	}
	return nil
}
