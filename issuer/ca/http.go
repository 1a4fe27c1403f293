package ca

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"postseal/internal/failure"
	"postseal/internal/https"
)

// requestTimeout bounds one HTTP request from dial to the end of the body.
const requestTimeout = 30 * time.Second

// maxBody bounds an answer of the CA, in bytes. A chain of certificates has some KiB.
const maxBody = 4 << 20

// userAgent returns our User-Agent, which RFC 8555, Section 6.1 requires.
func userAgent(version string) string {
	return "postseal/" + cmp.Or(strings.Trim(version, "()"), "devel") + " (+https://www.rfc-editor.org/rfc/rfc8823)"
}

// newHTTPClient returns a client that speaks https only, trusts the system's roots and those
// in the files bundles ("" for none), and reports each request to log.
func newHTTPClient(bundles []string, agent string, log func(string)) (*http.Client, error) {
	base, err := https.NewTransport(bundles...)
	if err != nil {
		return nil, failure.Config("give a PEM file with certificates", "%w", err)
	}
	base.MaxIdleConnsPerHost = 64 // a batch runs many orders at one CA
	return &http.Client{Timeout: requestTimeout, CheckRedirect: redirected, Transport: &transport{base: base, agent: agent, log: log}}, nil
}

// maxRedirects bounds how many redirects a request follows.
const maxRedirects = 3

// redirected returns a redirect as the answer if the request must not follow it: a signed
// request is for its own URL only (RFC 8555, Section 6.4).
func redirected(_ *http.Request, via []*http.Request) error {
	if via[0].Method == http.MethodPost || len(via) > maxRedirects {
		return http.ErrUseLastResponse
	}
	return nil
}

// answer is the part of the last HTTP answer to a call that acmez hides.
type answer struct {
	status int
	wait   time.Duration // how long the server asks to wait; 0 if it does not ask
	words  string        // why, if the server puts us off
	silent error         // the server did not answer in time
}

// putsOff reports whether an answer means "not now". A 503 without Retry-After is a
// failure like any other.
func (a answer) putsOff() bool {
	return a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable && a.wait > 0
}

// exchange watches a call.
type exchange struct {
	mu   sync.Mutex
	last answer
	stop func() // ends the call: acmez would ask twice more at once
}

type exchangeKey struct{}

// withExchange returns the exchange that the caller watches already, emptied, or a new one.
// An answer that puts us off calls stop, if there is one.
func withExchange(ctx context.Context, stop func()) (context.Context, *exchange) {
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		x = new(exchange)
		ctx = context.WithValue(ctx, exchangeKey{}, x)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.last, x.stop = answer{}, stop
	return ctx, x
}

// answer returns the last answer.
func (x *exchange) answer() answer {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.last
}

// set keeps an answer, and ends the call if the answer puts us off or did not arrive in time.
func (x *exchange) set(a answer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.last = a
	if x.stop != nil && (a.silent != nil || a.putsOff()) {
		x.stop()
	}
}

// Busy reports whether the last answer to a request of Poll said "not now".
func Busy(ctx context.Context) bool {
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	if !ok {
		return false
	}
	status := x.answer().status
	return status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
}

// answerOf reads what a caller wants to know from an answer, and the words of one that puts
// us off.
func answerOf(resp *http.Response) answer {
	a := answer{status: resp.StatusCode, wait: retryAfter(resp.Header, time.Now())}
	if a.putsOff() {
		body, _ := io.ReadAll(resp.Body) // as much of it as arrives
		resp.Body.Close()
		resp.Body = io.NopCloser(bytes.NewReader(body))
		a.words = wordsOf(resp, body)
	}
	return a
}

// silentError means that a server takes connections and does not answer.
type silentError struct{ error }

func (silentError) Error() string { return "no answer within " + requestTimeout.String() }

func silence(err error) error {
	var timeout net.Error
	switch {
	case !errors.As(err, &timeout) || !timeout.Timeout():
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return silentError{err}
	}
	return err
}

// retryAfter reads the header field Retry-After (RFC 9110, Section 10.2.3).
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

// transport sees each request and its answer.
type transport struct {
	base  http.RoundTripper
	agent string
	log   func(string)
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if resp := cannedWindow(req); resp != nil {
		return resp, nil
	}
	if req.Header.Get("User-Agent") == "" {
		req = req.Clone(req.Context())
		req.Header.Set("User-Agent", t.agent)
	}
	start := time.Now()
	resp, err := t.base.RoundTrip(req)
	t.tell(req, resp, err, time.Since(start))
	x, watched := req.Context().Value(exchangeKey{}).(*exchange)
	if err != nil {
		if silent := silence(err); watched && silent != nil {
			x.set(answer{silent: silent})
		}
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxBody), resp.Body}
	if watched {
		x.set(answerOf(resp))
	}
	if !followsLinks(req.Context()) {
		resp.Header.Del("Link")
	}
	return resp, nil
}

// tell logs a request without its body, which may hold tokens and keys.
func (t *transport) tell(req *http.Request, resp *http.Response, err error, took time.Duration) {
	outcome := fmt.Sprint(err)
	if err == nil {
		outcome = strconv.Itoa(resp.StatusCode)
	}
	t.log(fmt.Sprintf("%s %s: %s (%s)", req.Method, req.URL.Redacted(), outcome, took.Round(100*time.Microsecond)))
}

type downloadKey struct{}

// forDownload limits acmez to the one chain that we request. On its own it would follow each
// Link to other chains and to issuers, however many a CA names, and ask for the renewal
// window, three times with pauses of seconds if the CA fails to answer. The chain is whole
// (RFC 8555, Section 9.1), and we ask for the window when we want to know it.
func forDownload(ctx context.Context) context.Context {
	return context.WithValue(ctx, downloadKey{}, true)
}

func followsLinks(ctx context.Context) bool { return ctx.Value(downloadKey{}) == nil }

// cannedWindow answers a request for the renewal window with one that acmez accepts. With
// forDownload, that is its only GET.
func cannedWindow(req *http.Request) *http.Response {
	if followsLinks(req.Context()) || req.Method != http.MethodGet {
		return nil
	}
	body := `{"suggestedWindow":{"start":"2000-01-01T00:00:00Z","end":"2000-01-02T00:00:00Z"}}`
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   io.NopCloser(bytes.NewReader([]byte(body))), Request: req,
	}
}
