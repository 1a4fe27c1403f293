//go:build race

package mta

const raceEnabled = true
