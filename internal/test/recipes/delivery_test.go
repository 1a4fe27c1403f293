//go:build doors

package recipes

import (
	"bytes"
	"testing"
)

// pipeRow checks a neighbour that runs postseal-pipe. as is who orders certificates:
// "" is root, with the system's state directory; "self" is each user, with her own.
func pipeRow(as, readme string, q queue) row {
	who := func(name string) string {
		if as == "self" {
			return name
		}
		return as
	}
	return row{
		answered: {run: func(s *site) {
			s.wantAnswered(who("alice"), "alice")
			s.wantInBox("alice", challengeSubject, 1)
		}},
		forged: {run: func(s *site) {
			s.wantForgedIgnored(who("bob"), "bob")
			if as == "self" {
				s.mustCert("erin", "erin") // makes her state directory, as the recipe says
			}
			s.wantFates("erin", readme, q)
		}},
		stopped: {run: func(s *site) { s.wantFlowWhile("carol", withoutUs) }},
		retried: {run: func(s *site) {
			s.wantRetried(who("dave"), "dave", nothing, q.flush)
			s.wantInBox("dave", challengeSubject, 1)
			s.waitFor("an empty queue", func() bool { return q.length() == 0 })
		}},
	}
}

// refusingRow is pipeRow for a mail server that runs postseal-pipe before it accepts the
// mail: what cannot be answered now stays in the sender's queue.
func refusingRow(readme string) row {
	r := pipeRow("", readme, queue{length: func() int { return 0 }})
	r[retried].note = "ok (by the CA's queue)"
	r[retried].run = func(s *site) {
		s.wantRetried("", "dave", nothing, "")
		s.wantInBox("dave", challengeSubject, 1)
	}
	return r
}

func TestPostfixPipe(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.signOurselves()
		s.maildirs()
		s.install("lib/deliver", "/usr/lib/postseal/deliver")
		s.install("postfix-pipe/postseal_header_checks", "/etc/postfix/postseal_header_checks")
		s.add("postfix-pipe/main.cf", "/etc/postfix/main.cf")
		s.add("postfix-pipe/master.cf", "/etc/postfix/master.cf")
		s.startPostfix()
		pipeRow("", "postfix-pipe/README.md", postfixQueue).run(s, "Postfix, pipe(8)")
	})
}

// personal lets users order for themselves: the mail server signs their replies,
// because they cannot read its key.
func (s *site) personal() {
	s.t.Helper()
	s.startSigner()
	s.sh("postconf -e smtpd_milters=unix:opendkim/opendkim.sock")
}

// systemWide lets delivery agents that run as the recipient reach the one state
// directory of the host.
func (s *site) systemWide() {
	s.t.Helper()
	s.signOurselves()
	s.install("sudoers.d/postseal", "/etc/sudoers.d/postseal")
	s.sh("chmod 440 /etc/sudoers.d/postseal && visudo -c")
}

// everyHome gives each user a file.
func (s *site) everyHome(from, name string) {
	s.t.Helper()
	for _, user := range people {
		s.install(from, "/home/"+user+"/"+name)
		s.sh("chmod 600 /home/" + user + "/" + name + "; chown " + user + ": /home/" + user + "/" + name)
	}
}

// markedRow is pipeRow for a filter: the challenge says that it was answered.
func markedRow(as, readme string, q queue) row {
	r := pipeRow(as, readme, q)
	plain := r[answered].run
	r[answered].run = func(s *site) {
		plain(s)
		if msg := s.inBox("alice", challengeSubject)[0]; !bytes.Contains(msg, []byte("Postseal-Status: answered; ")) {
			s.t.Errorf("the delivered challenge has no status:\n%s", msg)
		}
	}
	return r
}

// Debian's Postfix delivers through procmail by default.
func TestProcmail(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.systemWide()
		s.add("procmail/etc-procmailrc", "/etc/procmailrc")
		s.startPostfix()
		pipeRow("", "procmail/README.md", postfixQueue).run(s, "procmail, system-wide")
	})
}

func TestProcmailUser(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.personal()
		s.everyHome("procmail/procmailrc", ".procmailrc")
		s.startPostfix()
		pipeRow("self", "procmail/README.md", postfixQueue).run(s, "procmail, per user")
	})
}

func TestProcmailFilter(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.personal()
		s.everyHome("procmail/procmailrc.filter", ".procmailrc")
		s.startPostfix()
		markedRow("self", "procmail/README.md", postfixQueue).run(s, "procmail, per user, filter")
	})
}

func (s *site) useMaildrop() { s.sh(`postconf -e 'mailbox_command=/usr/bin/maildrop -d ${USER}'`) }

func TestMaildrop(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.systemWide()
		s.useMaildrop()
		s.add("maildrop/etc-maildroprc", "/etc/maildroprc")
		s.startPostfix()
		pipeRow("", "maildrop/README.md", postfixQueue).run(s, "maildrop, system-wide")
	})
}

func TestMaildropUser(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.personal()
		s.useMaildrop()
		s.everyHome("maildrop/mailfilter", ".mailfilter")
		s.startPostfix()
		pipeRow("self", "maildrop/README.md", postfixQueue).run(s, "maildrop, per user")
	})
}

func TestMaildropFilter(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.personal()
		s.useMaildrop()
		s.everyHome("maildrop/mailfilter.filter", ".mailfilter")
		s.startPostfix()
		markedRow("self", "maildrop/README.md", postfixQueue).run(s, "maildrop, per user, filter")
	})
}
