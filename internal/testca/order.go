package testca

import (
	"crypto/sha256"
	"net/http"
	"strings"
	"time"
)

// States of accounts, orders, authorizations and challenges (RFC 8555,
// Section 7.1.6).
const (
	statusPending     = "pending"
	statusProcessing  = "processing"
	statusReady       = "ready"
	statusValid       = "valid"
	statusInvalid     = "invalid"
	statusDeactivated = "deactivated"
	statusExpired     = "expired"
)

// identifier is who a certificate is for. Type email is RFC 8823, Section 3;
// CAs built around certbot take type dns with an address in it.
type identifier struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// order is RFC 8555, Section 7.1.3. Its fields are guarded by CA.mu.
type order struct {
	id          string
	account     *account
	identifiers []identifier
	authzs      []*authz
	expires     time.Time
	notAfter    time.Time // as asked for; zero when not
	profile     string
	replaces    string
	// finished is the state since finalize: processing, valid or invalid;
	// before that the authorizations make the state.
	finished string
	done     time.Time // when processing ends
	problem  *problem
	cert     *issued
}

// status derives the order's state. CA.mu is held.
func (o *order) status() string {
	if o.finished == statusProcessing && !time.Now().Before(o.done) {
		o.finished = statusValid
	}
	if o.finished != "" {
		return o.finished
	}
	state := statusReady
	for _, a := range o.authzs {
		switch a.state() {
		case statusValid:
		case statusPending:
			state = statusPending
		default:
			return statusInvalid
		}
	}
	if time.Now().After(o.expires) {
		return statusInvalid
	}
	return state
}

type orderJSON struct {
	Status      string       `json:"status"`
	Expires     time.Time    `json:"expires"`
	Identifiers []identifier `json:"identifiers"`
	NotAfter    *time.Time   `json:"notAfter,omitempty"`
	Profile     string       `json:"profile,omitempty"`
	Replaces    string       `json:"replaces,omitempty"`
	Error       *problem     `json:"error,omitempty"`
	Authzs      []string     `json:"authorizations"`
	Finalize    string       `json:"finalize"`
	Certificate string       `json:"certificate,omitempty"`
}

// orderJSON renders an order. CA.mu is held.
func (ca *CA) orderJSON(o *order) orderJSON {
	j := orderJSON{
		Status: o.status(), Expires: o.expires, Identifiers: o.identifiers, Profile: o.profile,
		Replaces: o.replaces, Error: o.problem, Finalize: ca.url(kindFinalize, o.id), Authzs: []string{},
	}
	if !o.notAfter.IsZero() {
		j.NotAfter = &o.notAfter
	}
	for _, a := range o.authzs {
		j.Authzs = append(j.Authzs, ca.url(kindAuthz, a.id))
	}
	if j.Status == statusValid {
		j.Certificate = ca.url(kindCertificate, o.cert.id)
	}
	return j
}

type newOrderRequest struct {
	Identifiers []identifier `json:"identifiers"`
	NotBefore   time.Time    `json:"notBefore"`
	NotAfter    time.Time    `json:"notAfter"`
	Profile     string       `json:"profile"`
	Replaces    string       `json:"replaces"`
}

// newOrder is RFC 8555, Section 7.4.
func (ca *CA) newOrder(r *request) (*answer, error) {
	var req newOrderRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if err := ca.checkNewOrder(&req); err != nil {
		return nil, err
	}
	ca.mu.Lock()
	o, mails, err := ca.makeOrder(r, req)
	if err != nil {
		ca.mu.Unlock()
		return nil, err
	}
	body := ca.orderJSON(o)
	ca.mu.Unlock()
	ca.journal.emit(Event{Kind: EventOrder, URL: ca.url(kindOrder, o.id), Identifiers: values(o.identifiers)})
	for _, m := range mails {
		ca.post(m)
	}
	return created(ca.url(kindOrder, o.id), body), nil
}

// makeOrder enters the order and what it leads to. CA.mu is held.
func (ca *CA) makeOrder(r *request, req newOrderRequest) (*order, []*challengeMail, error) {
	acct, err := ca.caller(r)
	if err != nil {
		return nil, nil, err
	}
	o := &order{
		id: randomID(9), account: acct, identifiers: req.Identifiers, profile: req.Profile,
		replaces: req.Replaces, expires: expiry(ca.cfg.AuthzLifetime), notAfter: req.NotAfter,
	}
	if err := ca.markReplaced(o); err != nil {
		return nil, nil, err
	}
	var mails []*challengeMail
	for _, id := range req.Identifiers {
		a := ca.authzFor(acct, id)
		o.authzs = append(o.authzs, a)
		if ca.cfg.MailTrigger == MailOnOrder {
			mails = append(mails, ca.mailOnce(a)...)
		}
	}
	ca.orders[o.id] = o
	acct.orders = append(acct.orders, o)
	return o, mails, nil
}

// expiry is the moment d from now, in whole seconds as RFC 3339 has them.
func expiry(d time.Duration) time.Time {
	return time.Now().Add(d).UTC().Truncate(time.Second)
}

func (ca *CA) checkNewOrder(req *newOrderRequest) error {
	if err := ca.checkIdentifiers(req.Identifiers); err != nil {
		return err
	}
	if len(ca.cfg.IdentifierCase) > 0 {
		for i := range req.Identifiers {
			req.Identifiers[i].Value = ca.changeCase(req.Identifiers[i].Value)
		}
	}
	if _, known := ca.cfg.Profiles[req.Profile]; req.Profile != "" && !known {
		// draft-aaron-acme-profiles, Section 5.
		return problemf(http.StatusBadRequest, "invalidProfile", "there is no profile %q", req.Profile)
	}
	if !req.NotBefore.IsZero() && time.Until(req.NotBefore) > time.Minute {
		return malformed("certificates start when they are issued; leave notBefore out")
	}
	latest := ca.cfg.Now().Add(ca.cfg.Lifetime)
	if n := req.NotAfter; !n.IsZero() && (n.After(latest) || !n.After(ca.cfg.Now())) {
		return malformed("notAfter lies in the future, and is %s at the latest", latest.UTC().Format(time.RFC3339))
	}
	return nil
}

func (ca *CA) changeCase(s string) string {
	if ca.cfg.IdentifierCase == "upper" {
		return strings.ToUpper(s)
	}
	return strings.ToLower(s)
}

// checkIdentifiers refuses what cannot be certified, with a subproblem for
// each when there are several (RFC 8555, Section 6.7.1).
func (ca *CA) checkIdentifiers(ids []identifier) error {
	if len(ids) == 0 || len(ids) > 100 {
		return malformed("an order has between 1 and 100 identifiers, not %d", len(ids))
	}
	seen := map[identifier]bool{}
	var bad []subproblem
	for _, id := range ids {
		p := ca.checkIdentifier(id)
		if p == nil && seen[id] {
			p = malformed("%q is named twice", id.Value)
		}
		seen[id] = true
		if p != nil {
			p.Identifier, p.Status = &id, 0
			bad = append(bad, *p)
		}
	}
	switch len(bad) {
	case 0:
		return nil
	case 1:
		return problemOf(bad[0])
	}
	p := problemf(http.StatusBadRequest, "compound", "%d identifiers are not acceptable", len(bad))
	p.Subproblems = bad
	return p
}

// problemOf makes a subproblem stand for itself.
func problemOf(s subproblem) *problem {
	s.Status, s.Identifier = http.StatusBadRequest, nil
	return &s
}

func (ca *CA) checkIdentifier(id identifier) *problem {
	if id.Type != "email" && (id.Type != "dns" || !ca.cfg.Certbot) {
		return problemf(http.StatusBadRequest, "unsupportedIdentifier", "identifiers of type %q are not supported", id.Type)
	}
	if strings.Contains(id.Value, "*") {
		// RFC 8823, Section 3: no wildcards.
		return problemf(http.StatusBadRequest, "rejectedIdentifier", "%q has a wildcard", id.Value)
	}
	if err := checkAddress(id.Value); err != nil {
		return problemf(http.StatusBadRequest, "rejectedIdentifier", "%q is not a mail address: %v", id.Value, err)
	}
	return nil
}

func values(ids []identifier) []string {
	var all []string
	for _, id := range ids {
		all = append(all, id.Value)
	}
	return all
}

// ownOrder finds the order a URL names, for its owner. CA.mu is held.
func (ca *CA) ownOrder(r *request) (*order, error) {
	acct, err := ca.caller(r)
	if err != nil {
		return nil, err
	}
	o := ca.orders[r.PathValue("id")]
	if o == nil {
		return nil, notFound("order")
	}
	if o.account != acct {
		return nil, unauthorized("this is another account's order")
	}
	return o, nil
}

func (ca *CA) orderResource(r *request) (*answer, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	o, err := ca.ownOrder(r)
	if err != nil {
		return nil, err
	}
	return ca.orderAnswer(o), nil
}

func (ca *CA) orderAnswer(o *order) *answer {
	body := ca.orderJSON(o)
	a := ok(body).with("Location", ca.url(kindOrder, o.id))
	if body.Status == statusProcessing && ca.cfg.RetryAfter > 0 {
		a.with("Retry-After", retryAfter(ca.cfg.RetryAfter))
	}
	return a
}

// responseDigest is RFC 8823, Section 3, item 6: the digest of the key
// authorization, whose token is made of both parts.
func responseDigest(join Join, part1, part2, thumb string) string {
	token := part1 + part2
	if join == JoinBytes {
		token = encode64(append(decode64(part1), decode64(part2)...))
	}
	sum := sha256.Sum256([]byte(token + "." + thumb))
	return encode64(sum[:])
}
