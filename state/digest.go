package state

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
)

var b64 = base64.RawURLEncoding

// Digest returns the base64url SHA-256 digest of the key authorization: the content of the
// reply (RFC 8823, Section 3, item 6; RFC 8555, Section 8.1). part1 is that of the mail.
func (p *Pending) Digest(part1 string) (string, error) {
	token, err := join(part1, p.Token, p.Join)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(token + "." + p.Thumbprint))
	return b64.EncodeToString(sum[:]), nil
}

// join makes the token of its two parts. The RFC says "concatenates", and CAs concatenate
// either the texts ("string") or the bytes that they encode ("bytes").
func join(part1, part2, how string) (string, error) {
	if how != "bytes" {
		return part1 + part2, nil
	}
	a, err := b64.DecodeString(strings.TrimRight(part1, "="))
	if err != nil {
		return "", fmt.Errorf("token-part1 is not base64url: %w", err)
	}
	b, err := b64.DecodeString(strings.TrimRight(part2, "="))
	if err != nil {
		return "", fmt.Errorf("token-part2 is not base64url: %w", err)
	}
	return b64.EncodeToString(append(a, b...)), nil
}
