package issuer

import (
	"time"
)

// due tells whether a certificate should be renewed, by what is on disk alone.
func (i *Issuer) due(r *renewalFile) bool {
	return !i.now().Before(renewAt(r))
}

// renewAt is when a certificate is due: at a moment in the CA's window, else at
// the beginning of the last third of its lifetime. A window that would let it
// expire is not believed.
func renewAt(r *renewalFile) time.Time {
	third := lastThird(r)
	if r.Window == nil || !r.Window.At.Before(r.NotAfter) {
		return third
	}
	return r.Window.At
}

func lastThird(r *renewalFile) time.Time {
	return r.NotAfter.Add(-r.NotAfter.Sub(r.NotBefore) / 3)
}

// askDue tells whether the CA should be asked for the window. Not before half of
// the lifetime has gone, unless the window it gave last opens earlier: a host
// with thousands of certificates would ask for nothing but the same answers. And
// not before the Retry-After of the last answer.
func (i *Issuer) askDue(r *renewalFile) bool {
	now := i.now()
	if r.Window != nil && now.Before(r.Window.Until) {
		return false
	}
	half := r.NotBefore.Add(r.NotAfter.Sub(r.NotBefore) / 2)
	if r.Window != nil && r.Window.Start.Before(half) {
		half = r.Window.Start.Add(-24 * time.Hour)
	}
	return !now.Before(half)
}
