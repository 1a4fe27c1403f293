package challenge

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Bounds of an RSA key, in bits. Shorter keys can be factored (RFC 8301, Section 3.2), and
// much longer ones take minutes to verify with.
const (
	minRSA = 1024
	maxRSA = 8192
)

// PublicKey is the key of a record (RFC 6376, Section 3.6.1). Challenges and postseal-check
// share this reader, so that a record which the check accepts also verifies mail. go-msgauth
// does not export its own reader; a fuzz target holds the two together: the library accepts
// each record that is good here.
type PublicKey struct {
	Key     crypto.PublicKey // *rsa.PublicKey or ed25519.PublicKey
	Testing bool             // t=y: signatures do not count
	Exact   bool             // t=s: i= must be of d= itself
}

// Errors of FindKey that a better record would not solve.
var (
	errNoKey       = errors.New("there is no TXT record")
	ErrSeveralKeys = errors.New("there are several TXT records")
	ErrRevokedKey  = errors.New("the key is revoked: p= is empty")
)

// FindKey reads the TXT records of one name, of which exactly one must be a key (RFC 6376,
// Section 3.6.2.2).
func FindKey(records []string) (*PublicKey, error) {
	switch len(records) {
	case 0:
		return nil, errNoKey
	case 1:
		return parsePublicKey(records[0])
	}
	return nil, ErrSeveralKeys
}

// parsePublicKey reads a record. Its error tells an admin why the record cannot verify mail,
// and quotes values from it.
func parsePublicKey(record string) (*PublicKey, error) {
	tags, err := Tags(record)
	if err != nil {
		return nil, err
	}
	if v, ok := tags["v"]; ok && v != "DKIM1" {
		return nil, fmt.Errorf("its v= is %s, not DKIM1", quoted(v))
	}
	if h, ok := tags["h"]; ok && !slices.Contains(colonList(h), "sha256") {
		return nil, fmt.Errorf("its h= is %s, which does not allow sha256", quoted(h))
	}
	if s, ok := tags["s"]; ok && !slices.Contains(colonList(s), "email") && !slices.Contains(colonList(s), "*") {
		return nil, fmt.Errorf("its s= is %s, which does not allow email", quoted(s))
	}
	k := &PublicKey{}
	for _, flag := range colonList(tags["t"]) {
		k.Testing = k.Testing || strings.EqualFold(flag, "y")
		k.Exact = k.Exact || strings.EqualFold(flag, "s")
	}
	k.Key, err = keyIn(tags)
	return k, err
}

// keyIn reads p= according to k=.
func keyIn(tags map[string]string) (crypto.PublicKey, error) {
	p, ok := tags["p"]
	if !ok {
		return nil, errors.New("it has no p=")
	}
	if p == "" {
		return nil, ErrRevokedKey
	}
	data, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(p, " ", ""))
	if err != nil {
		return nil, fmt.Errorf("its p= is not base64: %w", err)
	}
	switch tags["k"] {
	case "", "rsa":
		return rsaKey(data)
	case "ed25519":
		if len(data) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("its p= has %d bytes, and an Ed25519 key has %d (RFC 8463, Section 4.2)", len(data), ed25519.PublicKeySize)
		}
		return ed25519.PublicKey(data), nil
	}
	return nil, fmt.Errorf("its k= is %s, not rsa or ed25519", quoted(tags["k"]))
}

// rsaKey accepts SubjectPublicKeyInfo, and RSAPublicKey as erratum 3017 of RFC 6376 asks.
func rsaKey(data []byte) (*rsa.PublicKey, error) {
	var key *rsa.PublicKey
	if any, err := x509.ParsePKIXPublicKey(data); err == nil {
		key, _ = any.(*rsa.PublicKey)
	} else if key, err = x509.ParsePKCS1PublicKey(data); err != nil {
		key = nil
	}
	if key == nil {
		return nil, errors.New("its p= is not an RSA key")
	}
	if bits := key.N.BitLen(); bits < minRSA || bits > maxRSA {
		return nil, fmt.Errorf("its RSA key has %d bits, not %d to %d", bits, minRSA, maxRSA)
	}
	return key, nil
}

// Tags reads a tag list (RFC 6376, Section 3.2), of a record or a signature. A tag that
// occurs twice makes the whole list invalid.
func Tags(s string) (map[string]string, error) {
	tags := map[string]string{}
	for _, part := range strings.Split(s, ";") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		if _, twice := tags[name]; !ok || twice {
			return nil, errors.New("its tags are not a list, or one appears twice")
		}
		tags[name] = strings.TrimSpace(value)
	}
	return tags, nil
}

// colonList splits a value at its colons.
func colonList(value string) []string {
	return strings.Split(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, value), ":")
}

// quoted makes foreign text printable within a line.
func quoted(s string) string { return fmt.Sprintf("%.60q", s) }
