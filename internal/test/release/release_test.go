package release

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"postseal/internal/test/mta"
)

// cold makes the second build compile everything anew, and both compress as well as
// for real. It takes minutes; `make reproducible` asks for it.
var cold = flag.Bool("cold", false, "compile everything anew for the second build")

// programs are those that people start.
var programs = []string{"postseal", "postseal-demo", "postseal-milter", "postseal-pipe"}

// The versions of releases made for tests.
const (
	testVersion = "1.2.3"
	nextVersion = "1.2.4"
)

// built is what was made from a copy of the source by the command that the Makefile runs.
type built struct {
	out          string // the directory with all of it
	deb, archive string
	images       [2]string // of the half that orders, and of the one that answers
}

var (
	first = sync.OnceValues(func() (built, error) { return makeRelease(testVersion, "first", "umask 022", "TZ=UTC") })

	tempDir string // of this process, "" before it is needed
	temp    = sync.OnceValues(func() (_ string, err error) {
		tempDir, err = os.MkdirTemp("", "postseal-release-test-")
		return tempDir, err
	})
)

func TestMain(m *testing.M) {
	code := m.Run()
	if tempDir != "" {
		os.RemoveAll(tempDir)
	}
	os.Exit(code)
}

// firstRelease is made once for all tests.
func firstRelease(t *testing.T) built {
	t.Helper()
	mta.NotShort(t)
	b, err := first()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// makeRelease copies the source to a directory of that name, and makes a release of
// it under other conditions.
func makeRelease(version, name, before string, env ...string) (built, error) {
	dir, err := temp()
	if err != nil {
		return built{}, err
	}
	source := filepath.Join(dir, name)
	if err := os.MkdirAll(source, 0o755); err != nil {
		return built{}, err
	}
	script := before + `
		git ls-files -z --cached --others --exclude-standard | tar -c --null --ignore-failed-read -T - 2>/dev/null | tar -x -C "$0"
		cd "$0"
		`
	if !*cold { // compressing well is most of the work
		script += "sed -i 's/compression: xz/compression: gzip/' contrib/debian/nfpm.yaml\n"
	}
	cmd := exec.Command("bash", "-ec", script+"exec .ci/release deb archive images", source)
	cmd.Dir = "../../.."
	cmd.Env = append(append(os.Environ(), "VERSION="+version, "SOURCE_DATE_EPOCH=1700000000", "ARCHS="+runtime.GOARCH), env...)
	b := built{out: filepath.Join(source, "dist")}
	if out, err := cmd.CombinedOutput(); err != nil {
		return b, fmt.Errorf("%w\n%s", err, out)
	}
	b.deb = filepath.Join(b.out, fmt.Sprintf("postseal_%s_%s.deb", version, runtime.GOARCH))
	b.archive = filepath.Join(b.out, fmt.Sprintf("postseal_%s_linux_%s.tar.gz", version, runtime.GOARCH))
	for n, half := range imageNames {
		b.images[n] = filepath.Join(b.out, half+"_"+version+"_image.tar")
	}
	return b, nil
}

// tool runs a program that must work and returns what it printed.
func tool(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", program, args, err, out)
	}
	return string(out)
}

// The same source gives the same bytes: in another directory, for another umask and
// time zone, with other flags in the environment of Go.
func TestReproducible(t *testing.T) {
	one := firstRelease(t)
	env := []string{"TZ=Asia/Tokyo", "LC_ALL=C", "GOFLAGS=-buildvcs=false", "CGO_ENABLED=1", "GOAMD64=v2", "HOME=" + os.Getenv("HOME")}
	if *cold {
		env = append(env, "GOCACHE="+t.TempDir())
	}
	two, err := makeRelease(testVersion, "a second/place", "umask 077", env...)
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]string{
		{one.deb, two.deb}, {one.archive, two.archive}, {one.images[0], two.images[0]}, {one.images[1], two.images[1]},
	} {
		a, err := os.ReadFile(pair[0])
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(pair[1])
		if err != nil {
			t.Fatal(err)
		}
		if string(a) != string(b) {
			t.Errorf("%s and %s are not the same, %d and %d bytes", pair[0], pair[1], len(a), len(b))
		}
	}
}

func TestLintian(t *testing.T) {
	out, err := exec.Command("lintian", "--allow-root", "--display-info", "--pedantic", "--fail-on", "error,warning,info,pedantic",
		firstRelease(t).deb).CombinedOutput()
	if err != nil {
		t.Errorf("lintian: %v; put it right, or add a line with a reason to contrib/debian/lintian-overrides\n%s", err, out)
	}
}

// The checksums are those of the files, in the form that sha256sum reads.
func TestSums(t *testing.T) {
	b := firstRelease(t)
	out := tool(t, "sh", "-c", `cd "$0" && sha256sum --strict -c SHA256SUMS`, b.out)
	for _, name := range append(b.images[:], b.deb, b.archive) {
		if !strings.Contains(out, filepath.Base(name)+": OK") {
			t.Errorf("%s is not in SHA256SUMS:\n%s", name, out)
		}
	}
}

// Every program of cmd/ is in the package and in the archive.
func TestPrograms(t *testing.T) {
	b := firstRelease(t)
	deb, archive := tool(t, "dpkg-deb", "-c", b.deb), tool(t, "tar", "-tzf", b.archive)
	all, err := os.ReadDir("../../../cmd")
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range all {
		place := "./usr/bin/"
		if program.Name() == "postseal-check" { // only "postseal check" starts it
			place = "./usr/libexec/postseal/"
		}
		if !strings.Contains(deb, " "+place+program.Name()+"\n") || !strings.Contains(archive, "/bin/"+program.Name()+"\n") {
			t.Errorf("%s is missing:\n%s\n%s", program.Name(), deb, archive)
		}
	}
}

// The archive has what its readers look for, as files that root can unpack anywhere,
// and its programs run.
func TestArchive(t *testing.T) {
	b := firstRelease(t)
	dir := t.TempDir()
	tool(t, "tar", "-xzf", b.archive, "-C", dir, "--strip-components=1")
	for _, name := range []string{
		"README.md", "RELEASE_NOTES.md", "SECURITY.md", "LICENSE", "LICENSES-of-modules", "sbom.cdx.json", "man/man1/postseal.1",
		"man/man5/postseal.toml.5", "man/man8/postseal-milter.8", "contrib/postfix-milter/main.cf", "completion/_postseal",
	} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s is missing or empty: %v", name, err)
		}
	}
	for _, program := range programs {
		if got := strings.TrimSpace(tool(t, filepath.Join(dir, "bin", program), "--version")); got != testVersion {
			t.Errorf("%s --version says %q", program, got)
		}
	}
	for line := range strings.Lines(tool(t, "tar", "-tvzf", b.archive)) {
		f := strings.Fields(line)
		if mode := f[0]; f[1] != "root/root" || (mode != "drwxr-xr-x" && mode != "-rwxr-xr-x" && mode != "-rw-r--r--") {
			t.Errorf("in the archive: %s", line)
		}
	}
}
