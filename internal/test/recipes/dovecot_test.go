//go:build doors

package recipes

import (
	"testing"
)

// startDovecot starts Dovecot's LMTP behind Postfix, as a Debian host would have it,
// with one of the two sieve scripts.
func (s *site) startDovecot(script string) {
	s.t.Helper()
	s.install("dovecot/90-postseal.conf", "/etc/dovecot/conf.d/90-postseal.conf")
	s.install("dovecot/"+script, "/etc/dovecot/sieve/postseal.sieve")
	s.install("dovecot/postseal", "/etc/dovecot/sieve-bin/postseal")
	s.install("dovecot/postseal-again", "/usr/lib/postseal/postseal-again")
	s.sh("sievec -c /etc/dovecot/dovecot.conf /etc/dovecot/sieve/postseal.sieve")
	s.startDelivery()
}

// startDelivery has Dovecot deliver for Postfix.
func (s *site) startDelivery() {
	s.t.Helper()
	s.writeFile("/etc/dovecot/local.conf", `
mail_location = maildir:~/Maildir
auth_username_format = %Ln
service lmtp {
  unix_listener /var/spool/postfix/private/dovecot-lmtp {
    user = postfix
    group = postfix
    mode = 0600
  }
}
`, 0o644)
	s.sh("postconf -e mailbox_transport=lmtp:unix:private/dovecot-lmtp")
	s.startPostfix()
	s.sh("dovecot")
	s.waitFor("Dovecot's LMTP", func() bool { return listening("unix", "/var/spool/postfix/private/dovecot-lmtp") })
}

func TestDovecot(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.systemWide()
		s.startDovecot("postseal.sieve")
		r := pipeRow("", "dovecot/README.md", postfixQueue)
		r[retried].note = "ok (by postseal-again)"
		r[retried].run = func(s *site) {
			s.wantRetried("", "dave", nothing, "/usr/lib/postseal/postseal-again")
			s.wantInBox("dave", challengeSubject, 1)
			if left := s.sh("doveadm search -u dave KEYWORD '$PostsealLater'"); left != "" {
				s.t.Errorf("the keyword is still there: %s", left)
			}
		}
		r.run(s, "Dovecot LMTP, sieve execute")
	})
}

// The copy is for those who can do without a second try; what is promised is that
// the order says so and that a later one works.
func TestDovecotCopy(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.systemWide()
		s.startDovecot("postseal-copy.sieve")
		r := pipeRow("", "dovecot/README.md", postfixQueue)
		r[retried].note = "ok (forgotten, answered by hand)"
		r[retried].run = func(s *site) {
			s.wantRetried("", "dave", nothing, "runuser -u postseal -- postseal-pipe < /home/dave/Maildir/new/*")
			s.wantInBox("dave", challengeSubject, 1)
		}
		r.run(s, "Dovecot LMTP, sieve pipe :copy")
	})
}

// Users with a script and a state directory of their own, where the admin allows it.
func TestDovecotOwn(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.personal()
		s.install("dovecot/91-postseal-own.conf", "/etc/dovecot/conf.d/91-postseal-own.conf")
		s.sh("install -d /etc/dovecot/sieve-own-bin && ln -s /usr/bin/postseal-pipe /etc/dovecot/sieve-own-bin/")
		s.everyHome("dovecot/own.sieve", ".dovecot.sieve")
		s.startDelivery()
		r := pipeRow("self", "dovecot/README.md", postfixQueue)
		r[retried].note = "ok (forgotten, answered by hand)"
		r[retried].run = func(s *site) {
			s.wantRetried("dave", "dave", nothing, "runuser -u dave -- env HOME=/home/dave postseal-pipe < /home/dave/Maildir/new/*")
			s.wantInBox("dave", challengeSubject, 1)
		}
		r.run(s, "Dovecot LMTP, a user's own sieve")
	})
}
