//go:build doors

package recipes

import (
	"strconv"
	"strings"
	"testing"
)

// Debian's split configuration, as a host of the Internet that is at loopback only.
func TestExim(t *testing.T) {
	onMachine(t, "exim", func(s *site) {
		conf := "/etc/exim4/update-exim4.conf.conf"
		s.edit(conf, "configtype='local'", "configtype='internet'")
		s.edit(conf, "split_config='false'", "split_config='true'")
		s.edit(conf, "local_interfaces='127.0.0.1 ; ::1'", "local_interfaces='127.0.0.1'")
		s.keyFor("Debian-exim")
		s.install("lib/deliver", "/usr/lib/postseal/deliver")
		s.install("exim/main", "/etc/exim4/conf.d/main/00_postseal")
		s.install("exim/router", "/etc/exim4/conf.d/router/250_postseal")
		s.install("exim/transport", "/etc/exim4/conf.d/transport/30_postseal")
		s.sh("update-exim4.conf && exim4 -bd -q30m")
		s.waitPort(smtpAddr)
		pipeRow("", "exim/README.md", eximQueue).run(s, "Exim")
	})
}

var eximQueue = queue{
	length: eximCount,
	deferred: func() int {
		if _, err := runShell("pgrep -f 'exim4 (-Mc|-q)'"); err == nil {
			return 0 // still trying
		}
		return eximCount()
	},
	flush: "exim4 -qff",
}

func eximCount() int {
	out, _ := runShell("exim4 -bpc")
	n, _ := strconv.Atoi(strings.TrimSpace(out))
	return n
}
