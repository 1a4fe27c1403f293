package testca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// jwsClient makes requests by hand, so that each rule can be broken alone.
type jwsClient struct {
	t    *testing.T
	ca   *CA
	http *http.Client
	key  any
	alg  jose.SignatureAlgorithm
	kid  string
}

func newJWSClient(t *testing.T, ca *CA) *jwsClient {
	return &jwsClient{t: t, ca: ca, http: httpClient(t, ca), key: newKey(t), alg: jose.ES256}
}

func (c *jwsClient) nonce() string {
	c.t.Helper()
	res, err := c.http.Head(c.ca.url(kindNewNonce, ""))
	if err != nil {
		c.t.Fatal(err)
	}
	res.Body.Close()
	return res.Header.Get("Replay-Nonce")
}

type parts struct {
	url, nonce, contentType string
	headers                 map[jose.HeaderKey]any
	edit                    func(map[string]any)
}

func (c *jwsClient) sign(url, nonce string, extra map[jose.HeaderKey]any, payload string) string {
	c.t.Helper()
	opts := &jose.SignerOptions{EmbedJWK: c.kid == "", ExtraHeaders: map[jose.HeaderKey]any{"url": url, "nonce": nonce}}
	if c.kid != "" {
		opts.ExtraHeaders["kid"] = c.kid
	}
	for k, v := range extra {
		opts.ExtraHeaders[k] = v
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: c.alg, Key: c.key}, opts)
	if err != nil {
		c.t.Fatal(err)
	}
	jws, err := s.Sign([]byte(payload))
	if err != nil {
		c.t.Fatal(err)
	}
	return jws.FullSerialize()
}

// post sends a request and returns the status, the header and the body.
func (c *jwsClient) post(url, payload string, p parts) (*http.Response, []byte) {
	c.t.Helper()
	or(&p.url, url)
	or(&p.nonce, c.nonce())
	or(&p.contentType, "application/jose+json")
	body := c.sign(p.url, p.nonce, p.headers, payload)
	if p.edit != nil {
		var m map[string]any
		if err := json.Unmarshal([]byte(body), &m); err != nil {
			c.t.Fatal(err)
		}
		p.edit(m)
		b, err := json.Marshal(m)
		if err != nil {
			c.t.Fatal(err)
		}
		body = string(b)
	}
	return c.raw(url, p.contentType, body)
}

func (c *jwsClient) raw(url, contentType, body string) (*http.Response, []byte) {
	c.t.Helper()
	res, err := c.http.Post(url, contentType, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res, b
}

// register makes an account and uses it from then on.
func (c *jwsClient) register() {
	c.t.Helper()
	res, body := c.post(c.ca.url(kindNewAccount, ""), `{"termsOfServiceAgreed":true}`, parts{})
	if res.StatusCode != http.StatusCreated {
		c.t.Fatalf("newAccount: %d %s", res.StatusCode, body)
	}
	c.kid = res.Header.Get("Location")
}

// wantProblem checks that a response is the problem document of an error.
func wantProblem(t *testing.T, res *http.Response, body []byte, status int, kind string) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatalf("%d %q is not a problem document", res.StatusCode, body)
	}
	if res.StatusCode != status || p.Type != errorURN+kind || p.Detail == "" || p.Status != status {
		t.Errorf("%d %s, want %d %s", res.StatusCode, body, status, kind)
	}
	if ct := res.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("Content-Type is %s", ct)
	}
	if res.Header.Get("Replay-Nonce") == "" {
		t.Error("no Replay-Nonce beside the problem")
	}
	return p
}

func TestJWSRules(t *testing.T) {
	ca := start(t, Config{})
	c := newJWSClient(t, ca)
	c.register()
	newOrder := ca.url(kindNewOrder, "")
	used := c.nonce()
	c.post(newOrder, "{}", parts{nonce: used})
	tests := []struct {
		name   string
		p      parts
		status int
		kind   string
	}{
		{"content type", parts{contentType: "application/json"}, 415, "malformed"},
		{"other url", parts{url: ca.url(kindRevoke, "")}, 403, "unauthorized"},
		{"used nonce", parts{nonce: used}, 400, "badNonce"},
		{"foreign nonce", parts{nonce: "AAAA"}, 400, "badNonce"},
		{"nonce not base64url", parts{nonce: "a nonce?"}, 400, "malformed"},
		{"foreign kid", parts{headers: map[jose.HeaderKey]any{"kid": ca.url(kindAccount, "nobody")}}, 400, "accountDoesNotExist"},
		{"kid elsewhere", parts{headers: map[jose.HeaderKey]any{"kid": "https://example.test/1"}}, 400, "accountDoesNotExist"},
		{"b64", parts{headers: map[jose.HeaderKey]any{"b64": true}}, 400, "malformed"},
		{"unprotected header", parts{edit: func(m map[string]any) { m["header"] = map[string]any{"x": 1} }}, 400, "malformed"},
		{"two signatures", parts{edit: func(m map[string]any) { m["signatures"] = []any{} }}, 400, "malformed"},
		{"other payload", parts{edit: func(m map[string]any) { m["payload"] = "e30K" }}, 400, "malformed"},
		{"no payload", parts{edit: func(m map[string]any) { delete(m, "payload") }}, 400, "malformed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			res, body := c.post(newOrder, "{}", test.p)
			wantProblem(t, res, body, test.status, test.kind)
		})
	}
}

func TestJWSNotJSON(t *testing.T) {
	c := newJWSClient(t, start(t, Config{}))
	res, body := c.raw(c.ca.url(kindNewOrder, ""), "application/jose+json", "hello")
	wantProblem(t, res, body, 400, "malformed")
}

func TestAlgorithms(t *testing.T) {
	ca := start(t, Config{})
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	c := newJWSClient(t, ca)
	c.key, c.alg = weak, jose.RS256
	res, body := c.post(ca.url(kindNewAccount, ""), "{}", parts{})
	wantProblem(t, res, body, 400, "badPublicKey")

	c.key, c.alg = []byte(strings.Repeat("k", 32)), jose.HS256
	c.kid = ca.url(kindAccount, "x")
	res, body = c.post(ca.url(kindNewAccount, ""), "{}", parts{})
	if p := wantProblem(t, res, body, 400, "badSignatureAlgorithm"); len(p.Algorithms) == 0 {
		t.Error("the problem does not list algorithms")
	}
}

// The request must be signed with the key its kid stands for.
func TestOtherKey(t *testing.T) {
	ca := start(t, Config{})
	c := newJWSClient(t, ca)
	c.register()
	c.key = newKey(t)
	res, body := c.post(ca.url(kindNewOrder, ""), "{}", parts{})
	wantProblem(t, res, body, 400, "malformed")
}

func TestMethods(t *testing.T) {
	ca := start(t, Config{})
	c := httpClient(t, ca)
	for _, kind := range []string{kindNewOrder, kindRevoke, kindKeyChange} {
		res, err := c.Get(ca.url(kind, ""))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		wantProblem(t, res, body, 405, "malformed")
	}
	res, err := c.Get(ca.base + "/nothing")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	wantProblem(t, res, body, 404, "malformed")
}

func TestNewNonce(t *testing.T) {
	ca := start(t, Config{})
	c := httpClient(t, ca)
	seen := map[string]bool{}
	for method, status := range map[string]int{"HEAD": 200, "GET": 204} {
		req, err := http.NewRequestWithContext(t.Context(), method, ca.url(kindNewNonce, ""), nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		n := res.Header.Get("Replay-Nonce")
		if res.StatusCode != status || n == "" || seen[n] || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", method, res.StatusCode, res.Header)
		}
		seen[n] = true
	}
}

func TestNoncesAreBounded(t *testing.T) {
	n := newNonces()
	first := n.fresh()
	for range maxNonces {
		n.fresh()
	}
	if n.use(first) {
		t.Error("the oldest nonce is still good")
	}
	last := n.fresh()
	if len(n.live) != maxNonces || !n.use(last) || n.use(last) {
		t.Errorf("%d nonces live, or the newest is not good exactly once", len(n.live))
	}
}

func TestDirectory(t *testing.T) {
	get := func(cfg Config) map[string]any {
		ca := start(t, cfg)
		res, err := httpClient(t, ca).Get(ca.DirectoryURL)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var dir map[string]any
		if err := json.NewDecoder(res.Body).Decode(&dir); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	dir := get(Config{RequireEAB: true, Profiles: map[string]string{"sign": "for signing"}})
	meta := dir["meta"].(map[string]any)
	if meta["externalAccountRequired"] != true || meta["termsOfService"] == nil || meta["profiles"] == nil || dir["renewalInfo"] == nil {
		t.Errorf("directory is %v", dir)
	}
	dir = get(Config{NoTerms: true, NoARI: true})
	meta = dir["meta"].(map[string]any)
	if meta["externalAccountRequired"] != false || meta["termsOfService"] != nil || meta["profiles"] != nil || dir["renewalInfo"] != nil {
		t.Errorf("directory is %v", dir)
	}
}

// What the directory links to is there, and so is the directory at the URL a
// person would guess.
func TestPages(t *testing.T) {
	ca := start(t, Config{})
	for _, url := range []string{ca.termsURL(), ca.base + "/directory", ca.DirectoryURL} {
		res, err := httpClient(t, ca).Get(url)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != 200 || len(body) == 0 {
			t.Errorf("%s: %d %q, %v", url, res.StatusCode, body, err)
		}
	}
}

// keyChangeInner signs the inner JWS of a key change.
func keyChangeInner(t *testing.T, c *jwsClient, newKey any, url, nonce, account string, old any) string {
	t.Helper()
	inner := &jwsClient{t: t, key: newKey, alg: jose.ES256}
	payload, err := json.Marshal(map[string]any{"account": account, "oldKey": jose.JSONWebKey{Key: old}})
	if err != nil {
		t.Fatal(err)
	}
	extra := map[jose.HeaderKey]any{}
	if nonce == "" {
		return signWithoutNonce(t, newKey, url, payload)
	}
	return inner.sign(url, nonce, extra, string(payload))
}

func signWithoutNonce(t *testing.T, key any, url string, payload []byte) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key},
		&jose.SignerOptions{EmbedJWK: true, ExtraHeaders: map[jose.HeaderKey]any{"url": url}})
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	return jws.FullSerialize()
}

func TestKeyChangeRules(t *testing.T) {
	ca := start(t, Config{})
	c, other := newJWSClient(t, ca), newJWSClient(t, ca)
	c.register()
	other.register()
	url := ca.url(kindKeyChange, "")
	old := c.key.(*ecdsa.PrivateKey).Public()
	fresh := newKey(t)
	tests := []struct {
		name   string
		inner  string
		status int
	}{
		{"inner nonce", keyChangeInner(t, c, fresh, url, "AAAA", c.kid, old), 400},
		{"inner url", keyChangeInner(t, c, fresh, ca.DirectoryURL, "", c.kid, old), 400},
		{"other account", keyChangeInner(t, c, fresh, url, "", other.kid, old), 400},
		{"other old key", keyChangeInner(t, c, fresh, url, "", c.kid, newKey(t).Public()), 400},
		{"key in use", keyChangeInner(t, c, other.key, url, "", c.kid, old), 409},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			res, body := c.post(url, test.inner, parts{})
			wantProblem(t, res, body, test.status, "malformed")
			if test.status == 409 && res.Header.Get("Location") != other.kid {
				t.Errorf("Location is %q, not the account with the key", res.Header.Get("Location"))
			}
		})
	}
	res, body := c.post(url, keyChangeInner(t, c, fresh, url, "", c.kid, old), parts{})
	if res.StatusCode != 200 || !bytes.Contains(body, []byte(`"valid"`)) {
		t.Errorf("a correct key change: %d %s", res.StatusCode, body)
	}
}
