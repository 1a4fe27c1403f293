//go:build doors

package recipes

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"postseal/internal/test/machine"
)

func TestMain(m *testing.M) {
	code := m.Run()
	matrix.print(os.Stdout)
	os.Exit(code)
}

// onMachine runs f on a machine with an image. The test that calls it runs twice:
// here, where it starts the machine, and there, where it calls f.
func onMachine(t *testing.T, image string, f func(*site)) {
	if machine.Inside() {
		f(newSite(t))
		return
	}
	t.Parallel()
	dir, err := outside.Path()
	if err != nil {
		t.Fatal(err)
	}
	report, err := machine.Run(t, machine.Spec{Image: image, Kit: dir})
	matrix.add(readCells(filepath.Join(report, cellsFile), t.Name()))
	if err != nil {
		t.Fatal(err)
	}
}

// programs are in the kit, and on each machine where their packages put them.
var programs = []string{"postseal", "postseal-pipe", "postseal-milter"}

// outside is what the machines take from the host: our programs and contrib.
var outside = machine.Kits{Fill: func(dir string) error {
	args := []string{"build", "-buildvcs=false", "-o", dir + "/"}
	for _, program := range programs {
		args = append(args, "postseal/cmd/"+program)
	}
	build := exec.Command("go", args...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	for _, cmd := range []*exec.Cmd{build, exec.Command("cp", "-r", "../../../contrib", dir+"/contrib")} {
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
		}
	}
	return nil
}}

func copyFile(from, to string, mode os.FileMode) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, data, mode); err != nil {
		return err
	}
	return os.Chmod(to, mode)
}

// cellsFile is where a machine reports its cells.
const cellsFile = "cells"

// readCells reads what a machine wrote. A machine that ended early wrote less.
func readCells(name, test string) []cell {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	return decodeCells(f, test)
}

func decodeCells(r io.Reader, test string) (cells []cell) {
	for d := json.NewDecoder(r); ; {
		var c cell
		if d.Decode(&c) != nil {
			return cells
		}
		c.Test = test
		cells = append(cells, c)
	}
}
