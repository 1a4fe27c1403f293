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

// Exports are the formats in which an owner can have a key: PKCS#12 as of Formats, PEM,
// and a profile for iOS and macOS.
var Exports = []string{"p12", "p12-legacy", "pem", "mobileconfig"}

// Identity is a key and the certificate for it.
type Identity struct {
	Label      string // no other of the same owner has it, now or later
	Key        crypto.Signer
	Chain      []*x509.Certificate
	Passphrase string // of its container
}

// Encode writes it in one of Exports but the last, which is for several: see EncodeProfile.
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

// newPayload makes a payload whose identifiers follow from its label alone, so that a
// newer profile replaces the older one on a phone.
func newPayload(kind, label, name string, content any) payload {
	id := "postseal." + label
	return payload{kind, 1, id, uuidOf(id), name, content}
}

// EncodeProfile makes the profile of an owner. The container of each key keeps its
// passphrase, which the phone asks for. It is a legacy one: Apple's systems did not read
// others for years. The CAs between are there for the signatures to be verified; a root
// is left out, since whoever installs a profile would trust it without a further word.
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

// isRoot reports whether a certificate was issued by itself, in the eyes of anybody: names
// are compared as words, however the CA encodes them (RFC 5280, Section 7.1), and whatever
// its key has signed is its own.
func isRoot(c *x509.Certificate) bool {
	return nameWords(c.Subject) == nameWords(c.Issuer) || c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// nameWords are those of a name, without case and without more than one space between them.
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
