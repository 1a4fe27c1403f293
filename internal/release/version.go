package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// identify finds out which source this is: its top, version and time.
func (r *release) identify() error {
	mod, err := output(".", "go", "env", "GOMOD")
	if err != nil {
		return err
	}
	r.Root = filepath.Dir(mod)
	if !filepath.IsAbs(r.Out) {
		r.Out = filepath.Join(r.Root, r.Out)
	}
	if r.Version, err = version(r.Root); err != nil {
		return err
	}
	r.Epoch, err = epoch(r.Root)
	return err
}

var errNoGit = errors.New("this is no Git clone, so the version and the time must be told: VERSION=1.2.3 SOURCE_DATE_EPOCH=$(stat -c %Y go.mod)")

// valid is what Debian takes for a version, without an epoch and a revision.
var valid = regexp.MustCompile(`^[0-9][A-Za-z0-9.+~]*$`)

// version returns VERSION, or what Git says of the commit:
//
//	v1.2.3             1.2.3
//	v1.3.0-rc.1        1.3.0~rc.1, which is before 1.3.0
//	later than v1.2.3  1.2.3+git20261122175730.0123456789ab, by time before the next tag
//	no tag at all      0~git20261122175730.0123456789ab, before all tags
//
// "+dirty" stands behind where the source is not the commit's.
func version(root string) (string, error) {
	v := strings.TrimPrefix(os.Getenv("VERSION"), "v")
	if v == "" {
		commit, err := output(root, "git", "log", "-1", "--abbrev=12", "--date=format-local:%Y%m%d%H%M%S", "--format=git%cd.%h")
		if err != nil {
			return "", errNoGit
		}
		tag, _ := output(root, "git", "describe", "--tags", "--abbrev=0", "--match=v[0-9]*")
		exact, _ := output(root, "git", "describe", "--tags", "--exact-match", "--match=v[0-9]*")
		changed, err := output(root, "git", "status", "--porcelain", "--untracked-files=no")
		if err != nil {
			return "", err
		}
		v = fromGit(commit, tag, tag != "" && tag == exact, changed != "")
	}
	if !valid.MatchString(v) {
		return "", fmt.Errorf("%q is not a version: digits, letters, dots, + and ~, a digit first", v)
	}
	return v, nil
}

// fromGit makes a version of the commit, the last tag before it ("" for none), and
// whether that is the commit's own.
func fromGit(commit, tag string, exact, dirty bool) string {
	v := strings.Replace(strings.TrimPrefix(tag, "v"), "-", "~", 1)
	switch {
	case tag == "":
		v = "0~" + commit
	case !exact:
		v += "+" + commit
	}
	if dirty {
		v += "+dirty"
	}
	return v
}

// epoch returns SOURCE_DATE_EPOCH, or the time of the commit.
func epoch(root string) (int64, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		var err error
		if text, err = output(root, "git", "log", "-1", "--format=%ct"); err != nil {
			return 0, errNoGit
		}
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("SOURCE_DATE_EPOCH=%q is not a number of seconds", text)
	}
	return seconds, nil
}

// time is the time of every file.
func (r release) time() time.Time { return time.Unix(r.Epoch, 0).UTC() }

// output runs a program in a directory and returns what it prints, without the
// newline at its end. Times are in UTC.
func output(dir, program string, args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	return result(cmd)
}

// result runs cmd and returns what it prints; what it complains of is in the error.
func result(cmd *exec.Cmd) (string, error) {
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, complaints.String())
	}
	return strings.TrimRight(string(out), "\n"), nil
}
