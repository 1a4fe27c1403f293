package issuer

import (
	"crypto/x509"
	"slices"
	"strings"

	"postseal/internal/failure"
)

// Usages are the key usages that can be ordered (RFC 5280, Section 4.2.1.3).
var Usages = []string{"digitalSignature", "contentCommitment", "keyEncipherment", "keyAgreement"}

var usageBits = map[string]x509.KeyUsage{
	"digitalSignature":  x509.KeyUsageDigitalSignature,
	"contentCommitment": x509.KeyUsageContentCommitment,
	"keyEncipherment":   x509.KeyUsageKeyEncipherment,
	"keyAgreement":      x509.KeyUsageKeyAgreement,
}

// checkUsages refuses what a key of that type cannot do (CA/B Forum S/MIME BR,
// Section 7.1.2.3).
func checkUsages(usages []string, keyType string) error {
	for _, u := range usages {
		if _, ok := usageBits[u]; !ok {
			return failure.Usage("use "+strings.Join(Usages, ", "), "unknown usage %q", u)
		}
	}
	if isEC(keyType) && slices.Contains(usages, "keyEncipherment") {
		return failure.Usage("use keyAgreement with an EC key, or an RSA key",
			"an EC key cannot encipher keys: keyEncipherment does not go with key type %s", keyType)
	}
	if !isEC(keyType) && slices.Contains(usages, "keyAgreement") {
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
	return len(usages) > 0 && usageOf(usages)&(x509.KeyUsageKeyEncipherment|x509.KeyUsageKeyAgreement) == 0
}
