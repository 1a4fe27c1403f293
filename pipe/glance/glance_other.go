//go:build !linux

package glance

// Read is what was read of stdin: nothing, where this package does nothing.
var Read []byte
