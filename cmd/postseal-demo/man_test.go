package main

import (
	"testing"

	"postseal/internal/cli"
	"postseal/internal/manual"
)

// The page says what the program does, and no more.
func TestManual(t *testing.T) {
	model, err := new(flags).program().Model()
	if err != nil {
		t.Fatal(err)
	}
	manual.Check(t, "postseal-demo.1", manual.Program{
		Model: model, Others: cli.Keys, Exits: []string{"0", "1", "64"},
	})
	manual.Diagnostics(t, "postseal-demo.1", "../..")
}
