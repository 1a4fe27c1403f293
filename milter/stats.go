package milter

import "sync/atomic"

// Stats counts what a server has done since it started.
type Stats struct {
	Connections       atomic.Int64  // open now
	Messages          atomic.Uint64 // MAIL commands
	AcceptedAtMail    atomic.Uint64 // nothing was pending
	AcceptedAtHeader  atomic.Uint64 // no Subject of a challenge
	Decided           atomic.Uint64 // handed to Config.Answer
	PendingErrors     atomic.Uint64 // Config.Pending failed
	RefusedOverCap    atomic.Uint64 // connections over MaxConnections
	BrokenConnections atomic.Uint64 // ended by an error or a deadline
	AcceptErrors      atomic.Uint64 // such as no free file descriptors
	OutOfMemory       atomic.Uint64 // challenges put off because MaxHeld was reached
}
