package release

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postseal/internal/test/mta"
)

// clone returns a directory with nothing but the script, and a function that runs shell
// there: git, and $release for the script.
func clone(t *testing.T) func(script string) (string, error) {
	t.Helper()
	mta.NotShort(t)
	dir := t.TempDir()
	text, err := os.ReadFile("../../../.ci/release")
	if err != nil {
		t.Fatal(err)
	}
	release := filepath.Join(dir, ".ci", "release")
	if err := os.Mkdir(filepath.Dir(release), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(release, text, 0o755); err != nil {
		t.Fatal(err)
	}
	return func(script string) (string, error) {
		cmd := exec.Command("bash", "-ec", script)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "release="+release, "VERSION=", "SOURCE_DATE_EPOCH=", "GIT_CONFIG_GLOBAL=/dev/null",
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org")
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
}

// Versions come in the order that dpkg upgrades in.
func TestVersionOrder(t *testing.T) {
	run := clone(t)
	last := ""
	for _, step := range []string{
		"git init -q && echo one >file && git add file && GIT_COMMITTER_DATE=2026-11-22T17:57:30Z git commit -qm one",
		"echo two >file",
		"GIT_COMMITTER_DATE=2026-11-22T18:57:31+01:00 git commit -qam two",
		"git tag v0.9.0",
		"git tag -d v0.9.0 && git tag v1.0.0-rc.1",
		"GIT_COMMITTER_DATE=2026-11-22T17:57:32Z git commit --allow-empty -qm three",
		"git tag v1.0.0-rc.2",
		"git tag -d v1.0.0-rc.2 && git tag -a -m release v1.0.0",
		"GIT_COMMITTER_DATE=2026-11-22T17:57:33Z git commit --allow-empty -qm four",
		"GIT_COMMITTER_DATE=2026-11-22T17:57:34Z git commit --allow-empty -qm five",
		"git tag v1.0.1",
		"git tag -d v1.0.1 && git tag v1.10.0",
	} {
		v, err := run("{ " + step + "; } >/dev/null; $release version")
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		if last != "" && exec.Command("dpkg", "--compare-versions", last, "lt", v).Run() != nil {
			t.Errorf("%s: %q is not before %q", step, last, v)
		}
		last = v
	}
	if last != "1.10.0" {
		t.Errorf("version %q, want that of the tag", last)
	}
}

// Without Git somebody has to say which version it is.
func TestVersionWithoutGit(t *testing.T) {
	run := clone(t)
	for _, given := range []string{"", "VERSION=1.2.3", "SOURCE_DATE_EPOCH=1700000000"} {
		if v, err := run(given + " $release version"); err == nil {
			t.Errorf("version %q with %q", v, given)
		}
	}
	v, err := run("VERSION=v1.2.3 SOURCE_DATE_EPOCH=1700000000 $release version")
	if err != nil || v != "1.2.3" {
		t.Errorf("version %q, %v", v, err)
	}
	for _, wrong := range []string{"one", "1.2-3", "1 2", "1.2/3"} {
		if v, err := run("VERSION='" + wrong + "' SOURCE_DATE_EPOCH=1700000000 $release version"); err == nil {
			t.Errorf("VERSION=%q is taken as %q", wrong, v)
		}
	}
}
