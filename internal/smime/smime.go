package smime

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// maxMessage is the size in bytes from which Verify refuses a message unread.
const maxMessage = 1 << 20

// Signed is the content that a verified signature vouches for.
type Signed struct {
	// Header is the protected header, in order.
	Header []Field
	// Signer is the certificate of the signer.
	Signer *x509.Certificate
	// Mailboxes are the signer's addresses as the certificate has them:
	// rfc822Name, then SmtpUTF8Mailbox (RFC 9598). A domain may be in A-labels
	// (RFC 9598) or in U-labels (RFC 8398, which it replaced).
	Mailboxes []string
}

// Options say whom to trust, and at what time.
type Options struct {
	Roots *x509.CertPool // nil: the system's
	Now   time.Time      // the time of receipt; zero: now
}

// Is reports from the outer Content-Type whether a message claims to be signed with S/MIME.
func Is(contentType string) bool {
	t, err := parseMediaType(contentType)
	if err != nil {
		return false
	}
	if t.isPKCS7("mime") {
		smimeType, ok := t.params["smime-type"]
		return !ok || equalFold(smimeType, "signed-data")
	}
	return t.isClearSigned()
}

// Verify checks a whole message with CRLF line ends. The text of an error is a
// reason that an admin can act on.
func Verify(raw []byte, opt Options) (*Signed, error) {
	if len(raw) > maxMessage {
		return nil, errors.New("the message is over 1 MiB")
	}
	content, encoded, err := open(raw)
	if err != nil {
		return nil, err
	}
	sd, err := parseCMS(encoded)
	if err != nil {
		return nil, err
	}
	if content, err = sd.contentOr(content); err != nil {
		return nil, err
	}
	signer, err := verifySigner(sd, content, opt)
	if err != nil {
		return nil, err
	}
	header, err := protectedHeader(content)
	if err != nil {
		return nil, err
	}
	return &Signed{header, signer.cert, signer.mailboxes()}, nil
}

// verifySigner checks that a trusted certificate has signed the content.
func verifySigner(sd *signedData, content []byte, opt Options) (*signer, error) {
	certs, err := parseCertificates(sd.certificates)
	if err != nil {
		return nil, err
	}
	cert, err := sd.signerInfo.find(certs)
	if err != nil {
		return nil, err
	}
	s, err := newSigner(cert)
	if err != nil {
		return nil, err
	}
	if err := sd.signerInfo.verify(content, cert); err != nil {
		return nil, err
	}
	return s, s.verifyChain(certs, opt)
}

// open returns the signed content, if it is outside, and the CMS structure.
func open(raw []byte) (content, cms []byte, err error) {
	e, err := parseEntity(raw)
	if err != nil {
		return nil, nil, err
	}
	t, err := e.mediaType()
	switch {
	case err != nil:
		return nil, nil, err
	case t.name == "multipart/signed":
		return openClear(e, t)
	case t.isPKCS7("mime"):
		cms, err = openOpaque(e, t)
		return nil, cms, err
	}
	return nil, nil, fmt.Errorf("the message is not signed with S/MIME, its Content-Type is %q", t.name)
}

// openClear splits a multipart/signed message (RFC 8551, Section 3.5.3). It ignores micalg, a
// hint for one-pass readers outside the signature; only the SignerInfo counts.
func openClear(e entity, t mediaType) (content, cms []byte, err error) {
	if !t.isClearSigned() {
		return nil, nil, fmt.Errorf("multipart/signed is not S/MIME, its protocol is %q", t.params["protocol"])
	}
	content, second, err := carve(e.body, t.params["boundary"])
	if err != nil {
		return nil, nil, err
	}
	signature, err := parseEntity(second)
	if err != nil {
		return nil, nil, fmt.Errorf("the signature part: %w", err)
	}
	if t, err = signature.mediaType(); err != nil {
		return nil, nil, fmt.Errorf("the signature part: %w", err)
	}
	if !t.isPKCS7("signature") {
		return nil, nil, fmt.Errorf("the second part of multipart/signed is %q, not an S/MIME signature", t.name)
	}
	cms, err = signature.decode()
	return content, cms, err
}

// openOpaque unpacks application/pkcs7-mime (RFC 8551, Section 3.5.2). smime-type may be
// missing (Section 3.2.2); the CMS structure repeats it.
func openOpaque(e entity, t mediaType) ([]byte, error) {
	smimeType, ok := t.params["smime-type"]
	if ok && !equalFold(smimeType, "signed-data") {
		return nil, fmt.Errorf("the S/MIME message is %q, not signed-data", smimeType)
	}
	return e.decode()
}
