package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// programs are what is in every release; each is a directory of cmd/.
var programs = []string{"postseal", "postseal-demo", "postseal-milter", "postseal-pipe"}

// build compiles the programs into a directory. What decides about the bytes is set
// here and not taken from the environment; -buildvcs=false, because a clone and an
// unpacked archive shall give the same.
func (r release) build(dir string) error {
	args := []string{"build", "-trimpath", "-buildvcs=false", "-o", dir + "/",
		"-ldflags=-s -w -X postseal/internal/cli.release=" + r.Version}
	for _, program := range programs {
		args = append(args, "./cmd/"+program)
	}
	_, err := result(r.goCommand(args...))
	return err
}

// goCommand is the go command for the system that the release is for.
func (r release) goCommand(args ...string) *exec.Cmd {
	cmd := exec.Command("go", args...)
	cmd.Dir = r.Root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOEXPERIMENT=", "GOAMD64=v1", "GOARM64=v8.0",
		"GOFIPS140=off", "GODEBUG=", "GOOS="+r.OS, "GOARCH="+r.Arch)
	return cmd
}

// completion returns the script for a shell, from the program itself. What is made for
// another system does not run here, but there is a program that does.
func (r release) completion(shell string) ([]byte, error) {
	here := r
	here.OS, here.Arch = runtime.GOOS, runtime.GOARCH
	made, err := here.compiled()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "postseal-release-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "postseal")
	if err := os.WriteFile(program, made["postseal"].data, 0o700); err != nil {
		return nil, err
	}
	out, err := result(exec.Command(program, "completion", shell))
	return []byte(out + "\n"), err
}

// addPrograms puts the compiled programs into a tree, below dir.
func (r release) addPrograms(t tree, dir string) error {
	made, err := r.compiled()
	for program, f := range made {
		t[dir+"/"+program] = f
	}
	return err
}

// builds are the compiled programs by what they were compiled for: a package and an
// archive have the same.
var builds = map[release]tree{}

func (r release) compiled() (tree, error) {
	if builds[r] == nil {
		made, err := r.compile()
		if err != nil {
			return nil, err
		}
		builds[r] = made
	}
	return builds[r], nil
}

func (r release) compile() (tree, error) {
	temp, err := os.MkdirTemp("", "postseal-release-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	if err := r.build(temp); err != nil {
		return nil, err
	}
	t := tree{}
	for _, program := range programs {
		data, err := os.ReadFile(filepath.Join(temp, program))
		if err != nil {
			return nil, err
		}
		t[program] = file{data, 0o755}
	}
	return t, nil
}
