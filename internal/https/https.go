// Package https is the transport to CAs: ACME uses https only (RFC 8555, Section 6.1), and so
// does every request to an address that a CA names or redirects to.
package https

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"postseal/internal/printable"
)

// maxHeader bounds the header of an answer, in bytes.
const maxHeader = 64 << 10

// URL reports whether s is an https URL with a host and without a password in it.
func URL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && allowed(u) && printable.Text(s) && !strings.Contains(s, " ")
}

func allowed(u *url.URL) bool { return u.Scheme == "https" && u.Host != "" && u.User == nil }

// Error means that a request was not made because its URL is not https.
type Error struct{ URL string }

func (e *Error) Error() string {
	return fmt.Sprintf("%s is not an https URL, and ACME goes over https only", printable.Line(fmt.Sprintf("%q", e.URL), 200))
}

// BundleError is an error in the file of --ca-bundle.
type BundleError struct{ err error }

func (e *BundleError) Error() string { return "--ca-bundle: " + e.err.Error() }

// NewTransport returns a transport that refuses all requests but those over https, redirected
// ones included. It trusts the system's roots and those in the PEM files bundles ("" for
// none), and uses the proxy of the environment. The error is a *BundleError.
func NewTransport(bundles ...string) (*Transport, error) {
	roots, err := rootsWith(bundles)
	if err != nil {
		return nil, &BundleError{err}
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	t.MaxResponseHeaderBytes = maxHeader
	return &Transport{t}, nil
}

// rootsWith returns nil, the system's roots, if there is no bundle.
func rootsWith(bundles []string) (*x509.CertPool, error) {
	var pool *x509.CertPool
	for _, bundle := range bundles {
		if bundle == "" {
			continue
		}
		data, err := os.ReadFile(bundle)
		if err != nil {
			return nil, err
		}
		if pool == nil {
			if pool, err = x509.SystemCertPool(); err != nil {
				pool = x509.NewCertPool()
			}
		}
		if !pool.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%q holds no certificate", bundle)
		}
	}
	return pool, nil
}

// Transport is http.Transport without clear text.
type Transport struct{ *http.Transport }

// RoundTrip implements http.RoundTripper. The error is an *Error if the URL is not https.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !allowed(req.URL) {
		return nil, &Error{req.URL.Redacted()}
	}
	return t.Transport.RoundTrip(req)
}
