package testca

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/go-jose/go-jose/v4"
)

// maxRequest bounds a request's body; a CSR with a hundred names fits.
const maxRequest = 256 << 10

// accountAlgorithms are what account keys may sign with. RFC 8555, Section
// 6.2, rules out "none" and MACs and demands ES256.
var accountAlgorithms = []jose.SignatureAlgorithm{
	jose.ES256, jose.ES384, jose.ES512, jose.RS256, jose.EdDSA,
}

// request is a POST whose signature, nonce and URL were checked.
type request struct {
	*http.Request
	payload []byte
	key     *jose.JSONWebKey // that signed it
	account *account         // nil when the key came along as jwk
}

// postAsGet reports a request to read (RFC 8555, Section 6.3).
func (r *request) postAsGet() bool { return len(r.payload) == 0 }

// decode reads the payload, which must be a JSON object.
func (r *request) decode(v any) error {
	if err := json.Unmarshal(r.payload, v); err != nil {
		return malformed("the payload is not a JSON object of the form expected: %v", err)
	}
	return nil
}

// authenticate checks a POST as RFC 8555, Sections 6.2 to 6.5, demands.
func (ca *CA) authenticate(hr *http.Request) (*request, error) {
	if mt, _, _ := mime.ParseMediaType(hr.Header.Get("Content-Type")); mt != "application/jose+json" {
		return nil, problemf(http.StatusUnsupportedMediaType, "malformed", "the Content-Type must be application/jose+json, not %q", mt)
	}
	body, err := io.ReadAll(io.LimitReader(hr.Body, maxRequest))
	if err != nil {
		return nil, malformed("the request cannot be read: %v", err)
	}
	jws, err := parseJWS(body, accountAlgorithms)
	if err != nil {
		return nil, err
	}
	if err := ca.checkHeader(jws.Signatures[0].Protected, ca.base+hr.URL.Path); err != nil {
		return nil, err
	}
	r := &request{Request: hr}
	if err := ca.findKey(r, jws.Signatures[0].Protected); err != nil {
		return nil, err
	}
	if r.payload, err = jws.Verify(r.key); err != nil {
		return nil, malformed("the signature does not verify")
	}
	return r, nil
}

// parseJWS takes a flattened JWS with one signature and nothing unprotected.
func parseJWS(body []byte, algorithms []jose.SignatureAlgorithm) (*jose.JSONWebSignature, error) {
	var shape struct {
		Header     json.RawMessage `json:"header"`
		Signatures json.RawMessage `json:"signatures"`
	}
	if err := json.Unmarshal(body, &shape); err != nil {
		return nil, malformed("the request is not a flattened JWS: %v", err)
	}
	if shape.Header != nil || shape.Signatures != nil {
		return nil, malformed("a JWS has one signature here, and no unprotected header (RFC 8555, Section 6.2)")
	}
	jws, err := jose.ParseSignedJSON(string(body), algorithms)
	var alg *jose.ErrUnexpectedSignatureAlgorithm
	if errors.As(err, &alg) {
		p := problemf(http.StatusBadRequest, "badSignatureAlgorithm", "the algorithm %q is not supported", alg.Got)
		for _, a := range algorithms {
			p.Algorithms = append(p.Algorithms, string(a))
		}
		return nil, p
	}
	if err != nil {
		return nil, malformed("the JWS cannot be read: %v", err)
	}
	return jws, nil
}

// checkHeader checks the url and uses up the nonce. The nonce comes last, so
// that a request which is wrong for another reason does not cost one.
func (ca *CA) checkHeader(h jose.Header, url string) error {
	if h.ExtraHeaders["b64"] != nil {
		return malformed("the unencoded payload option is not allowed (RFC 8555, Section 6.2)")
	}
	if got, _ := h.ExtraHeaders["url"].(string); got != url {
		return unauthorized("the url in the signed header is %q, the request went to %q", got, url)
	}
	if _, err := base64.RawURLEncoding.DecodeString(h.Nonce); err != nil {
		return malformed("the nonce is not base64url")
	}
	if !ca.nonces.use(h.Nonce) || ca.faults.chance(ca.cfg.BadNonce) {
		ca.journal.count(func(c *Counters) { c.BadNonce++ })
		return problemf(http.StatusBadRequest, "badNonce", "the nonce %q is unknown or used up", h.Nonce)
	}
	return nil
}

// findKey takes the key from jwk, or from the account that kid names. Which
// of them is right depends on the resource (RFC 8555, Section 6.2).
func (ca *CA) findKey(r *request, h jose.Header) error {
	if (h.JSONWebKey == nil) == (h.KeyID == "") {
		return malformed("the header must have either jwk or kid")
	}
	if h.JSONWebKey != nil {
		if err := checkAccountKey(h.JSONWebKey); err != nil {
			return err
		}
		r.key = h.JSONWebKey
		return nil
	}
	acct, key := ca.accountByURL(h.KeyID)
	if acct == nil {
		return problemf(http.StatusBadRequest, "accountDoesNotExist", "there is no account %q", h.KeyID)
	}
	r.account, r.key = acct, key
	return nil
}

// thumbprint is the JWK thumbprint of RFC 7638 in base64url.
func thumbprint(k *jose.JSONWebKey) string {
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		return "" // a key that could not be parsed never gets this far
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}
