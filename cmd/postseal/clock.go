package main

import "time"

// now is the clock of the certificates. A test of weeks compiles another in place of this file.
func now() time.Time { return time.Now() }
