package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"postseal/internal/check"
	"postseal/internal/failure"
	"postseal/internal/https"
)

// directory is a CA's description of itself (RFC 8555, Section 7.1.1), and its time.
type directory struct {
	NewOrder    string `json:"newOrder"`
	RenewalInfo string `json:"renewalInfo"`
	Meta        struct {
		Terms      string            `json:"termsOfService"`
		Identities []string          `json:"caaIdentities"`
		EAB        bool              `json:"externalAccountRequired"`
		Profiles   map[string]string `json:"profiles"`
	} `json:"meta"`
	date        string    // the header field Date
	asked, told time.Time // our clock before and after
}

// directoryTime is how long a CA may take, and maxDirectory bounds its answer in bytes.
const (
	directoryTime = 6 * time.Second
	maxDirectory  = 1 << 20
)

// askDirectory asks the CA. If the answer is not a CA's, it returns that with an error: its
// clock may still be compared with ours.
func askDirectory(ctx context.Context, o check.Options) (*directory, error) {
	ctx, cancel := context.WithTimeout(ctx, directoryTime)
	defer cancel()
	transport, err := https.NewTransport(o.CABundle)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: transport}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.Server, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "postseal/"+strings.Trim(o.Version, "()")+" check")
	d := &directory{asked: time.Now()}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	d.date, d.told = resp.Header.Get("Date"), time.Now()
	if resp.StatusCode != http.StatusOK {
		return d, fmt.Errorf("it says %q", resp.Status)
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxDirectory)).Decode(d)
	if err != nil || d.NewOrder == "" {
		return d, errors.New("it does not answer like an ACME server")
	}
	return d, nil
}

// checkCA asks the CA for its directory.
func (c *checker) checkCA(_ context.Context, r *report) {
	d, err := c.directory()
	if err != nil {
		explainCA(r, c.Server, err)
		return
	}
	r.ok("%s answers; its certificate is trusted", c.Server)
	terms := "names no terms of service"
	if d.Meta.Terms != "" {
		terms = "its terms of service: " + d.Meta.Terms
	}
	r.ok("%s; %s; %s", terms, d.profiles(), d.renewal())
	c.account(r, d)
	r.skip("whether it offers identifiers of type email shows only in an order: postseal cert --dry-run")
}

// explainCA says what is wrong with the answer of a CA.
func explainCA(r *report, url string, err error) {
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		r.fail("look at this machine's clock first", "the certificate of %s: %v", url, invalid)
	case errors.As(err, &verification):
		r.fail("if this is your own CA, give its root with --ca-bundle FILE", "the certificate of %s is not trusted: %v", url, failure.Root(err))
	case errors.Is(err, context.DeadlineExceeded):
		r.fail("check --server, the network, and HTTPS_PROXY", "%s does not answer within %s", url, directoryTime)
	case errors.As(err, new(*https.BundleError)):
		r.fail("give a PEM file", "%v", err)
	default:
		r.fail("check --server, the network, and HTTPS_PROXY", "%s: %v", url, withoutURL(err))
	}
}

// withoutURL returns the cause of a failed request: our own text has the URL.
func withoutURL(err error) error {
	if failed := (*url.Error)(nil); errors.As(err, &failed) {
		return failure.Root(err)
	}
	return err
}

func (d *directory) profiles() string {
	if len(d.Meta.Profiles) == 0 {
		return "no profiles"
	}
	return "profiles " + strings.Join(slices.Sorted(maps.Keys(d.Meta.Profiles)), ", ")
}

func (d *directory) renewal() string {
	if d.RenewalInfo == "" {
		return "no renewal windows (ARI): renewal by lifetime"
	}
	return "renewal windows (ARI)"
}

// account reports whether there is an account at the CA, from what postseal found.
func (c *checker) account(r *report, d *directory) {
	switch {
	case c.Account != "":
		r.ok("there is an account: %s", c.Account)
	case d.Meta.EAB:
		r.warn("get a key from the CA; then: postseal cert --eab-kid ID --eab-hmac-key-file FILE",
			"there is no account yet, and the CA wants an external account binding")
	default:
		r.ok("there is no account yet: the first order makes it")
	}
}

// maxSkew is how far the clock may be off: the mail half accepts a signature from that far
// ahead, and a challenge dated as much before its order.
const maxSkew = 5 * time.Minute

// checkClock compares the clock with the CA's. Another check complains about a CA that does
// not answer.
func (c *checker) checkClock(_ context.Context, r *report) {
	d, _ := c.directory() // an error page has a date, too
	if d == nil {
		r.skip("not compared with any other: the CA does not answer")
		return
	}
	date, err := http.ParseTime(d.date)
	if err != nil {
		r.skip("not compared with any other: the CA tells no time")
		return
	}
	skew := off(d.asked, d.told, date)
	switch {
	case skew > maxSkew || skew < -maxSkew:
		r.fail("set it, and keep it right with NTP", "this machine's clock is %s the CA's: good challenges will be refused", direction(skew))
	default:
		r.ok("within %s of the CA's", maxSkew)
	}
}

// off returns how far our clock is ahead of a date that arrived between two moments. A date
// has no fractions of a second.
func off(before, after, date time.Time) time.Duration {
	switch {
	case before.After(date.Add(time.Second)):
		return before.Sub(date)
	case after.Before(date):
		return after.Sub(date)
	}
	return 0
}

func direction(skew time.Duration) string {
	if skew < 0 {
		return (-skew).Round(time.Second).String() + " behind"
	}
	return skew.Round(time.Second).String() + " ahead of"
}
