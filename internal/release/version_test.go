package main

import (
	"os/exec"
	"testing"
)

// Versions come in the order that dpkg upgrades in.
func TestVersionOrder(t *testing.T) {
	const commit, later = "git20261122175730.0123456789ab", "git20261122175731.fedcba987654"
	order := []string{
		fromGit(commit, "", false, false),
		fromGit(commit, "", false, true),
		fromGit(later, "", false, false),
		fromGit(commit, "v0.9.0", true, false),
		fromGit(commit, "v1.0.0-rc.1", true, false),
		fromGit(commit, "v1.0.0-rc.1", false, false),
		fromGit(commit, "v1.0.0-rc.2", true, false),
		fromGit(commit, "v1.0.0", true, false),
		fromGit(commit, "v1.0.0", false, false),
		fromGit(later, "v1.0.0", false, false),
		fromGit(commit, "v1.0.1", true, false),
		fromGit(commit, "v1.10.0", true, false),
	}
	for i, v := range order {
		if !valid.MatchString(v) {
			t.Errorf("%q is not a version for dpkg", v)
		}
		if i > 0 && exec.Command("dpkg", "--compare-versions", order[i-1], "lt", v).Run() != nil {
			t.Errorf("%q is not before %q", order[i-1], v)
		}
	}
}

// Without Git somebody has to say which version it is.
func TestVersionWithoutGit(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("VERSION", "")
	t.Setenv("SOURCE_DATE_EPOCH", "")
	if v, err := version(dir); err == nil {
		t.Errorf("version %q", v)
	}
	if when, err := epoch(dir); err == nil {
		t.Errorf("epoch %d", when)
	}
	t.Setenv("VERSION", "v1.2.3")
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	v, err := version(dir)
	if err != nil || v != "1.2.3" {
		t.Errorf("version %q, %v", v, err)
	}
	when, err := epoch(dir)
	if err != nil || when != 1700000000 {
		t.Errorf("epoch %d, %v", when, err)
	}
	for _, wrong := range []string{"one", "1.2-3", "1 2", "1.2/3"} {
		t.Setenv("VERSION", wrong)
		if v, err := version(dir); err == nil {
			t.Errorf("VERSION=%q is taken as %q", wrong, v)
		}
	}
}
