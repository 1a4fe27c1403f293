package smime

import (
	"bytes"
	"crypto/x509"
	encasn1 "encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// maxSection bounds the certificates and the SignerInfo, in bytes: their cost grows faster
// than that of hashing the content.
const maxSection = 64 << 10

var (
	tag0            = asn1.Tag(0).ContextSpecific().Constructed()
	tag1            = asn1.Tag(1).ContextSpecific().Constructed()
	tag2            = asn1.Tag(2).ContextSpecific().Constructed()
	oidData         = encasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData   = encasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidContentType  = encasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigst = encasn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
)

// contentTypes are the other types of a CMS structure, for the error text.
var contentTypes = map[string]string{
	"1.2.840.113549.1.7.3":       "encrypted data",
	"1.2.840.113549.1.7.6":       "encrypted data",
	"1.2.840.113549.1.9.16.1.23": "encrypted data",
	"1.2.840.113549.1.9.16.1.9":  "compressed data",
}

// signedData is the part of a SignedData that we use (RFC 5652, Section 5.1).
type signedData struct {
	embedded     bool   // the content is inside
	content      []byte // if so
	certificates cryptobyte.String
	signerInfo   signerInfo
}

func malformed(what string) error {
	return fmt.Errorf("the S/MIME signature is malformed (%s)", what)
}

// parseCMS reads a ContentInfo (RFC 5652, Section 3) with SignedData in it.
func parseCMS(in []byte) (*signedData, error) {
	s := cryptobyte.String(in)
	var info, content, body cryptobyte.String
	var oid encasn1.ObjectIdentifier
	if !readBER(&s, &info, asn1.SEQUENCE) || !info.ReadASN1ObjectIdentifier(&oid) {
		return nil, malformed("ContentInfo")
	}
	if !s.Empty() {
		return nil, errors.New("there are bytes after the S/MIME signature")
	}
	if !oid.Equal(oidSignedData) {
		return nil, fmt.Errorf("the S/MIME message holds %s, not signed data", contentName(oid))
	}
	if !readBER(&info, &content, tag0) || !readBER(&content, &body, asn1.SEQUENCE) {
		return nil, malformed("ContentInfo")
	}
	if !info.Empty() || !content.Empty() {
		return nil, errors.New("there are bytes after the S/MIME signature")
	}
	return parseSignedData(body)
}

func contentName(oid encasn1.ObjectIdentifier) string {
	if name := contentTypes[oid.String()]; name != "" {
		return name
	}
	return "content of type " + oid.String()
}

func parseSignedData(s cryptobyte.String) (*signedData, error) {
	var sd signedData
	var version int
	var digests, encapsulated, crls, signers cryptobyte.String
	if !s.ReadASN1Integer(&version) || !readBER(&s, &digests, asn1.SET) ||
		!readBER(&s, &encapsulated, asn1.SEQUENCE) {
		return nil, malformed("SignedData")
	}
	_, certsOK := optionalBER(&s, &sd.certificates, tag0)
	_, crlsOK := optionalBER(&s, &crls, tag1)
	if !certsOK || !crlsOK || !readBER(&s, &signers, asn1.SET) {
		return nil, malformed("SignedData")
	}
	if !s.Empty() {
		return nil, errors.New("there are bytes after the S/MIME signature")
	}
	if len(sd.certificates) > maxSection || len(signers) > maxSection {
		return nil, errors.New("the S/MIME signature is too large")
	}
	var err error
	if sd.content, sd.embedded, err = parseContent(encapsulated); err != nil {
		return nil, err
	}
	sd.signerInfo, err = onlySigner(signers)
	return &sd, err
}

// parseContent reads an EncapsulatedContentInfo (RFC 5652, Section 5.2).
func parseContent(s cryptobyte.String) (content []byte, present bool, err error) {
	var oid encasn1.ObjectIdentifier
	var wrapped cryptobyte.String
	if !s.ReadASN1ObjectIdentifier(&oid) {
		return nil, false, malformed("content")
	}
	if !oid.Equal(oidData) {
		return nil, false, fmt.Errorf("the S/MIME signature is over %s, not over a mail", contentName(oid))
	}
	present, ok := optionalBER(&s, &wrapped, tag0)
	if present && ok {
		content, ok = readOctets(&wrapped)
	}
	if !ok || !s.Empty() || !wrapped.Empty() {
		return nil, false, malformed("content")
	}
	return content, present, nil
}

// contentOr chooses between the content in the structure and the detached one: RFC 8551 puts
// it inside in Section 3.5.2 and outside in Section 3.5.3.1, and with both a reader could
// show one and check the other.
func (sd *signedData) contentOr(detached []byte) ([]byte, error) {
	switch {
	case detached == nil && !sd.embedded:
		return nil, errors.New("the S/MIME message has no content")
	case detached != nil && sd.embedded:
		return nil, errors.New("the S/MIME signature of multipart/signed has content of its own")
	case detached != nil:
		return detached, nil
	}
	return sd.content, nil
}

// onlySigner requires exactly one SignerInfo: with two, whose mailboxes would count?
func onlySigner(s cryptobyte.String) (signerInfo, error) {
	var one cryptobyte.String
	if s.Empty() {
		return signerInfo{}, errors.New("the S/MIME message is not signed by anybody")
	}
	if !s.ReadASN1(&one, asn1.SEQUENCE) {
		return signerInfo{}, malformed("SignerInfo")
	}
	if !s.Empty() {
		return signerInfo{}, errors.New("the S/MIME signature has more than one signer")
	}
	return parseSignerInfo(one)
}

// signerInfo is a SignerInfo (RFC 5652, Section 5.3).
type signerInfo struct {
	issuer     cryptobyte.String // with serial, or keyID
	serial     *big.Int
	keyID      cryptobyte.String
	digest     algorithm
	attributes cryptobyte.String
	algorithm  algorithm
	signature  cryptobyte.String
}

func parseSignerInfo(s cryptobyte.String) (si signerInfo, err error) {
	var version int
	if !s.ReadASN1Integer(&version) || !si.readIdentifier(&s, version) || !si.digest.read(&s) {
		return si, malformed("SignerInfo")
	}
	if !s.PeekASN1Tag(tag0) {
		return si, errors.New("the S/MIME signature has no signed attributes")
	}
	var unsigned cryptobyte.String
	if !s.ReadASN1(&si.attributes, tag0) || !si.algorithm.read(&s) ||
		!s.ReadASN1(&si.signature, asn1.OCTET_STRING) {
		return si, malformed("SignerInfo")
	}
	if _, ok := optionalBER(&s, &unsigned, tag1); !ok || !s.Empty() {
		return si, malformed("SignerInfo")
	}
	return si, nil
}

// readIdentifier reads the SignerIdentifier, whose form the version repeats.
func (si *signerInfo) readIdentifier(s *cryptobyte.String, version int) bool {
	if version == 3 {
		return s.ReadASN1(&si.keyID, asn1.Tag(0).ContextSpecific()) && len(si.keyID) > 0
	}
	var id cryptobyte.String
	si.serial = new(big.Int)
	return version == 1 && s.ReadASN1(&id, asn1.SEQUENCE) &&
		id.ReadASN1Element(&si.issuer, asn1.SEQUENCE) &&
		id.ReadASN1Integer(si.serial) && id.Empty()
}

func (si *signerInfo) names(c *x509.Certificate) bool {
	if si.serial == nil {
		return bytes.Equal(si.keyID, c.SubjectKeyId)
	}
	return bytes.Equal(si.issuer, c.RawIssuer) && c.SerialNumber.Cmp(si.serial) == 0
}

// find returns the certificate that the SignerInfo names. If several fit, any will do: the
// one returned must have made the signature, and only its own names count.
func (si *signerInfo) find(certs []*x509.Certificate) (*x509.Certificate, error) {
	for _, c := range certs {
		if si.names(c) {
			return c, nil
		}
	}
	return nil, errors.New("the S/MIME signature does not carry a readable certificate of its signer")
}

// verify checks the content and the signature (RFC 5652, Sections 5.4 and 5.6).
func (si *signerInfo) verify(content []byte, cert *x509.Certificate) error {
	hash, err := si.digest.hash()
	if err != nil {
		return err
	}
	check, err := si.algorithm.verifier(hash)
	if err != nil {
		return err
	}
	if err := si.checkAttributes(sum(hash, content)); err != nil {
		return err
	}
	// The signature covers the attributes as a SET, not as the [0] in the message. Their
	// order stays: DER would sort them, but a writer that does not sort them signs them so,
	// and OpenSSL accepts that too.
	signed := cryptobyte.NewBuilder(make([]byte, 0, len(si.attributes)+8))
	signed.AddASN1(asn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(si.attributes) })
	if check(cert, signed.BytesOrPanic(), si.signature) != nil {
		return errors.New("the S/MIME signature was not made with the key of its certificate")
	}
	return nil
}

// checkAttributes requires the two attributes without which no others may be present (RFC
// 5652, Section 5.3).
func (si *signerInfo) checkAttributes(digest []byte) error {
	value, err := si.attribute(oidContentType)
	if err != nil {
		return err
	}
	var oid encasn1.ObjectIdentifier
	if !value.ReadASN1ObjectIdentifier(&oid) || !value.Empty() || !oid.Equal(oidData) {
		return errors.New("the S/MIME signature's content-type attribute is not data")
	}
	if value, err = si.attribute(oidMessageDigst); err != nil {
		return err
	}
	var claimed cryptobyte.String
	if !value.ReadASN1(&claimed, asn1.OCTET_STRING) || !value.Empty() {
		return malformed("message-digest")
	}
	if !bytes.Equal(claimed, digest) {
		return errors.New("the S/MIME signature does not fit the message (altered on its way?)")
	}
	return nil
}

// attribute returns the value of a signed attribute, which must be the only one
// of its type and have one value (RFC 5652, Sections 11.1 and 11.2).
func (si *signerInfo) attribute(want encasn1.ObjectIdentifier) (found cryptobyte.String, err error) {
	for s := si.attributes; !s.Empty(); {
		var one, values cryptobyte.String
		var oid encasn1.ObjectIdentifier
		if !s.ReadASN1(&one, asn1.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&oid) ||
			!one.ReadASN1(&values, asn1.SET) || !one.Empty() {
			return nil, malformed("signed attributes")
		}
		if !oid.Equal(want) {
			continue
		}
		if found != nil {
			return nil, malformed("a signed attribute stands there twice")
		}
		found = values
	}
	if found == nil {
		return nil, malformed("no content-type or no message-digest among the signed attributes")
	}
	return found, nil
}
