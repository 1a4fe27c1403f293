//go:build packages

package release

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"postseal/internal/test/machine"
)

// kit is what machines take from the host: two versions of the package.
var kit = machine.Kits{Fill: func(dir string) error {
	for _, version := range []string{testVersion, nextVersion} {
		b, err := makeRelease(version, "for-machines-"+version, "umask 022")
		if err != nil {
			return err
		}
		if err := os.Rename(b.deb, filepath.Join(dir, filepath.Base(b.deb))); err != nil {
			return err
		}
	}
	return nil
}}

// The life of the package on a machine without a running systemd, as in a chroot or
// while an image is built.
func TestPackage(t *testing.T) { onMachine(t, false) }

// The same where systemd runs what is enabled.
func TestPackageBooted(t *testing.T) { onMachine(t, true) }

func onMachine(t *testing.T, booted bool) {
	if machine.Inside() {
		a := &admin{T: t, booted: booted}
		a.life()
		return
	}
	t.Parallel()
	dir, err := kit.Path()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := machine.Run(t, machine.Spec{Image: "package", Kit: dir, Boot: booted}); err != nil {
		t.Fatal(err)
	}
}

// admin is root of a fresh Debian system.
type admin struct {
	*testing.T
	booted bool
}

// What the admin and the program have put there by the time of the upgrade.
const (
	configFile = "/etc/postseal/postseal.toml"
	ownKey     = "/etc/postseal/example.org.pem"
	dropIn     = "/etc/systemd/system/postseal-milter.socket.d/mine.conf"
	privateKey = "/var/lib/postseal/certs/alice@example.org/privkey.pem"
)

func (a *admin) life() {
	// Of the images: packages start nothing there.
	a.must(os.Remove("/usr/sbin/policy-rc.d"))
	before := a.files()
	syscall.Umask(0o077) // of a careful root

	a.sh("dpkg -i " + inKit(testVersion))
	a.Run("fresh", func(t *testing.T) { a.with(t).installed(testVersion); a.with(t).idle() })

	a.configure()
	kept := a.contents()
	pid := a.milterPID()

	a.sh("dpkg -i " + inKit(nextVersion))
	a.Run("upgraded", func(t *testing.T) {
		b := a.with(t)
		b.installed(nextVersion)
		b.wantContents(kept)
		b.wantActive("active")
		if now := b.milterPID(); b.booted && (now == pid || now == "0") {
			t.Errorf("postseal-milter is process %s, was %s: it was not restarted", now, pid)
		}
	})

	out := a.sh("dpkg -r postseal")
	a.Run("removed", func(t *testing.T) {
		b := a.with(t)
		b.wantContents(kept)
		b.wantActive("inactive")
		if _, err := os.Stat("/usr/bin/postseal"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("/usr/bin/postseal is still there: %v", err)
		}
		if !strings.Contains(out, "certificates and keys stay in /var/lib/postseal") {
			t.Errorf("nothing is said of the keys:\n%s", out)
		}
	})

	a.sh("dpkg -i " + inKit(nextVersion))
	a.Run("installed again", func(t *testing.T) {
		b := a.with(t)
		b.installed(nextVersion)
		b.wantContents(kept)
		b.connect()
		b.wantActive("active")
	})

	// Nobody is asked here, so keys stay.
	secrets := a.secrets()
	a.sh("dpkg -P postseal")
	a.Run("purged, keys kept", func(t *testing.T) {
		b := a.with(t)
		b.want("keys", b.secrets(), secrets)
		if _, err := os.Stat(configFile); err == nil {
			t.Errorf("%s is still there", configFile)
		}
		b.wantActive("inactive")
	})

	// Removed first, so that only what debconf remembers of the question is left.
	a.sh("dpkg -i " + inKit(nextVersion))
	a.Run("installed after that", func(t *testing.T) {
		a.with(t).installed(nextVersion)
		a.with(t).want("keys", a.secrets(), secrets)
	})
	a.sh("echo postseal postseal/purge-keys boolean true | debconf-set-selections && dpkg -r postseal && dpkg -P postseal")
	a.Run("purged with keys", func(t *testing.T) { a.with(t).purged(before) })

	// Where nothing is lost, nothing is asked.
	a.sh("dpkg -i " + inKit(nextVersion) + " && dpkg -P postseal")
	a.Run("purged without keys", func(t *testing.T) { a.with(t).purged(before) })
}

// secrets are the modes, owners and contents of all that the issuing half has.
func (a *admin) secrets() string {
	a.Helper()
	return a.sh("cd /var/lib/postseal && find accounts certs orders -printf '%p %m %u:%g\\n' | sort; sha256sum " + privateKey)
}

// with is the same admin for a part of the test.
func (a *admin) with(t *testing.T) *admin { return &admin{t, a.booted} }

func (a *admin) must(err error) {
	a.Helper()
	if err != nil {
		a.Fatal(err)
	}
}

// sh runs a line of shell, which must work, and returns what it said.
func (a *admin) sh(line string) string {
	a.Helper()
	var out bytes.Buffer
	cmd := exec.Command("timeout", "120", "bash", "-c", line)
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &out, "/"
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if err := cmd.Run(); err != nil {
		a.Fatalf("%s: %v\n%s", line, err, &out)
	}
	return strings.TrimSpace(out.String())
}

// answer runs a line of shell and returns its last line, whatever its exit status.
func (a *admin) answer(line string) string {
	a.Helper()
	lines := strings.Split(a.sh("{ "+line+"; } 2>&1 || true"), "\n")
	return lines[len(lines)-1]
}

func (a *admin) want(what, got, want string) {
	a.Helper()
	if got != want {
		a.Errorf("%s: %q, want %q", what, got, want)
	}
}

// installed looks at what every installation has to have.
func (a *admin) installed(version string) {
	a.Helper()
	a.want("dpkg", a.sh("dpkg-query -W -f '${db:Status-Abbrev} ${Version}' postseal"), "ii  "+version)
	for _, program := range programs {
		a.want(program, a.sh(program+" --version"), version)
	}
	a.want("dpkg -V", a.sh("dpkg -V postseal"), "")
	a.want("conffiles", a.sh("dpkg-query -W -f '${Conffiles}' postseal"), "")
	for page, section := range map[string]string{"postseal": "1", "postseal-demo": "1", "postseal-pipe": "1", "postseal.toml": "5", "postseal-milter": "8"} {
		a.want("man", a.sh("man -w "+page), "/usr/share/man/man"+section+"/"+page+"."+section+".gz")
	}
	a.sh("man postseal | grep -q 'postseal cert'")
	a.want("completion", a.sh(`source /usr/share/bash-completion/bash_completion; _completion_loader postseal; complete -p postseal`),
		"complete -F _postseal postseal")
	a.modes()
}

// modes looks at the user and the directories, which no umask may change.
func (a *admin) modes() {
	a.Helper()
	passwd := strings.Split(a.sh("getent passwd postseal"), ":")
	if len(passwd) < 7 || passwd[5] != "/var/lib/postseal" || passwd[6] != "/usr/sbin/nologin" {
		a.Errorf("the user is %q", passwd)
	}
	a.want("groups of postseal", a.sh("id -Gn postseal"), "postseal")
	for path, want := range map[string]string{
		"/etc/postseal":             "755 root:root",
		"/var/lib/postseal":         "750 root:postseal",
		"/var/lib/postseal/pending": "2750 root:postseal",
		"/var/lib/postseal/answers": "3770 root:postseal",
		"/usr/bin/postseal":         "755 root:root",
		"/usr/lib/postseal/deliver": "755 root:root",
		"/usr/lib/postseal/report":  "755 root:root",
		"/usr/share/doc/postseal/contrib/postfix-milter/main.cf": "644 root:root",
	} {
		a.want(path, a.sh("stat -c '%a %U:%G' "+path), want)
	}
}

var units = []string{"postseal-milter.socket", "postseal-milter.service", "postseal-renew.timer", "postseal-enroll.timer"}

// idle wants nothing to run that nobody has configured.
func (a *admin) idle() {
	a.Helper()
	a.want("postseal-milter.socket", a.answer("systemctl is-enabled postseal-milter.socket"), "disabled")
	a.want("postseal-renew.timer", a.answer("systemctl is-enabled postseal-renew.timer"), "disabled")
	a.want("postseal-enroll.timer", a.answer("systemctl is-enabled postseal-enroll.timer"), "disabled")
	a.wantActive("inactive")
	if _, err := os.Stat(configFile); err == nil {
		a.Errorf("%s is there", configFile)
	}
}

func (a *admin) wantActive(want string) {
	a.Helper()
	if !a.booted {
		return
	}
	for _, unit := range units {
		a.want(unit, a.answer("systemctl is-active "+unit), want)
	}
}

// configure does what an admin does after the installation, and leaves what programs
// leave.
func (a *admin) configure() {
	a.Helper()
	a.sh("postseal init -n --via none --agree-tos")
	a.sh("echo '# mine' >>" + configFile)
	a.must(os.WriteFile(ownKey, []byte("a key of the admin\n"), 0o600))
	a.must(os.MkdirAll(filepath.Dir(privateKey), 0o700))
	a.must(os.WriteFile(privateKey, []byte("a key of Alice\n"), 0o600))
	a.must(os.MkdirAll(filepath.Dir(dropIn), 0o755))
	a.must(os.WriteFile(dropIn, []byte("[Socket]\nListenStream=\nListenStream=/run/postseal/milter.sock\nSocketGroup=postseal\n"), 0o644))
	if !a.booted {
		a.sh("systemctl enable postseal-milter.socket postseal-renew.timer postseal-enroll.timer")
		return
	}
	a.sh("systemctl daemon-reload && systemctl enable --now postseal-milter.socket postseal-renew.timer postseal-enroll.timer")
	a.connect()
	a.wantActive("active")
	a.sh("! command -v sendmail && systemctl start postseal-failed@postseal-milter.service") // no mail, and no failure
}

// connect is the first mail: systemd starts the service for it.
func (a *admin) connect() {
	a.Helper()
	if !a.booted {
		return
	}
	conn, err := net.Dial("unix", "/run/postseal/milter.sock")
	a.must(err)
	defer conn.Close()
	for a.answer("systemctl is-active postseal-milter.service") == "activating" {
		time.Sleep(20 * time.Millisecond)
	}
}

func (a *admin) milterPID() string {
	if !a.booted {
		return ""
	}
	return a.answer("systemctl show -P MainPID postseal-milter.service")
}

// contents are the modes, owners and contents of what must survive.
func (a *admin) contents() string {
	a.Helper()
	return a.sh("find /var/lib/postseal /etc/postseal " + dropIn + " -printf '%p %m %u:%g\\n' | sort; sha256sum " +
		strings.Join([]string{configFile, ownKey, privateKey, dropIn}, " ") +
		"; systemctl is-enabled postseal-milter.socket postseal-renew.timer postseal-enroll.timer 2>/dev/null; find /etc/systemd/system -name 'postseal*' | sort")
}

func (a *admin) wantContents(want string) {
	a.Helper()
	got := a.contents()
	for line := range strings.Lines(want) {
		// Without the units themselves nobody says whether they are enabled.
		if !strings.Contains(got+"\n", strings.TrimRight(line, "\n")+"\n") && strings.TrimSpace(line) != "enabled" {
			a.Errorf("lost or changed: %s", line)
		}
	}
}

// leftAlone are files that change when a user is made or a package is installed,
// whatever it is, and what the admin has put there.
var leftAlone = []string{
	"/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/etc/.pwd.lock",
	"/var/lib/dpkg/status-old", "/var/lib/dpkg/available", "/var/cache/man",
	"/var/cache/debconf/config.dat-old", "/var/cache/debconf/templates.dat-old",
	"/etc/postseal", ownKey, filepath.Dir(dropIn), dropIn,
}

// purged wants nothing to be left but the user and what is the admin's own.
func (a *admin) purged(before []string) {
	a.Helper()
	for _, name := range a.files() {
		if !slices.Contains(before, name) && !slices.Contains(leftAlone, name) {
			a.Errorf("left behind: %s", name)
		}
	}
	now := a.files()
	for _, name := range before {
		if !slices.Contains(now, name) {
			a.Errorf("taken away: %s", name)
		}
	}
	for _, name := range []string{ownKey, dropIn} {
		if !slices.Contains(now, name) {
			a.Errorf("%s is the admin's own and gone", name)
		}
	}
	a.wantActive("inactive")
	a.sh("getent passwd postseal") // stays, so that its number is given to nobody else
	if out := a.answer("dpkg-query -W postseal"); !strings.Contains(out, "no packages found") {
		a.Errorf("dpkg still knows it: %s", out)
	}
}

// files returns the names of all files, without those of the kernel, of the test, and
// of programs that run meanwhile.
func (a *admin) files() []string {
	a.Helper()
	out := a.sh(`find / -xdev \( -path /opt -o -path /tmp -o -path /run -o -path /var/log -o -path /var/tmp ` +
		`-o -path /var/lib/systemd -o -path /var/cache/man \) -prune -o -print`)
	out += "\n" + a.sh("find /var/lib/systemd -name '*postseal*'")
	return strings.Split(strings.TrimSpace(out), "\n")
}

// inKit is where a machine finds a version of the package.
func inKit(version string) string {
	return filepath.Join(machine.Kit, fmt.Sprintf("postseal_%s_%s.deb", version, runtime.GOARCH))
}
