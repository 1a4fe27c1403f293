package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"postseal/internal/test/mta"
	"postseal/state"
)

// Two real users: an owner and another.
const (
	user  = 64001
	other = 64002
)

const ownChild = "POSTSEAL_OWN_TEST"

// asUser returns the results of UserConfig and DefaultMailState for a user with an
// environment.
func asUser(t *testing.T, env ...string) (config, state string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestOwn$")
	cmd.Env = append([]string{ownChild + "=1"}, env...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	said := strings.Split(string(out), "\n")
	return said[0], said[1]
}

// What the environment leads to counts only if it is the user's own, whatever somebody
// else has put there.
func TestOwn(t *testing.T) {
	mta.NotShort(t)
	if os.Getenv(ownChild) != "" {
		os.Stdout.WriteString(UserConfig() + "\n" + DefaultMailState() + "\n")
		os.Exit(0)
	}
	if os.Geteuid() != 0 {
		t.Fatal("only root can become other users")
	}
	top, err := os.MkdirTemp("/tmp", "own-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	mine, theirs := filepath.Join(top, "mine"), filepath.Join(top, "theirs")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Chmod(top, 0o755))
	for home, uid := range map[string]int{mine: user, theirs: other} {
		must(os.MkdirAll(home+"/.config/postseal", 0o755))
		must(os.MkdirAll(home+"/.local/state/postseal", 0o755))
		must(os.WriteFile(home+"/.config/postseal/postseal.toml", nil, 0o644))
		out, err := exec.Command("chown", "-R", fmt.Sprintf("%d:%d", uid, uid), home).CombinedOutput()
		if err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	own := func(name string, uid int) string { // a directory with the user's state in it
		dir := filepath.Join(top, name)
		must(os.MkdirAll(dir+"/postseal", 0o755))
		must(os.Chown(dir, uid, uid))
		must(os.Chown(dir+"/postseal", user, user))
		return dir
	}
	link := func(name, to string) string {
		path := filepath.Join(top, name)
		must(os.Symlink(to, path))
		return path
	}
	belowTheirs, belowRoot := own("below-theirs", other), own("below-root", 0)
	toNothing := link("nothing", "/nowhere/at/all")
	toMine := link("to-mine", mine)
	must(os.Lchown(toMine, other, other))

	const config, system = "/.config/postseal/postseal.toml", state.SystemDir
	for name, c := range map[string]struct {
		env           []string
		config, state string
	}{
		"nothing said":              {nil, "", system},
		"one's own":                 {[]string{"HOME=" + mine}, mine + config, mine + "/.local/state/postseal"},
		"somebody else's":           {[]string{"HOME=" + theirs}, "", system},
		"root's":                    {[]string{"HOME=/root"}, "", system},
		"relative":                  {[]string{"HOME=" + mine, "XDG_STATE_HOME=x", "XDG_CONFIG_HOME=x"}, mine + config, mine + "/.local/state/postseal"},
		"XDG of somebody else":      {[]string{"HOME=" + mine, "XDG_STATE_HOME=" + theirs + "/.local/state", "XDG_CONFIG_HOME=" + theirs + "/.config"}, "", system},
		"one's own below another's": {[]string{"XDG_STATE_HOME=" + belowTheirs, "HOME=/"}, "", system},
		"one's own below root's":    {[]string{"XDG_STATE_HOME=" + belowRoot, "HOME=/"}, "", belowRoot + "/postseal"},
		"a link is followed once":   {[]string{"HOME=" + toMine}, mine + config, mine + "/.local/state/postseal"},
		"a link to nothing":         {[]string{"HOME=" + toNothing, "XDG_STATE_HOME=" + toNothing}, "", system},
		"not there yet":             {[]string{"HOME=" + mine + "/new"}, mine + "/new" + config, system},
		"to be made in root's":      {[]string{"HOME=" + top + "/new"}, "", system},
	} {
		if gotConfig, gotState := asUser(t, c.env...); gotConfig != c.config || gotState != c.state {
			t.Errorf("%s (%q): %q and %q, want %q and %q", name, c.env, gotConfig, gotState, c.config, c.state)
		}
	}
}
