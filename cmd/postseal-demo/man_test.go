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
	manual.Check(t, "postseal-demo.1", manual.Program{
		Model: model, Others: cli.Keys, Exits: []string{"0", "1", "64"},
	})
	manual.Diagnostics(t, "postseal-demo.1", "../..")
	manual.Examples(t, "postseal-demo.1", "postseal-demo", func(args []string) error { return new(flags).program().Try(args) })
}

// The --help of each command ends with an example of that command.
func TestExamples(t *testing.T) {
	bad, err := new(flags).program().BadExamples()
	if err != nil || len(bad) > 0 {
		t.Errorf("%q, %v", bad, err)
	}
}
