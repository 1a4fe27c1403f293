package mta

import (
	"testing"
	"time"
)

const (
	patience = 30 * time.Second     // with the race detector on two busy cores
	pollStep = 5 * time.Millisecond // what is waited for takes 10 to 300 ms
)

// WaitFor returns as soon as done says true. It ends the test, saying what it
// waited for, if that takes more than half a minute.
func WaitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	if !poll(patience, done) {
		t.Fatalf("waited %v for %s", patience, what)
	}
}

// poll asks done until it says true or the time is over. The log and the
// mailboxes of a mail server are files, so there is nothing better than looking.
func poll(limit time.Duration, done func() bool) bool {
	step := time.NewTicker(pollStep)
	defer step.Stop()
	for end := time.Now().Add(limit); !done(); <-step.C {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}
