package main

import (
	"testing"

	"postseal/internal/cli"
	"postseal/internal/test/manual"
)

// The page says what the program does, and no more.
func TestManual(t *testing.T) {
	model, err := new(flags).program().Model()
	if err != nil {
		t.Fatal(err)
	}
	manual.Check(t, "postseal-milter.8", manual.Program{
		Model: model, Others: cli.Keys, Exits: []string{"0", "1", "64", "78"},
	})
	manual.Diagnostics(t, "postseal-milter.8", "../..")
}

// The --help of each command ends with an example of that command.
func TestExamples(t *testing.T) {
	bad, err := new(flags).program().BadExamples()
	if err != nil || len(bad) > 0 {
		t.Errorf("%q, %v", bad, err)
	}
}
