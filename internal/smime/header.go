package smime

import (
	"errors"
	"fmt"
)

var errUnprotected = errors.New("the signature does not cover Subject, From and To (no header protection)")

// protectedHeader returns the header fields that the signed part protects.
func protectedHeader(part []byte) ([]Field, error) {
	e, err := parseEntity(part)
	if err != nil {
		return nil, fmt.Errorf("the signed part: %w", err)
	}
	t, err := e.mediaType()
	if err != nil {
		return nil, fmt.Errorf("the signed part: %w", err)
	}
	hp, marked := t.params["hp"]
	switch {
	case t.isCryptoLayer():
		return nil, errors.New("S/MIME or PGP/MIME inside S/MIME is not supported")
	case marked && !equalFold(hp, "clear"):
		return nil, fmt.Errorf("the header protection is %q, not \"clear\"", hp)
	case marked:
		return complete(e.header)
	case t.name == "message/rfc822", t.name == "message/global":
		return wrappedHeader(e)
	}
	return nil, errUnprotected
}

// wrappedHeader returns the header of the message that the signed part wraps (RFC 8551,
// Section 3.1). The wrapper's own parameters, such as forwarded=no, do not matter: a
// forwarded mail has a foreign From, which is not one of the signer's mailboxes. RFC 2046,
// Section 5.2.1, allows no encoding there; message/global (RFC 6532, Section 3.7) would, but
// nobody needs it.
func wrappedHeader(e entity) ([]Field, error) {
	if identity, err := e.isIdentity(); err != nil || !identity {
		return nil, errors.New("the signed message is encoded once more")
	}
	inner, err := parseEntity(e.body)
	if err != nil {
		return nil, fmt.Errorf("the signed message: %w", err)
	}
	t, err := inner.mediaType()
	if err != nil {
		return nil, fmt.Errorf("the signed message: %w", err)
	}
	if t.isCryptoLayer() {
		return nil, errors.New("S/MIME or PGP/MIME inside S/MIME is not supported")
	}
	return complete(inner.header)
}

// complete requires that each field on which the caller acts occurs exactly once.
func complete(header []Field) ([]Field, error) {
	e := entity{header: header}
	for _, name := range []string{"From", "To", "Subject"} {
		_, found, err := e.one(name)
		if err != nil {
			return nil, fmt.Errorf("the signed header: %w", err)
		}
		if !found {
			return nil, fmt.Errorf("the signature does not cover %s", name)
		}
	}
	return header, nil
}
