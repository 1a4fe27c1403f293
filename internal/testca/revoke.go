package testca

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// revocationReasons are those of RFC 5280, Section 5.3.1, that a subscriber
// may give (CA/B Forum S/MIME Baseline Requirements, Section 7.2.2).
var revocationReasons = []int{0, 1, 3, 4, 5}

// revokeCert is RFC 8555, Section 7.6. Who may revoke: the account that
// ordered the certificate, an account that is authorized for all its names,
// and the certificate's own key.
func (ca *CA) revokeCert(r *request) (*answer, error) {
	var req struct {
		Certificate string `json:"certificate"`
		Reason      int    `json:"reason"`
	}
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	der, err := base64.RawURLEncoding.DecodeString(req.Certificate)
	if err != nil {
		return nil, malformed("the certificate is not base64url without padding")
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, malformed("the certificate cannot be parsed: %v", err)
	}
	if !slices.Contains(revocationReasons, req.Reason) {
		return nil, problemf(http.StatusBadRequest, "badRevocationReason", "the reason %d is not supported; those that are: %v", req.Reason, revocationReasons)
	}
	if err := ca.markRevoked(r, cert); err != nil {
		return nil, err
	}
	ca.journal.emit(Event{Kind: EventRevoked, Serial: serialOf(cert)})
	return &answer{status: http.StatusOK}, nil
}

func (ca *CA) markRevoked(r *request, cert *x509.Certificate) error {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	c := ca.byARI[ariID(cert)]
	if c == nil || !bytes.Equal(c.cert.Raw, cert.Raw) {
		return problemf(http.StatusNotFound, "malformed", "this CA did not issue that certificate")
	}
	if err := ca.mayRevoke(r, c); err != nil {
		return err
	}
	if c.revoked {
		return problemf(http.StatusBadRequest, "alreadyRevoked", "the certificate %s is revoked already", serialOf(cert))
	}
	c.revoked = true
	return nil
}

func (ca *CA) mayRevoke(r *request, c *issued) error {
	if r.account == nil {
		if sameKey(r.key, &jose.JSONWebKey{Key: c.cert.PublicKey}) {
			return nil
		}
		return unauthorized("the key that signed the request is not the certificate's")
	}
	acct, err := ca.caller(r)
	if err != nil || acct == c.account {
		return err
	}
	for _, id := range c.identifiers {
		if a := acct.valid[id]; a == nil || a.state() != statusValid {
			return unauthorized("the account neither ordered the certificate nor is authorized for %q", id.Value)
		}
	}
	return nil
}
