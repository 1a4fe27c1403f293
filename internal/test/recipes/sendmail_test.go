//go:build doors

package recipes

import "testing"

const sendmailSocket = "/run/postseal/milter.sock"

func TestSendmail(t *testing.T) {
	onMachine(t, "sendmail", func(s *site) {
		s.signOurselves()
		s.install("sendmail/tmpfiles.conf", "/usr/lib/tmpfiles.d/postseal-sendmail.conf")
		s.sh("systemd-tmpfiles --create /usr/lib/tmpfiles.d/postseal-sendmail.conf")
		s.edit("/etc/mail/sendmail.mc", "MAILER_DEFINITIONS", s.readFile(contrib("sendmail/sendmail.mc"))+"MAILER_DEFINITIONS")
		s.appendFile("/etc/mail/local-host-names", domain+"\n")
		s.sh("m4 /etc/mail/sendmail.mc > /etc/mail/sendmail.cf; newaliases; mkdir -p /run/sendmail/mta; sendmail -bd -q30m")
		s.waitPort(smtpAddr)
		start := func(s *site) { s.startMilter("unix", sendmailSocket, "--listen", "unix:"+sendmailSocket) }
		start(s)
		milterRow(start).run(s, "Sendmail, milter")
	})
}
