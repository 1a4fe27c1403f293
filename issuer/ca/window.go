package ca

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"postseal/internal/printable"
	"postseal/issuer/store"
)

// Bounds of Retry-After at renewalInfo, and the default (RFC 9773, Section 4.3.2, recommends
// limits of one minute and one day). We also ask a CA again that has no window, or fails to
// return one.
const (
	minWindowAge = time.Minute
	windowAge    = 6 * time.Hour
	noWindowAge  = time.Hour
)

// askAfter returns when to ask again. Certificates of one batch were ordered in the same
// minute: a random addition keeps us from asking for all of them in the same minute ever
// after.
func askAfter(now time.Time, again time.Duration) time.Time {
	if again == 0 {
		again = windowAge
	}
	again = min(max(again, minWindowAge), store.MaxAskAfter)
	if again >= time.Hour {
		again = min(again+rand.N(again/10), store.MaxAskAfter)
	}
	return now.UTC().Add(again).Truncate(time.Second)
}

// AskWindow asks the CA for the window, once, and returns when to ask again: if the CA does
// not answer, the certificate's lifetime decides. Any error but a RefusedWindow means that it
// is useless to ask this CA about the next certificate.
func (c *CA) AskWindow(ctx context.Context, certID string) (w *store.Window, again time.Time, err error) {
	dir, err := c.Directory(ctx)
	if err != nil {
		return nil, again, err
	}
	if dir.RenewalInfo == "" || certID == "" {
		return nil, askAfter(c.now(), store.MaxAskAfter), nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, dir.RenewalInfo+"/"+certID, nil)
	if err != nil {
		return nil, again, err
	}
	resp, err := c.client.HTTPClient.Do(req)
	if err != nil {
		return nil, again, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, again, err
	}
	now := c.now()
	wait := retryAfter(resp.Header, now)
	if (answer{status: resp.StatusCode, wait: wait}).putsOff() {
		return nil, again, errors.New("renewal information: " + wordsOf(resp, body))
	}
	if resp.StatusCode != http.StatusOK {
		return nil, askAfter(now, max(wait, noWindowAge)), RefusedWindow{wordsOf(resp, body)}
	}
	if w, err = parseWindow(body); err != nil {
		return nil, askAfter(now, noWindowAge), RefusedWindow{err.Error()}
	}
	return w, askAfter(now, wait), nil
}

// RefusedWindow means that a CA has no window for one certificate.
type RefusedWindow struct{ says string }

func (e RefusedWindow) Error() string { return "renewal information: " + e.says }

// parseWindow reads a RenewalInfo object and chooses a moment in the window.
func parseWindow(body []byte) (*store.Window, error) {
	var info struct {
		SuggestedWindow struct{ Start, End time.Time }
		ExplanationURL  string
	}
	if err := json.Unmarshal(body, &info); err != nil {
		return nil, err
	}
	start, end := info.SuggestedWindow.Start.UTC(), info.SuggestedWindow.End.UTC()
	if start.IsZero() || !end.After(start) {
		return nil, errors.New("the window is empty")
	}
	if start.Year() < 1 || end.Year() > store.LastYear {
		return nil, errors.New("the window is outside of the calendar")
	}
	at := start.Add(rand.N(end.Sub(start)))
	return &store.Window{Start: start, End: end, At: at.Truncate(time.Second), Why: printable.Line(info.ExplanationURL, MaxWord)}, nil
}
