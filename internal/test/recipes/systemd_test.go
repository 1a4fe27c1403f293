//go:build doors

package recipes

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

var units = []string{"postseal-milter.service", "postseal-milter.socket", "postseal-renew.service", "postseal-renew.timer",
	"postseal-enroll.service", "postseal-enroll.timer", "postseal-failed@.service", "postseal-report@.service"}

// The units have no mistakes that systemd finds, and the sandbox is as tight as it is
// meant to be.
func TestSystemdUnits(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		for _, unit := range units {
			s.install("systemd/"+unit, "/usr/lib/systemd/system/"+unit)
		}
		s.install("lib/report", "/usr/lib/postseal/report")
		// For an unknown key it says so and still returns 0.
		out, err := runShell("systemd-analyze verify " + strings.Join(units, " "))
		for line := range strings.Lines(out) {
			if strings.Contains(line, "postseal") && !strings.Contains(line, "Command 'man ") { // no man(1) there
				t.Errorf("systemd-analyze verify: %s", line)
			}
		}
		if err != nil && strings.TrimSpace(out) == "" {
			t.Error(err)
		}
		for unit, threshold := range map[string]string{"postseal-milter.service": "20", "postseal-renew.service": "30", "postseal-enroll.service": "30"} {
			s.sh("systemd-analyze security --offline=true --threshold=" + threshold + " /usr/lib/systemd/system/" + unit)
		}
		s.sh("systemd-analyze calendar '*-*-* 00/12:00:00' '*-*-* 06/12:00:00'")
		for _, unit := range []string{"postseal-getmail.service", "postseal-look.service", "postseal-look.timer"} {
			s.install("getmail/"+unit, "/usr/lib/systemd/user/"+unit)
			if out := s.sh("systemd-analyze --user verify /usr/lib/systemd/user/" + unit + " 2>&1 || true"); strings.Contains(out, "Unknown") {
				t.Error(out)
			}
		}
	})
}

// The milter under systemd's socket activation: the socket of the socket unit, the
// command and the user of the service unit.
func TestSystemdActivation(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.signOurselves()
		s.sh("mkdir /var/spool/postfix/postseal") // as systemd would
		s.maildirs()
		s.add("postfix-milter/main.cf", "/etc/postfix/main.cf")
		s.startPostfix()
		socket := s.setting("systemd/postseal-milter.socket", "ListenStream")
		if socket != "/var/spool/postfix/postseal/milter.sock" {
			t.Fatalf("ListenStream=%s is not where Postfix looks", socket)
		}
		start := func(s *site) {
			user := s.setting("systemd/postseal-milter.service", "User")
			command := strings.Fields(s.setting("systemd/postseal-milter.service", "ExecStart"))
			args := append([]string{"--listen=" + socket, "setpriv", "--reuid=" + user, "--regid=" + user, "--init-groups"}, command...)
			cmd := exec.Command("systemd-socket-activate", args...)
			cmd.Stdout, cmd.Stderr, cmd.Dir = s.log, s.log, "/"
			os.Remove(socket) // an old one has another owner than the new one
			started := strings.Count(s.log.String(), "msg=listening")
			s.must(cmd.Start())
			s.milter.cmd = cmd
			s.waitFor("the socket", func() bool { return fileExists(socket) })
			s.sh("chown " + s.setting("systemd/postseal-milter.socket", "SocketUser") + ":" + s.setting("systemd/postseal-milter.socket", "SocketGroup") +
				" " + socket + " && chmod " + s.setting("systemd/postseal-milter.socket", "SocketMode") + " " + socket)
			listening("unix", socket) // the first connection starts it
			s.waitFor("postseal-milter", func() bool { return strings.Count(s.log.String(), "msg=listening") > started })
		}
		start(s)
		milterRow(start).run(s, "Postfix, milter by socket activation")
	})
}

// setting returns a value of a unit.
func (s *site) setting(unit, name string) string {
	s.t.Helper()
	for line := range strings.Lines(s.readFile(contrib(unit))) {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return strings.TrimSpace(value)
		}
	}
	s.t.Fatalf("%s has no %s=", unit, name)
	return ""
}
