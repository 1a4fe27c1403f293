package ca

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"postseal/internal/failure"
	"postseal/internal/https"
	"postseal/issuer/cert"
	"postseal/issuer/store"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "0": 0, "-3": 0, "soon": 0, "99999999999999": 0,
		"Thu, 01 Jan 2026 00:01:00 GMT": time.Minute, "Wed, 31 Dec 2025 00:00:00 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: %s", value, got)
		}
	}
}

// Each request names us, is bounded, and reaches the log without its body.
func TestTransport(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "7")
		fmt.Fprint(w, r.Header.Get("User-Agent"), strings.Repeat("x", maxBody))
	}))
	defer server.Close()
	var logged []string
	client := &http.Client{Transport: &transport{base: server.Client().Transport, agent: userAgent("(devel)"), log: func(s string) { logged = append(logged, s) }}}
	ctx, x := withExchange(t.Context(), nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/path", strings.NewReader("secret"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || len(body) != maxBody || !strings.HasPrefix(string(body), "postseal/devel (+https://") {
		t.Errorf("%d bytes, %.60q, %v", len(body), body, err)
	}
	if last := x.answer(); last.status != 200 || last.wait != 7*time.Second {
		t.Errorf("%+v", last)
	}
	if len(logged) != 1 || !strings.Contains(logged[0], "POST "+server.URL+"/path: 200") || strings.Contains(logged[0], "secret") {
		t.Errorf("%q", logged)
	}
	if Busy(ctx) || Busy(context.Background()) {
		t.Error("busy")
	}
}

func TestProxyAndTimeout(t *testing.T) {
	client, err := newHTTPClient(nil, userAgent(""), func(string) {})
	if err != nil || client.Timeout != 30*time.Second {
		t.Fatalf("%v, %v", client, err)
	}
	base := client.Transport.(*transport).base.(*https.Transport)
	if base.Proxy == nil {
		t.Error("no proxy of the environment")
	}
}

// The problem document in one line, and the error's kind and hint.
func TestExplain(t *testing.T) {
	c := &CA{Server: "https://ca.example/dir"}
	problem := acme.Problem{Type: acme.ProblemTypeBadCSR, Detail: "no\nway", Status: 400, Subproblems: []acme.Subproblem{
		{Problem: acme.Problem{Type: acme.ProblemTypeCAA, Detail: "forbidden"}, Identifier: acme.Identifier{Value: "alice@example.test"}},
	}}
	for name, tc := range map[string]struct {
		err        error
		text, hint string
	}{
		"problem":   {fmt.Errorf("attempt 1: %w", problem), `finalizing at ca.example: the CA says "no\nway" (badCSR); alice@example.test "forbidden" (caa)`, failure.OtherRequest},
		"no detail": {acme.Problem{Title: "Oops"}, `the CA says "Oops"`, ""},
		"network":   {&os.SyscallError{Syscall: "read", Err: errors.New("x")}, "does not answer like an ACME server", failure.CheckServer},
		"cut":       {io.ErrUnexpectedEOF, "cannot reach https://ca.example/dir", failure.CheckNetwork},
		"own":       {failure.Later("wait", "later"), "later", "wait"},
		"long":      {errors.New(strings.Repeat("ü", 500)), "…", failure.CheckServer},
	} {
		err := c.Explain("finalizing", tc.err)
		if !strings.Contains(err.Error(), tc.text) || !strings.Contains(failure.HintOf(err), tc.hint) || len(err.Error()) > 400 {
			t.Errorf("%s: %v; hint %q", name, err, failure.HintOf(err))
		}
	}
	if c.Explain("x", nil) != nil || !errors.Is(c.Explain("x", ErrPending), ErrPending) {
		t.Error("explained what is not an error")
	}
}

// "Not now" is 429, or 503 with a time.
func TestPutsOff(t *testing.T) {
	for a, want := range map[answer]bool{
		{status: 429}: true, {status: 429, wait: time.Second}: true, {status: 503}: false, {status: 503, wait: time.Second}: true,
		{status: 500, wait: time.Second}: false, {status: 200, wait: time.Second}: false, {}: false,
	} {
		if a.putsOff() != want {
			t.Errorf("%+v: %v", a, a.putsOff())
		}
	}
}

func TestPace(t *testing.T) {
	var p Pace
	for _, want := range []time.Duration{100 * time.Millisecond, 150 * time.Millisecond, 225 * time.Millisecond} {
		if got := p.Next(0); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := p.Next(time.Minute); got != time.Minute {
		t.Errorf("Retry-After is ignored: %s", got)
	}
	for range 50 {
		p.Next(0)
	}
	if got := p.Next(0); got != 10*time.Second {
		t.Errorf("no end: %s", got)
	}
}

// The order of precedence: the request, the CA's table, what we learned about the CA, the
// default.
func TestPrecedence(t *testing.T) {
	taught := &account{}
	eight := store.Duration(8 * time.Second)
	taught.file.Learned = learned{MailAfterPost: true, Settle: &eight}
	five := store.Duration(5 * time.Second)
	for name, tc := range map[string]struct {
		c       *CA
		setting string
		settle  *store.Duration
		want    [3]string // join, trigger, settle
	}{
		"default":  {c: &CA{Server: "https://ca.example/dir", account: &account{}}, want: [3]string{"string", "auto", "2s"}},
		"castle":   {c: &CA{Server: "https://acme-staging.castle.cloud/acme/directory", account: &account{}}, want: [3]string{"bytes", "auto", "2s"}},
		"no trick": {c: &CA{Server: "https://castle.cloud.example/", account: &account{}}, want: [3]string{"string", "auto", "2s"}},
		"another":  {c: &CA{Server: "https://notcastle.cloud/directory", account: &account{}}, want: [3]string{"string", "auto", "2s"}},
		"itself":   {c: &CA{Server: "https://castle.cloud/directory", account: &account{}}, want: [3]string{"bytes", "auto", "2s"}},
		"taught":   {c: &CA{Server: "https://acme.castle.cloud/acme/directory", account: taught}, want: [3]string{"bytes", "post", "8s"}},
		"table":    {c: &CA{Server: "https://acme.castle.cloud/acme/directory", account: taught, Settings: Settings{TokenJoin: "string", Trigger: "reply", Settle: "3s"}}, want: [3]string{"string", "reply", "3s"}},
		"request":  {c: &CA{Server: "https://acme.castle.cloud/acme/directory", account: taught, Settings: Settings{TokenJoin: "string", Trigger: "reply", Settle: "3s"}}, setting: "auto", settle: &five, want: [3]string{"bytes", "post", "5s"}},
	} {
		tc.c.options.Disk = &store.Disk{Now: time.Now}
		settle, _ := tc.c.Settle(tc.settle)
		got := [3]string{tc.c.Join(tc.setting), tc.c.Trigger(tc.setting), settle.String()}
		if got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// No request is in clear text, whoever names or redirects to a URL; and a signed request
// follows no redirect.
func TestRedirects(t *testing.T) {
	t.Parallel()
	var connections atomic.Int64
	clear := httptest.NewUnstartedServer(http.NotFoundHandler())
	clear.Config.ConnState = func(net.Conn, http.ConnState) { connections.Add(1) }
	clear.Start()
	defer clear.Close()
	clearText := clear.URL + "/acme/x"
	asked := map[string]int{}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked[r.Method+" "+r.URL.Path]++
		switch r.URL.Path {
		case "/clear":
			http.Redirect(w, r, clearText, http.StatusTemporaryRedirect)
		case "/again":
			http.Redirect(w, r, "/again", http.StatusTemporaryRedirect)
		case "/on":
			http.Redirect(w, r, "/there", http.StatusTemporaryRedirect)
		}
	}))
	defer server.Close()
	bundle := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(bundle, cert.MarshalChain([]*x509.Certificate{server.Certificate()}), 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := newHTTPClient([]string{bundle}, userAgent(""), func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	for request, want := range map[string]int{ // the status; 0 for an *https.Error
		"GET " + clearText: 0, "POST " + clearText: 0, "GET " + server.URL + "/clear": 0,
		"POST " + server.URL + "/clear": http.StatusTemporaryRedirect, "GET " + server.URL + "/again": http.StatusTemporaryRedirect,
		"GET " + server.URL + "/on": http.StatusOK, "POST " + server.URL + "/on": http.StatusTemporaryRedirect,
		"GET ftp://ca.example/": 0, "GET https://user:secret@" + server.Listener.Addr().String() + "/": 0, "GET /relative": 0,
	} {
		method, url, _ := strings.Cut(request, " ")
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		var refused *https.Error
		switch {
		case want == 0 && (!errors.As(err, &refused) || strings.Contains(refused.Error(), "secret")):
			t.Errorf("%s: %v", request, err)
		case want != 0 && (err != nil || resp.StatusCode != want):
			t.Errorf("%s: %v, %v", request, resp, err)
		}
	}
	if n := connections.Load(); n > 0 || asked["POST /there"] > 0 || asked["GET /again"] != maxRedirects+1 {
		t.Errorf("%d connections in clear text; %v", n, asked)
	}
}

func TestCompat(t *testing.T) {
	for _, tc := range []struct {
		list, table []string
		want        bool
	}{
		{nil, nil, false}, {nil, []string{"serial"}, true}, {[]string{}, []string{"serial"}, false},
		{[]string{"serial"}, nil, true}, {[]string{"certbot"}, []string{"serial"}, false},
	} {
		if got := (&CA{Settings: Settings{Compat: tc.table}}).Compat(tc.list, "serial"); got != tc.want {
			t.Errorf("%v over %v: %v", tc.list, tc.table, got)
		}
	}
}
