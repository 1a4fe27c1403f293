package testca

import (
	"crypto/x509"
	"net/http"
	"time"
)

// defaultARIPoll is how often clients are told to ask.
const defaultARIPoll = 6 * time.Hour

// ariID names a certificate as RFC 9773, Section 4.1, does: authority key
// identifier and serial number, the latter with the leading zero of DER.
func ariID(c *x509.Certificate) string {
	serial := c.SerialNumber.Bytes()
	if len(serial) > 0 && serial[0] >= 0x80 {
		serial = append([]byte{0}, serial...)
	}
	return encode64(c.AuthorityKeyId) + "." + encode64(serial)
}

type window struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

// renewalInfo is RFC 9773, Section 4.2.
func (ca *CA) renewalInfo(r *http.Request) (*answer, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	c := ca.byARI[r.PathValue("id")]
	if c == nil {
		return nil, notFound("certificate")
	}
	return ok(map[string]window{"suggestedWindow": ca.renewalWindow(c)}).
		with("Retry-After", retryAfter(ca.cfg.ARIPoll)), nil
}

// renewalWindow is the first half of a certificate's last third; it lies in
// the past when the certificate should go at once.
func (ca *CA) renewalWindow(c *issued) window {
	life := c.cert.NotAfter.Sub(c.cert.NotBefore)
	w := window{Start: c.cert.NotAfter.Add(-life / 3), End: c.cert.NotAfter.Add(-life / 6)}
	if c.revoked || c.recalled || ca.cfg.ARIDue {
		now := ca.cfg.Now().UTC().Truncate(time.Second)
		w = window{Start: now.Add(-2 * time.Hour), End: now.Add(-time.Hour)}
	}
	return w
}

// markReplaced enters an order as the successor of the certificate it names
// in replaces (RFC 9773, Section 5). CA.mu is held.
func (ca *CA) markReplaced(o *order) error {
	if o.replaces == "" || ca.cfg.NoARI {
		return nil
	}
	old := ca.byARI[o.replaces]
	if old == nil || old.account != o.account {
		return malformed("replaces names no certificate of this account")
	}
	if !shareIdentifier(old.identifiers, o.identifiers) {
		return malformed("the order shares no identifier with the certificate it replaces")
	}
	by := old.replacedBy
	if ca.cfg.AlwaysReplaced || by != nil && by.status() != statusInvalid {
		return problemf(http.StatusConflict, "alreadyReplaced", "another order replaces the certificate %s", serialOf(old.cert))
	}
	old.replacedBy = o
	return nil
}

// Recall wants all certificates renewed at once that were issued before, as after a mistake of
// the CA's.
func (ca *CA) Recall(before time.Time) (n int) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	for _, c := range ca.byARI {
		if !c.revoked && c.cert.NotBefore.Before(before) {
			c.recalled = true
			n++
		}
	}
	return n
}

func shareIdentifier(a, b []identifier) bool {
	for _, x := range a {
		for _, y := range b {
			if certificateName(x.Value) == certificateName(y.Value) {
				return true
			}
		}
	}
	return false
}
