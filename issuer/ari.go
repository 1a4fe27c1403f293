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

	"postseal/internal/printable"
	"postseal/issuer/store"
)

// Bounds of Retry-After at renewalInfo, and what holds without one (RFC 9773,
// Section 4.3.2, recommends limits of one minute and one day). A CA without windows, or
// one that fails to give one, is asked again too.
const (
	minWindowAge = time.Minute
	windowAge    = 6 * time.Hour
	noWindowAge  = time.Hour
)

// askAfter returns when to ask again. Certificates of one batch were ordered in the same
// minute: what is added at random keeps them from being asked for in the same minute
// ever after.
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

// askWindow asks the CA for the window, once, and returns when to ask again: if it does
// not answer, the certificate's lifetime decides. Any error but a
// refusedWindow means that there is no use in asking this CA for the next certificate.
func (c *ca) askWindow(ctx context.Context, certID string) (w *store.Window, again time.Time, err error) {
	dir, err := c.directory(ctx)
	if err != nil {
		return nil, again, err
	}
	if dir.RenewalInfo == "" || certID == "" {
		return nil, askAfter(c.issuer.now(), store.MaxAskAfter), nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, dir.RenewalInfo+"/"+certID, nil)
	if err != nil {
		return nil, again, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, again, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, again, err
	}
	now, wait := c.issuer.now(), retryAfter(resp.Header, c.issuer.now())
	if putsOff(resp.StatusCode, wait) {
		return nil, again, errors.New("renewal information: " + wordsOf(resp, body))
	}
	if resp.StatusCode != http.StatusOK {
		return nil, askAfter(now, max(wait, noWindowAge)), refusedWindow{wordsOf(resp, body)}
	}
	if w, err = parseWindow(body); err != nil {
		return nil, askAfter(now, noWindowAge), refusedWindow{err.Error()}
	}
	return w, askAfter(now, wait), nil
}

// refusedWindow is the answer of a CA that has no window for one certificate.
type refusedWindow struct{ says string }

func (e refusedWindow) Error() string { return "renewal information: " + e.says }

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
	at := start.Add(rand.N(end.Sub(start)))
	return &store.Window{Start: start, End: end, At: at.Truncate(time.Second), Why: printable.Line(info.ExplanationURL, maxWord)}, nil
}

// explainWindow says why the CA wants a certificate renewed when it does, if it gives a
// reason: a page for people (RFC 9773, Section 4.2).
func (i *Issuer) explainWindow(w *store.Window, name string, emails []string) {
	if w.Why != "" {
		i.step(StepNote, name, "", fmt.Sprintf("the CA wants %s renewed from %s on; it explains why at %s",
			list(emails), w.Start.Local().Format("2006-01-02 15:04"), w.Why))
	}
}

// firstWindow asks right after issuance: a CA with short lives may want renewal
// before we would think of asking.
func (c *ca) firstWindow(ctx context.Context, name string, f *store.Renewal) {
	w, again, err := c.askWindow(ctx, f.CertID)
	if err != nil {
		c.issuer.step(StepHTTP, "", "", err.Error())
	}
	f.Window, f.AskAfter = w, again
	if w != nil {
		c.issuer.explainWindow(w, name, f.Emails)
	}
}
