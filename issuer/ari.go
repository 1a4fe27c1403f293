package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// window is when the CA wants a certificate to be renewed (RFC 9773, Section
// 4.2), as it said when it was last asked.
type window struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	At    time.Time `json:"at"`                    // a random moment in it: ours
	Until time.Time `json:"until"`                 // not to be asked again before
	Why   string    `json:"explanation,omitempty"` // a URL
}

// Bounds of Retry-After at renewalInfo, and what holds without one (RFC 9773,
// Section 4.3.2, recommends limits of one minute and one day).
const (
	minWindowAge = time.Minute
	maxWindowAge = 24 * time.Hour
	windowAge    = 6 * time.Hour
)

// askWindow asks the CA for the window, once: if it does not answer, the
// certificate's lifetime decides.
func (c *ca) askWindow(ctx context.Context, certID string) (*window, error) {
	dir, err := c.directory(ctx)
	if err != nil {
		return nil, err
	}
	if dir.RenewalInfo == "" || certID == "" {
		return nil, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, dir.RenewalInfo+"/"+certID, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("renewal information: HTTP %d", resp.StatusCode)
	}
	return parseWindow(body, retryAfter(resp.Header, c.issuer.now()), c.issuer.now())
}

// parseWindow reads a RenewalInfo object and chooses a moment in the window.
func parseWindow(body []byte, again time.Duration, now time.Time) (*window, error) {
	var info struct {
		SuggestedWindow struct{ Start, End time.Time }
		ExplanationURL  string
	}
	if err := json.Unmarshal(body, &info); err != nil {
		return nil, fmt.Errorf("renewal information: %w", err)
	}
	start, end := info.SuggestedWindow.Start.UTC(), info.SuggestedWindow.End.UTC()
	if start.IsZero() || !end.After(start) {
		return nil, errors.New("renewal information: the window is empty")
	}
	if again == 0 {
		again = windowAge
	}
	again = min(max(again, minWindowAge), maxWindowAge)
	at := start.Add(rand.N(end.Sub(start)))
	return &window{start, end, at.Truncate(time.Second), now.UTC().Add(again).Truncate(time.Second), info.ExplanationURL}, nil
}

// same tells whether the CA has not changed its mind, so that the moment chosen
// before stays.
func (w *window) same(other *window) bool {
	return w != nil && other != nil && w.Start.Equal(other.Start) && w.End.Equal(other.End)
}

// firstWindow asks right after issuance: a CA with short lives may want renewal
// before we would think of asking.
func (c *ca) firstWindow(ctx context.Context, f *renewalFile) *window {
	w, err := c.askWindow(ctx, f.CertID)
	if err != nil {
		c.issuer.step(StepHTTP, "", "", err.Error())
		return nil
	}
	return w
}
