//go:build doors

package doors

import (
	"strings"
	"testing"
)

func TestOpenSMTPD(t *testing.T) {
	onMachine(t, "opensmtpd", func(s *site) {
		s.systemWide()
		s.install("lib/then", "/usr/lib/postseal/then")
		// Debian's configuration, with the recipe above the actions and a domain.
		conf := "/etc/smtpd.conf"
		s.edit(conf, "listen on localhost", "listen on 127.0.0.1\n"+s.readFile(contrib("opensmtpd/smtpd.conf")))
		s.edit(conf, `action "local" maildir alias`, `action "local" maildir wrapper "postseal" alias`)
		s.edit(conf, `# match from any for domain "example.org"`, `match from any for domain "example.test"`)
		s.sh("smtpd -n && touch /etc/aliases && smtpd")
		s.waitPort(smtpAddr)
		pipeRow("", "opensmtpd/README.md", smtpdQueue).run(s, "OpenSMTPD")
	})
}

var smtpdQueue = queue{
	length: func() int { return countOutput("smtpctl show queue", "\n") },
	deferred: func() int {
		out, _ := runShell("smtpctl show queue")
		return strings.Count(out, "|pending|") - strings.Count(out, "|0|pending|")
	},
	flush: "smtpctl schedule all",
}
