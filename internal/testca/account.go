package testca

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/mail"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// account is RFC 8555, Section 7.1.2. Its fields are guarded by CA.mu.
type account struct {
	id      string
	key     *jose.JSONWebKey
	thumb   string
	status  string
	contact []string
	agreed  bool
	eab     json.RawMessage
	orders  []*order
	valid   map[identifier]*authz // for ReuseAuthz
}

type accountJSON struct {
	Status  string          `json:"status"`
	Contact []string        `json:"contact,omitempty"`
	Agreed  bool            `json:"termsOfServiceAgreed,omitempty"`
	EAB     json.RawMessage `json:"externalAccountBinding,omitempty"`
	Orders  string          `json:"orders"`
}

func (ca *CA) accountJSON(a *account) accountJSON {
	return accountJSON{a.status, a.contact, a.agreed, a.eab, ca.url(kindOrders, a.id)}
}

// checkAccountKey refuses keys that are too weak to sign requests with.
func checkAccountKey(k *jose.JSONWebKey) error {
	if k.Valid() && k.IsPublic() {
		switch key := k.Key.(type) {
		case *ecdsa.PublicKey, ed25519.PublicKey:
			return nil
		case *rsa.PublicKey:
			if key.N.BitLen() >= 2048 {
				return nil
			}
		}
	}
	return problemf(http.StatusBadRequest, "badPublicKey", "an account key is ECDSA, Ed25519, or RSA of at least 2048 bits")
}

// accountByURL finds the account a kid names, and its present key.
func (ca *CA) accountByURL(url string) (*account, *jose.JSONWebKey) {
	id, ok := strings.CutPrefix(url, ca.url(kindAccount, "")+"/")
	if !ok {
		return nil, nil
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	a := ca.accounts[id]
	if a == nil {
		return nil, nil
	}
	return a, a.key
}

// caller is the account that signed r, which must still be in good standing.
// CA.mu is held.
func (ca *CA) caller(r *request) (*account, error) {
	if r.account == nil {
		return nil, malformed("this request must name its account with kid (RFC 8555, Section 6.2)")
	}
	if r.account.status != statusValid {
		return nil, unauthorized("the account is %s", r.account.status)
	}
	return r.account, nil
}

type newAccountRequest struct {
	Contact      []string        `json:"contact"`
	Agreed       bool            `json:"termsOfServiceAgreed"`
	OnlyExisting bool            `json:"onlyReturnExisting"`
	EAB          json.RawMessage `json:"externalAccountBinding"`
}

// newAccount is RFC 8555, Section 7.3.
func (ca *CA) newAccount(r *request) (*answer, error) {
	if r.account != nil {
		return nil, malformed("newAccount is signed with jwk, not kid (RFC 8555, Section 6.2)")
	}
	var req newAccountRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if a, err := ca.existingAccount(r.key, req.OnlyExisting); a != nil || err != nil {
		return a, err
	}
	if err := ca.checkNewAccount(r, req); err != nil {
		return nil, err
	}
	a := &account{
		id: randomID(9), key: r.key, thumb: thumbprint(r.key), status: statusValid,
		contact: req.Contact, agreed: req.Agreed, eab: req.EAB, valid: map[identifier]*authz{},
	}
	return ca.addAccount(a)
}

// existingAccount answers for a key that has an account already (RFC 8555,
// Section 7.3.1).
func (ca *CA) existingAccount(key *jose.JSONWebKey, only bool) (*answer, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	a := ca.byThumb[thumbprint(key)]
	switch {
	case a == nil && only:
		return nil, problemf(http.StatusBadRequest, "accountDoesNotExist", "no account has this key")
	case a == nil:
		return nil, nil
	case a.status != statusValid:
		return nil, unauthorized("the account with this key is %s", a.status)
	}
	return ok(ca.accountJSON(a)).with("Location", ca.url(kindAccount, a.id)), nil
}

func (ca *CA) addAccount(a *account) (*answer, error) {
	ca.mu.Lock()
	if old := ca.byThumb[a.thumb]; old != nil { // someone was quicker
		defer ca.mu.Unlock()
		return ok(ca.accountJSON(old)).with("Location", ca.url(kindAccount, old.id)), nil
	}
	ca.accounts[a.id] = a
	ca.byThumb[a.thumb] = a
	body := ca.accountJSON(a)
	ca.mu.Unlock()
	ca.journal.emit(Event{Kind: EventAccount, URL: ca.url(kindAccount, a.id)})
	return created(ca.url(kindAccount, a.id), body), nil
}

func (ca *CA) checkNewAccount(r *request, req newAccountRequest) error {
	if err := checkContacts(req.Contact); err != nil {
		return err
	}
	if !ca.cfg.NoTerms && !req.Agreed {
		p := problemf(http.StatusForbidden, "userActionRequired", "agree to the terms of service at %s", ca.termsURL())
		p.Instance = ca.termsURL()
		return p.with("Link", `<`+ca.termsURL()+`>;rel="terms-of-service"`)
	}
	if req.EAB == nil {
		if ca.cfg.RequireEAB {
			return problemf(http.StatusForbidden, "externalAccountRequired", "this CA wants an external account binding (RFC 8555, Section 7.3.4)")
		}
		return nil
	}
	return ca.checkEAB(r, req.EAB)
}

// checkContacts is RFC 8555, Section 7.3: mailto only, one address each, no
// header fields.
func checkContacts(contacts []string) error {
	for _, c := range contacts {
		addr, ok := strings.CutPrefix(c, "mailto:")
		if !ok {
			return problemf(http.StatusBadRequest, "unsupportedContact", "the contact %q is not a mailto: URL", c)
		}
		if _, err := mail.ParseAddress(addr); err != nil || strings.ContainsAny(addr, "?,<") {
			return problemf(http.StatusBadRequest, "invalidContact", "the contact %q does not hold exactly one address", c)
		}
	}
	return nil
}

// checkEAB is RFC 8555, Section 7.3.4: the account's key, signed with a MAC
// key the CA gave out beforehand.
func (ca *CA) checkEAB(r *request, eab []byte) error {
	jws, err := parseJWS(eab, []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512})
	if err != nil {
		return err
	}
	h := jws.Signatures[0].Protected
	if h.KeyID != ca.EAB.KeyID {
		return unauthorized("the external account %q is unknown", h.KeyID)
	}
	if url, _ := h.ExtraHeaders["url"].(string); url != ca.base+r.URL.Path || h.Nonce != "" {
		return malformed("an external account binding has the newAccount url and no nonce in its header")
	}
	payload, err := jws.Verify(ca.eabKey)
	if err != nil {
		return unauthorized("the external account binding does not verify with the key of %q", h.KeyID)
	}
	var bound jose.JSONWebKey
	if err := json.Unmarshal(payload, &bound); err != nil || thumbprint(&bound) != thumbprint(r.key) {
		return malformed("the external account binding is about another key")
	}
	return nil
}

// accountResource reads, updates and deactivates (RFC 8555, Sections 7.3.2
// and 7.3.6).
func (ca *CA) accountResource(r *request) (*answer, error) {
	var req struct {
		Contact []string `json:"contact"`
		Status  string   `json:"status"`
	}
	if !r.postAsGet() {
		if err := r.decode(&req); err != nil {
			return nil, err
		}
	}
	if err := checkContacts(req.Contact); err != nil {
		return nil, err
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	a, err := ca.ownAccount(r)
	if err != nil {
		return nil, err
	}
	if req.Contact != nil {
		a.contact = req.Contact
	}
	switch req.Status {
	case "", statusValid:
	case statusDeactivated:
		a.status = statusDeactivated
	default:
		return nil, malformed("an account cannot be made %q", req.Status)
	}
	return ok(ca.accountJSON(a)), nil
}

// ownAccount is the caller, whose account the URL must name. CA.mu is held.
func (ca *CA) ownAccount(r *request) (*account, error) {
	a, err := ca.caller(r)
	if err == nil && a.id != r.PathValue("id") {
		err = unauthorized("this is the account of another key")
	}
	return a, err
}

// ordersResource is RFC 8555, Section 7.1.2.1.
func (ca *CA) ordersResource(r *request) (*answer, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	a, err := ca.ownAccount(r)
	if err != nil {
		return nil, err
	}
	urls := []string{}
	for _, o := range a.orders {
		if o.status() != statusInvalid {
			urls = append(urls, ca.url(kindOrder, o.id))
		}
	}
	return ok(map[string]any{"orders": urls}), nil
}

// keyChange is RFC 8555, Section 7.3.5: the new key signs, inside of what the
// old one signs.
func (ca *CA) keyChange(r *request) (*answer, error) {
	newKey, err := ca.innerKeyChange(r)
	if err != nil {
		return nil, err
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	a, err := ca.caller(r)
	if err != nil {
		return nil, err
	}
	if other := ca.byThumb[thumbprint(newKey)]; other != nil {
		return nil, malformedConflict().with("Location", ca.url(kindAccount, other.id))
	}
	delete(ca.byThumb, a.thumb)
	a.key, a.thumb = newKey, thumbprint(newKey)
	ca.byThumb[a.thumb] = a
	return ok(ca.accountJSON(a)), nil
}

func malformedConflict() *problem {
	return problemf(http.StatusConflict, "malformed", "the new key belongs to an account already")
}

// innerKeyChange checks the inner JWS and returns the key it proposes.
func (ca *CA) innerKeyChange(r *request) (*jose.JSONWebKey, error) {
	jws, err := parseJWS(r.payload, accountAlgorithms)
	if err != nil {
		return nil, err
	}
	h := jws.Signatures[0].Protected
	if url, _ := h.ExtraHeaders["url"].(string); url != ca.base+r.URL.Path || h.JSONWebKey == nil || h.Nonce != "" {
		return nil, malformed("the inner JWS has jwk, the outer one's url, and no nonce (RFC 8555, Section 7.3.5)")
	}
	if err := checkAccountKey(h.JSONWebKey); err != nil {
		return nil, err
	}
	payload, err := jws.Verify(h.JSONWebKey)
	if err != nil {
		return nil, malformed("the inner signature does not verify with the new key")
	}
	var inner struct {
		Account string          `json:"account"`
		OldKey  jose.JSONWebKey `json:"oldKey"`
	}
	if err := json.Unmarshal(payload, &inner); err != nil {
		return nil, malformed("the inner payload cannot be read: %v", err)
	}
	if r.account == nil || inner.Account != ca.url(kindAccount, r.account.id) || !sameKey(&inner.OldKey, r.key) {
		return nil, malformed("the inner payload is about another account or another old key")
	}
	return h.JSONWebKey, nil
}

func sameKey(a, b *jose.JSONWebKey) bool {
	return a.Valid() && thumbprint(a) == thumbprint(b)
}
