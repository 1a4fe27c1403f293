package cert

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"os"
	"slices"
	"strings"

	"postseal/internal/failure"
	"postseal/internal/printable"

	ber "github.com/go-asn1-ber/asn1-ber"
	"software.sslmate.com/src/go-pkcs12"
)

// Formats are the formats of PKCS#12 containers: modern is AES-256 with PBKDF2-SHA256, legacy
// is 3DES for old phones and gpgsm.
var Formats = []string{"modern", "legacy"}

// EncodeContainer makes the PKCS#12 file: key, leaf, and the rest of the chain.
func EncodeContainer(format string, key crypto.Signer, chain []*x509.Certificate, passphrase string) ([]byte, error) {
	encoder := pkcs12.Modern2023
	if format == "legacy" {
		encoder = pkcs12.LegacyDES
	}
	return encoder.Encode(key, chain[0], chain[1:], passphrase)
}

// Kinds of Passphrase.
const (
	PassGenerated = "generated" // random, written beside the container
	PassGiven     = "given"     // by flag or prompt
	PassFile      = "file"      // read from a file at each renewal
	PassNone      = "none"      // empty, with a MAC
)

// Passphrase says how a container is locked. renewal.json remembers a given one for renewals;
// it is 0600 and beside the unencrypted private key, so the passphrase opens nothing that is
// not open already.
type Passphrase struct {
	Kind  string `json:"kind,omitempty"`
	Value string `json:"value,omitempty"` // of a given one
	Path  string `json:"path,omitempty"`  // of a file
}

// Word returns the passphrase. A generated one stays the same for all renewals of a
// certificate, since its owner has written it down; former is the previous one ("" for none).
func (p Passphrase) Word(former string) (string, error) {
	switch p.Kind {
	case PassNone:
		return "", nil
	case PassGiven:
		return p.Value, CheckPassphrase(p.Value)
	case PassFile:
		return ReadPassphrase(p.Path)
	}
	if former != "" {
		return former, nil
	}
	return rand.Text(), nil
}

// ReadPassphrase reads the first line of a file.
func ReadPassphrase(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", failure.In("passphrase-file", failure.Config("give a file with the passphrase in its first line", "%v", err))
	}
	line, _, _ := strings.Cut(string(data), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" {
		return "", failure.In("passphrase-file", failure.Config(failure.EmptyPass, "the first line of %q is empty", path))
	}
	return line, CheckPassphrase(line)
}

// CheckPassphrase refuses a passphrase that is not ASCII: importers disagree on the encoding
// of anything else.
func CheckPassphrase(s string) error {
	if !printable.ASCII(s) || !printable.Text(s) {
		return failure.Usage("use printable ASCII", "the passphrase has characters that not all mail programs read alike")
	}
	return nil
}

// errPassphrase means that a passphrase does not open a container.
var errPassphrase = errors.New("the passphrase does not open it")

// openContainer reads a PKCS#12 file from any program: NSS (Thunderbird, Firefox) writes BER,
// and some write no MAC. It returns the certificate that matches the key, wherever it is. The
// error is errPassphrase, or says why the container is unreadable.
func openContainer(data []byte, passphrase string) (*x509.Certificate, crypto.Signer, error) {
	key, first, rest, err := pkcs12.DecodeChain(data, passphrase)
	if err != nil && !errors.Is(err, pkcs12.ErrIncorrectPassword) {
		if again, ok := rewriteContainer(data, passphrase); ok {
			key, first, rest, err = pkcs12.DecodeChain(again, passphrase)
		}
	}
	switch {
	case errors.As(err, new(pkcs12.NotImplementedError)):
		return nil, nil, errors.New(strings.TrimPrefix(err.Error(), "pkcs12: "))
	case err != nil && (strings.HasSuffix(err.Error(), "private key missing") || strings.HasSuffix(err.Error(), "certificate missing")):
		return nil, nil, errors.New("it does not hold both a certificate and its key")
	case err != nil:
		return nil, nil, errPassphrase // with a wrong one the plaintext is not ASN.1
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return first, nil, nil
	}
	all := append([]*x509.Certificate{first}, rest...)
	n := slices.IndexFunc(all, func(c *x509.Certificate) bool { return SamePublicKey(c.PublicKey, signer) })
	if n < 0 {
		return nil, nil, errors.New("it holds no certificate for its key")
	}
	return all[n], signer, nil
}

// Parts of a container (RFC 7292, Section 4).
type (
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue
	}
	pfx struct {
		Version  int
		AuthSafe contentInfo
		MAC      macData
	}
	macData struct {
		Digest struct {
			Algorithm pkix.AlgorithmIdentifier
			Value     []byte
		}
		Salt []byte
	}
	pbmac1 struct{ KDF, MAC pkix.AlgorithmIdentifier }
	kdf    struct {
		Salt               []byte
		Iterations, Length int
		PRF                pkix.AlgorithmIdentifier
	}
)

var (
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidPBKDF2     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidPBMAC1     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 14}
	oidHMACSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
)

// rewriteContainer writes a container in DER and with a MAC for the passphrase, as go-pkcs12
// requires. It drops the former MAC, which covers the BER: a wrong passphrase then shows when
// the content is decrypted.
func rewriteContainer(data []byte, passphrase string) ([]byte, bool) {
	outer, err := ber.DecodePacketErr(data)
	if err != nil || len(outer.Children) < 2 || len(outer.Children[1].Children) != 2 || len(outer.Children[1].Children[1].Children) != 1 {
		return nil, false
	}
	inner, err := ber.DecodePacketErr(octets(outer.Children[1].Children[1].Children[0]))
	if err != nil {
		return nil, false
	}
	safe := toDER(inner)
	mac, err := newMAC(safe, passphrase)
	if err != nil {
		return nil, false
	}
	content, err := asn1.Marshal(safe)
	if err != nil {
		return nil, false
	}
	der, err := asn1.Marshal(pfx{3, contentInfo{oidData, asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: content}}, mac})
	return der, err == nil
}

// toDER writes BER with definite lengths, and strings in one piece. Only its place identifies
// an implicitly tagged string in pieces: EncryptedContentInfo (RFC 5652, Section 6.1) is the
// only sequence here of a type, an algorithm, and such a string.
func toDER(p *ber.Packet) []byte {
	v := asn1.RawValue{Class: int(p.ClassType >> 6), Tag: int(p.Tag), IsCompound: p.TagType == ber.TypeConstructed}
	switch {
	case !v.IsCompound:
		v.Bytes = p.Data.Bytes()
	case p.ClassType == ber.ClassUniversal && p.Tag == ber.TagOctetString:
		v.IsCompound, v.Bytes = false, octets(p)
	default:
		for n, child := range p.Children {
			if n == 2 && len(p.Children) == 3 && child.ClassType == ber.ClassContext && p.Children[0].Tag == ber.TagObjectIdentifier {
				piece, _ := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Bytes: octets(child)})
				v.Bytes = append(v.Bytes, piece...)
				continue
			}
			v.Bytes = append(v.Bytes, toDER(child)...)
		}
	}
	der, _ := asn1.Marshal(v) // fails for no RawValue
	return der
}

// octets returns a string that may be in pieces.
func octets(p *ber.Packet) []byte {
	if p.TagType != ber.TypeConstructed {
		return p.Data.Bytes()
	}
	var all []byte
	for _, piece := range p.Children {
		all = append(all, octets(piece)...)
	}
	return all
}

// newMAC makes a PBMAC1 (RFC 9579): of the two kinds of MAC, the standard library can derive
// the key of this one.
func newMAC(message []byte, passphrase string) (mac macData, err error) {
	params := kdf{Salt: make([]byte, 16), Iterations: 1, Length: sha256.Size, PRF: pkix.AlgorithmIdentifier{Algorithm: oidHMACSHA256}}
	_, _ = rand.Read(params.Salt) // never fails
	key, err := pbkdf2.Key(sha256.New, passphrase, params.Salt, params.Iterations, params.Length)
	if err != nil {
		return mac, err
	}
	how := pbmac1{KDF: pkix.AlgorithmIdentifier{Algorithm: oidPBKDF2}, MAC: params.PRF}
	if how.KDF.Parameters.FullBytes, err = asn1.Marshal(params); err != nil {
		return mac, err
	}
	mac.Digest.Algorithm.Algorithm = oidPBMAC1
	if mac.Digest.Algorithm.Parameters.FullBytes, err = asn1.Marshal(how); err != nil {
		return mac, err
	}
	h := hmac.New(sha256.New, key)
	h.Write(message)
	mac.Digest.Value = h.Sum(nil)
	return mac, nil
}

// isContainer reports whether data starts like PKCS#12: a sequence, with any form of length,
// that starts with version 3.
func isContainer(data []byte) bool {
	return len(data) > 4 && data[0] == 0x30 && bytes.Contains(data[:min(len(data), 9)], []byte{2, 1, 3, 0x30})
}
