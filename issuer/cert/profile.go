package cert

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"slices"
	"strings"

	"howett.net/plist"

	"postseal/internal/printable"
)

// Exports are the formats for an exported key: PKCS#12 as of Formats, PEM, and a profile for
// iOS and macOS.
var Exports = []string{"p12", "p12-legacy", "pem", "mobileconfig"}

// Identity is a key with its certificate.
type Identity struct {
	Label      string // unique among the owner's, for good
	Key        crypto.Signer
	Chain      []*x509.Certificate
	Passphrase string // of its container
}

// Encode writes it in any of Exports but the last, which holds several: see EncodeProfile.
func (id *Identity) Encode(format string) ([]byte, error) {
	switch format {
	case "pem":
		key, err := MarshalKey(id.Key)
		return append(key, MarshalChain(id.Chain)...), err
	case "p12-legacy":
		return EncodeContainer("legacy", id.Key, id.Chain, id.Passphrase)
	}
	return EncodeContainer("modern", id.Key, id.Chain, id.Passphrase)
}

// payload is a part of a configuration profile, and the profile itself. The names are
// Apple's ("Configuration Profile Reference").
type payload struct {
	Type       string `plist:"PayloadType"`
	Version    int    `plist:"PayloadVersion"`
	Identifier string `plist:"PayloadIdentifier"`
	UUID       string `plist:"PayloadUUID"`
	Name       string `plist:"PayloadDisplayName"`
	Content    any    `plist:"PayloadContent"`
}

// newPayload makes a payload whose identifiers depend on its label alone, so that a newer
// profile replaces the older one on a phone.
func newPayload(kind, label, name string, content any) payload {
	id := "postseal." + label
	return payload{kind, 1, id, uuidOf(id), name, content}
}

// EncodeProfile makes the profile of an owner. The container of each key keeps its
// passphrase, which the phone asks for. It is a legacy one, since Apple's systems did not
// read others for years. The profile includes intermediate CAs, so that signatures verify,
// but no root, which the phone would then trust without a further question.
func EncodeProfile(owner string, all []*Identity) ([]byte, error) {
	var parts []payload
	var cas []*x509.Certificate
	for _, id := range all {
		between := slices.DeleteFunc(slices.Clone(id.Chain[1:]), isRoot)
		p12, err := EncodeContainer("legacy", id.Key, append(id.Chain[:1:1], between...), id.Passphrase)
		if err != nil {
			return nil, err
		}
		parts = append(parts, newPayload("com.apple.security.pkcs12", id.Label+".key", id.Label, p12))
		cas = append(cas, between...)
	}
	seen := map[string]bool{}
	for _, c := range cas {
		label := owner + ".ca." + Fingerprint(c)
		if !seen[label] {
			seen[label] = true
			name := printable.Line(c.Subject.CommonName, maxShown)
			parts = append(parts, newPayload("com.apple.security.pkcs1", label, name, c.Raw))
		}
	}
	var text bytes.Buffer
	err := plist.NewEncoder(&text).Encode(newPayload("Configuration", owner, "S/MIME "+owner, parts))
	return text.Bytes(), err
}

// isRoot reports whether a certificate looks self-issued to any reader: it compares names as
// words, however the CA encodes them (RFC 5280, Section 7.1), and counts every certificate
// that its own key has signed.
func isRoot(c *x509.Certificate) bool {
	return nameWords(c.Subject) == nameWords(c.Issuer) || c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// nameWords returns the words of a name, in lower case and with single spaces between them.
func nameWords(n pkix.Name) string {
	var b strings.Builder
	for _, a := range n.Names {
		value := strings.Join(strings.Fields(strings.ToLower(fmt.Sprint(a.Value))), " ")
		fmt.Fprintf(&b, "%s=%q,", a.Type, value)
	}
	return b.String()
}

// uuidOf returns the UUID of a name (RFC 9562, Section 5.8 and Appendix B.2).
func uuidOf(name string) string {
	u := sha256.Sum256([]byte(name))
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("%X-%X-%X-%X-%X", u[:4], u[4:6], u[6:8], u[8:10], u[10:16])
}
