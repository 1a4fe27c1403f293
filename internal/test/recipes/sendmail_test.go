//go:build doors

package recipes

import (
	"path/filepath"
	"strings"
	"testing"
)

// Where systemd makes the socket, and where the milter does.
const (
	sendmailPassed = "/run/postseal/milter.sock"
	sendmailSocket = "/var/spool/postseal-milter/milter.sock"
)

func TestSendmail(t *testing.T) {
	onMachine(t, "sendmail", func(s *site) {
		s.signOurselves()
		s.sh("install -d -m 2750 -o postseal -g smmsp " + filepath.Dir(sendmailSocket))
		s.edit("/etc/mail/sendmail.mc", "MAILER_DEFINITIONS", strings.ReplaceAll(s.readFile(contrib("sendmail/sendmail.mc")), sendmailPassed, sendmailSocket)+"MAILER_DEFINITIONS")
		s.appendFile("/etc/mail/local-host-names", domain+"\n")
		s.sh("m4 /etc/mail/sendmail.mc > /etc/mail/sendmail.cf; newaliases; mkdir -p /run/sendmail/mta; sendmail -bd -q30m")
		s.waitPort(smtpAddr)
		start := func(s *site) { s.startMilter("unix", sendmailSocket, "--listen", "unix:"+sendmailSocket) }
		start(s)
		milterRow(start).run(s, "Sendmail, milter")
	})
}
