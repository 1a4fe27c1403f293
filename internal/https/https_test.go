package https

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postseal/internal/test/certs"
)

func TestURL(t *testing.T) {
	for s, want := range map[string]bool{
		"https://ca.example/directory": true, "https://[::1]:14000/dir?x=y": true, "HTTPS://ca.example": true,
		"http://ca.example/directory": false, "ca.example": false, "https:///directory": false, "https:ca.example": false, "": false,
		"https://user:word@ca.example/": false, "https://user@ca.example/": false,
		"https://ca.example/a b": false, "https://ca.example/\u202edir": false, "https://ca.example/\n": false,
	} {
		if got := URL(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}

// serve starts a server, and returns it and the file of its root.
func serve(t *testing.T, h http.HandlerFunc, change func(*tls.Config)) (server *httptest.Server, root string) {
	t.Helper()
	server = httptest.NewUnstartedServer(h)
	server.TLS = new(tls.Config)
	change(server.TLS)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	root = filepath.Join(t.TempDir(), "root.pem")
	writePEM(t, root, server.Certificate())
	return server, root
}

func writePEM(t *testing.T, path string, c *x509.Certificate) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, url string, bundles ...string) error {
	t.Helper()
	transport, err := NewTransport(bundles...)
	if err != nil {
		t.Fatal(err)
	}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get(url)
	if err == nil {
		resp.Body.Close()
	}
	return err
}

// Each bundle's roots are trusted, beside the others'; nobody else is.
func TestRoots(t *testing.T) {
	nothing := func(http.ResponseWriter, *http.Request) {}
	server, root := serve(t, nothing, func(*tls.Config) {})
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other.pem")
	writePEM(t, other, certs.SelfSigned(t, certs.Key(t), func(*x509.Certificate) {}))
	for _, bundles := range [][]string{{root}, {"", root}, {root, ""}, {root, other}, {other, root}} {
		if err := get(t, server.URL, bundles...); err != nil {
			t.Errorf("%q: %v", bundles, err)
		}
	}
	for _, bundle := range []string{"", other} {
		if err := get(t, server.URL, bundle); err == nil {
			t.Error("anybody is trusted")
		}
	}
	for _, bad := range []string{t.TempDir(), empty, empty + ".none"} {
		if _, err := NewTransport(root, bad); !errors.As(err, new(*BundleError)) || !strings.HasPrefix(err.Error(), "--ca-bundle: ") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// A redirect to clear text, or with a password, is not followed; nor does an old TLS or an
// endless header do.
func TestRefused(t *testing.T) {
	var asked bool
	clear := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	t.Cleanup(clear.Close)
	server, root := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/clear":
			http.Redirect(w, r, clear.URL+"/secret", http.StatusFound)
		case "/password":
			http.Redirect(w, r, "https://user:word@"+r.Host+"/", http.StatusFound)
		case "/header":
			w.Header().Set("X", strings.Repeat("x", 2*maxHeader))
		}
	}, func(*tls.Config) {})
	for _, path := range []string{"/clear", "/password"} {
		var refused *Error
		if err := get(t, server.URL+path, root); !errors.As(err, &refused) || strings.Contains(refused.Error(), "word") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if asked {
		t.Error("it was asked in clear text")
	}
	if err := get(t, server.URL+"/header", root); err == nil {
		t.Error("the header has no end")
	}
	old, root := serve(t, func(http.ResponseWriter, *http.Request) {}, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 })
	if err := get(t, old.URL, root); err == nil {
		t.Error("TLS 1.1 will do")
	}
}
