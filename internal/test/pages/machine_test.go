package pages

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postseal/internal/test/machine"
	"postseal/internal/test/mta"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Machines wait more than they work.
	_ = flag.Set("test.parallel", "4")
	if machine.Inside() {
		root = filepath.Join(machine.Kit, "src")
	}
	os.Exit(m.Run())
}

// programs are in the kit, and on each machine where their package puts them.
var programs = []string{"postseal", "postseal-demo", "postseal-milter", "postseal-pipe"}

// kit is what the machines take from the host: the source, the programs made of it, and
// where Go is and has its caches.
var kit = machine.Kits{Fill: func(dir string) error {
	for _, line := range []string{
		"CGO_ENABLED=0 go build -buildvcs=false -o $KIT/ ./cmd/...",
		"mkdir $KIT/src && tar -c --exclude=./.git --exclude=./bin --exclude=./dist . | tar -x -C $KIT/src",
		"sed -i 's/compression: xz/compression: gzip/' $KIT/src/contrib/debian/nfpm.yaml",               // it is quicker
		"for tool in nfpm cyclonedx-gomod; do CGO_ENABLED=0 go tool -modfile=.ci/go.mod -n $tool; done", // there is no network there
		"go env GOROOT GOCACHE GOMODCACHE >$KIT/go",
	} {
		cmd := exec.Command("sh", "-c", line)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "KIT="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", line, err, out)
		}
	}
	return nil
}}

// goDirs are where Go is, where it keeps what it has compiled, and the modules.
func goDirs(t *testing.T, kit string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(kit, "go"))
	must(t, err)
	return strings.Fields(string(text))
}

// onMachine runs the test on a machine with an image, where systemd runs, and calls
// f there.
func onMachine(t *testing.T, image string, f func()) {
	t.Helper()
	if machine.Inside() {
		f()
		return
	}
	mta.NotShort(t)
	t.Parallel()
	dir, err := kit.Path()
	if err != nil {
		t.Fatal(err)
	}
	spec := machine.Spec{Image: image, Host: "mail." + domain, Kit: dir, Boot: true,
		Shared: goDirs(t, dir), Limit: lifetime}
	if _, err := machine.Run(t, spec); err != nil {
		t.Error(err)
	}
}
