package mta

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// built is what this test process has compiled.
var built struct {
	sync.Mutex
	dir      string
	programs map[string]bool
	release  func() // never called
}

// Build compiles programs of cmd/ and returns the directory they are in, which
// every user can reach. Each is compiled once in a test process, with the race
// detector if the test has it. The directory goes when the process ends.
func Build(t testing.TB, programs ...string) (dir string) {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if err := build(programs); err != nil {
		t.Fatal(err)
	}
	return built.dir
}

func build(programs []string) error {
	if err := makeBuildDir(); err != nil {
		return err
	}
	// Tests run in the directory of their package; git may distrust the tree of
	// another user, which would end the build, so no version is stamped.
	args := []string{"build", "-buildvcs=false", "-o", built.dir + "/"}
	if raceEnabled {
		args = append(args, "-race")
	}
	missing := 0
	for _, program := range programs {
		if !built.programs[program] {
			args = append(args, "postseal/cmd/"+program)
			missing++
		}
	}
	if missing == 0 {
		return nil
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build %v: %w\n%s", programs, err, out)
	}
	for _, program := range programs {
		built.programs[program] = true
	}
	return nil
}

// makeBuildDir makes the directory once. Only the guard removes it: no test
// knows whether it is the last one.
func makeBuildDir() error {
	if built.dir != "" {
		return nil
	}
	dir, err := tempDir("postseal-build-")
	if err != nil {
		return err
	}
	// Kept, or the garbage collector closes the guard's pipe and the guard thinks
	// that we are gone.
	if built.release, err = startGuard(`rm -rf "$1"`, dir); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	built.dir, built.programs = dir, map[string]bool{}
	return nil
}

// Root returns the top directory of the module's source.
func Root(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(string(bytes.TrimSpace(out)))
}
