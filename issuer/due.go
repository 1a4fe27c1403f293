package issuer

import (
	"time"
)

// due reports whether a certificate should be renewed, by what is on disk alone.
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

// askDue reports whether the CA should be asked for the window: once its Retry-After is
// over, from the first day on. An incident at the CA spares no certificate for being
// young (RFC 9773, Section 4.3). A moment to ask that lies further ahead than any is
// chosen was written by a clock that was wrong.
func (i *Issuer) askDue(r *renewalFile) bool {
	wait := r.AskAfter.Sub(i.now())
	return wait <= 0 || wait > maxWindowAge
}
