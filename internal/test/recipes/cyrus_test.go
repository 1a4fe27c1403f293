//go:build doors

package recipes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Cyrus keeps the mailboxes behind Postfix, and neither knows of the other's milter.
func TestCyrus(t *testing.T) {
	onMachine(t, "cyrus", func(s *site) {
		s.signOurselves()
		s.mailbox = s.cyrusMailbox
		s.appendFile("/etc/imapd.conf", "autocreate_post: yes\n")
		s.sh(`sed -i '/pop3d\|nntpd\|httpd\|timsieved\|imapd -U/d' /etc/cyrus.conf`) // lmtpd alone
		s.sh("systemd-tmpfiles --create; adduser --quiet postfix mail")
		s.start("cyrmaster", "-D")
		s.waitFor("Cyrus's LMTP", func() bool { return listening("unix", "/run/cyrus/socket/lmtp") })
		s.add("postfix-milter/main.cf", "/etc/postfix/main.cf")
		s.ownSocket()
		s.sh("postconf -e mailbox_transport=lmtp:unix:/run/cyrus/socket/lmtp; postconf -F lmtp/unix/chroot=n")
		s.startPostfix()
		unixMilter(s)
		milterRow(unixMilter).run(s, "Postfix, milter, Cyrus")
	})
}

// cyrusMailbox reads the files of a mailbox, of which only Cyrus knows where they are.
func (s *site) cyrusMailbox(user string) (mail [][]byte) {
	s.t.Helper()
	dir, err := runShell("runuser -u cyrus -- /usr/lib/cyrus/bin/mbpath user." + user)
	if err != nil {
		return nil // nothing has come yet
	}
	files, err := filepath.Glob(strings.TrimSpace(dir) + "/[0-9]*.")
	s.must(err)
	for _, name := range files {
		data, err := os.ReadFile(name)
		s.must(err)
		mail = append(mail, data)
	}
	return mail
}
