package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"postseal-milter": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", Cmds: commands})
}

// The configuration file may contain each flag.
func TestFlagsInFile(t *testing.T) {
	unknown, err := new(flags).program().UnknownFlags()
	if err != nil || len(unknown) > 0 {
		t.Errorf("no keys of the file: %v, %v", unknown, err)
	}
}
