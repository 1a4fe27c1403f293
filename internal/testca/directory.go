package testca

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
)

// Resources by the names that Fault.Kind and Counters.Requests use. Each is
// the first path segment after /acme/ as well, but for finalize and orders.
const (
	kindDirectory   = "directory"
	kindNewNonce    = "new-nonce"
	kindNewAccount  = "new-account"
	kindAccount     = "account"
	kindOrders      = "orders"
	kindKeyChange   = "key-change"
	kindNewOrder    = "new-order"
	kindOrder       = "order"
	kindFinalize    = "finalize"
	kindAuthz       = "authz"
	kindChallenge   = "challenge"
	kindCertificate = "certificate"
	kindRevoke      = "revoke-cert"
	kindRenewalInfo = "renewal-info"
)

// answer is a response that is not a problem.
type answer struct {
	status int
	header http.Header
	body   any    // sent as JSON
	pem    []byte // sent as a certificate chain instead
}

func ok(body any) *answer { return &answer{status: http.StatusOK, body: body} }

func created(url string, body any) *answer {
	return (&answer{status: http.StatusCreated, body: body}).with("Location", url)
}

// with adds a header field; an empty value adds none.
func (a *answer) with(name, value string) *answer {
	if value == "" {
		return a
	}
	if a.header == nil {
		a.header = http.Header{}
	}
	a.header.Add(name, value)
	return a
}

// url makes the address of a resource.
func (ca *CA) url(kind, id string) string {
	switch kind {
	case kindFinalize:
		return ca.base + "/acme/order/" + id + "/finalize"
	case kindOrders:
		return ca.base + "/acme/account/" + id + "/orders"
	case kindDirectory:
		return ca.base + "/directory/" + ca.start
	}
	if id == "" {
		return ca.base + "/acme/" + kind
	}
	return ca.base + "/acme/" + kind + "/" + id
}

// routes is everything the CA answers over HTTPS.
func (ca *CA) routes() http.Handler {
	mux := http.NewServeMux()
	get := func(pattern, kind string, h func(*http.Request) (*answer, error)) {
		mux.HandleFunc(pattern, ca.serve(kind, http.MethodGet, h))
	}
	post := func(pattern, kind string, h func(*request) (*answer, error)) {
		mux.HandleFunc(pattern, ca.serve(kind, http.MethodPost, ca.signed(h)))
	}
	get("/directory", kindDirectory, ca.directory)
	get("/directory/{start}", kindDirectory, ca.directory)
	get("/acme/new-nonce", kindNewNonce, ca.newNonce)
	post("/acme/new-account", kindNewAccount, ca.newAccount)
	post("/acme/account/{id}", kindAccount, ca.accountResource)
	post("/acme/account/{id}/orders", kindOrders, ca.ordersResource)
	post("/acme/key-change", kindKeyChange, ca.keyChange)
	post("/acme/new-order", kindNewOrder, ca.newOrder)
	post("/acme/order/{id}", kindOrder, ca.orderResource)
	post("/acme/order/{id}/finalize", kindFinalize, ca.finalize)
	post("/acme/authz/{id}", kindAuthz, ca.authzResource)
	post("/acme/challenge/{id}", kindChallenge, ca.challengeResource)
	post("/acme/certificate/{id}", kindCertificate, ca.certificateResource)
	post("/acme/revoke-cert", kindRevoke, ca.revokeCert)
	if !ca.cfg.NoARI {
		get("/acme/renewal-info/{id}", kindRenewalInfo, ca.renewalInfo)
	}
	mux.HandleFunc("/terms", terms)
	mux.HandleFunc("/", ca.serve("unknown", http.MethodGet, func(*http.Request) (*answer, error) {
		return nil, notFound("resource")
	}))
	return mux
}

// serve runs a handler with the faults and the header fields common to all.
func (ca *CA) serve(kind, method string, h func(*http.Request) (*answer, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ca.journal.count(func(c *Counters) { c.Requests[kind]++ })
		// RFC 8555, Section 6.5: a nonce in each response. One that is
		// never used costs 22 bytes.
		w.Header().Set("Replay-Nonce", ca.nonces.fresh())
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Add("Link", `<`+ca.url(kindDirectory, "")+`>;rel="index"`)
		if ca.injectFault(w, r, kind) {
			return
		}
		a, err := ca.checkMethod(r, kind, method)
		if err == nil {
			a, err = h(r)
		}
		if err != nil {
			writeProblem(w, err)
			return
		}
		writeAnswer(w, r, a)
	}
}

// checkMethod lets GET resources be asked with HEAD, and all others only with
// their own method (RFC 8555, Section 6.3).
func (ca *CA) checkMethod(r *http.Request, kind, method string) (*answer, error) {
	if r.Method == method || kind == "unknown" || method == http.MethodGet && r.Method == http.MethodHead {
		return nil, nil
	}
	return nil, problemf(http.StatusMethodNotAllowed, "malformed", "this resource takes %s, not %s", method, r.Method).with("Allow", method)
}

// signed turns a handler of checked requests into one of plain ones.
func (ca *CA) signed(h func(*request) (*answer, error)) func(*http.Request) (*answer, error) {
	return func(hr *http.Request) (*answer, error) {
		r, err := ca.authenticate(hr)
		if err != nil {
			return nil, err
		}
		return h(r)
	}
}

func writeAnswer(w http.ResponseWriter, r *http.Request, a *answer) {
	for name, values := range a.header {
		w.Header()[name] = append(w.Header()[name], values...)
	}
	switch {
	case a.pem != nil:
		// RFC 8555, Section 9.1.
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		w.WriteHeader(a.status)
		w.Write(a.pem)
	case a.body != nil:
		writeJSON(w, a.status, "application/json", a.body)
	default:
		w.WriteHeader(a.status)
	}
}

func writeProblem(w http.ResponseWriter, err error) {
	var p *problem
	if !errors.As(err, &p) {
		p = problemf(http.StatusInternalServerError, "serverInternal", "%v", err)
	}
	for name, values := range p.header {
		w.Header()[name] = append(w.Header()[name], values...)
	}
	writeJSON(w, p.Status, "application/problem+json", p)
}

func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // our own types: always marshal
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	w.Write(b)
}

// directory is RFC 8555, Section 7.1.1, with renewalInfo of RFC 9773.
func (ca *CA) directory(*http.Request) (*answer, error) {
	meta := map[string]any{
		"website":                 ca.base + "/",
		"externalAccountRequired": ca.cfg.RequireEAB,
	}
	if !ca.cfg.NoTerms {
		meta["termsOfService"] = ca.termsURL()
	}
	if ca.cfg.Profiles != nil {
		meta["profiles"] = ca.cfg.Profiles
	}
	dir := map[string]any{
		"newNonce":   ca.url(kindNewNonce, ""),
		"newAccount": ca.url(kindNewAccount, ""),
		"newOrder":   ca.url(kindNewOrder, ""),
		"revokeCert": ca.url(kindRevoke, ""),
		"keyChange":  ca.url(kindKeyChange, ""),
		"meta":       meta,
	}
	if !ca.cfg.NoARI {
		dir["renewalInfo"] = ca.url(kindRenewalInfo, "")
	}
	return ok(dir), nil
}

func (ca *CA) termsURL() string { return ca.base + "/terms" }

// terms is what a person finds who looks before agreeing.
func terms(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, "These certificates are for trying things out. Nobody should trust them.\n")
}

// newNonce is RFC 8555, Section 7.2: 200 for HEAD, 204 for GET.
func (ca *CA) newNonce(r *http.Request) (*answer, error) {
	if r.Method == http.MethodHead {
		return &answer{status: http.StatusOK}, nil
	}
	return &answer{status: http.StatusNoContent}, nil
}
