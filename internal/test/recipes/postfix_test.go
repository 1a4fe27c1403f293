//go:build doors

package recipes

import (
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// startPostfix starts Debian's Postfix with what has been added to its default
// configuration: smtpd is chrooted, sendmail(1) works, local users have mailboxes.
func (s *site) startPostfix() {
	s.t.Helper()
	host, _, err := net.SplitHostPort(s.smtp) // the world has port 25 of another address
	s.must(err)
	s.sh("postconf -e inet_interfaces=" + host)
	s.sh("newaliases; /usr/lib/postfix/configure-instance.sh -")
	// Postfix waits for a file that has only just been written to become older.
	s.sh("touch -d '1 minute ago' /etc/postfix/main.cf /etc/postfix/master.cf; postfix start")
	s.waitPort(s.smtp)
	if strings.Contains(s.sh("postconf -M smtp/inet"), "n       -       y") == false {
		s.t.Fatal("smtpd is not chrooted: this is not Debian's configuration")
	}
}

// maildirs has Postfix deliver by itself: procmail would, where it is installed.
func (s *site) maildirs() { s.sh("postconf -e mailbox_command= home_mailbox=Maildir/") }

var postfixQueue = queue{
	length:   func() int { return countOutput("postqueue -j", `"queue_id"`) },
	deferred: func() int { return countOutput("postqueue -j", `"queue_name": "deferred"`) },
	flush:    "postqueue -f",
}

// countOutput counts a text in what a command prints.
func countOutput(command, text string) int {
	out, _ := runShell(command)
	return strings.Count(out, text)
}

const milterSocket = "/var/spool/postfix/postseal-milter/milter.sock"

// ownSocket is for a milter that makes its socket itself, as the page of the recipe
// says.
func (s *site) ownSocket() {
	s.t.Helper()
	s.sh("install -d -m 2750 -o postseal -g postfix " + filepath.Dir(milterSocket))
	s.edit("/etc/postfix/main.cf", "unix:postseal/", "unix:postseal-milter/")
}

// milterRow checks a mail server whose milter runs with start.
func milterRow(start func(*site)) row {
	// Without a socket unit there is a moment with no milter, in which a challenge
	// passes by: the CA is kept from trying just then.
	restart := func(s *site) func() {
		return func() {
			s.ca.SetRelay("127.0.0.1:1")
			s.stopMilter()
			start(s)
			s.ca.SetRelay(s.smtp)
		}
	}
	return row{
		answered: {run: func(s *site) {
			s.wantAnswered("", "alice")
			s.wantInBox("alice", challengeSubject, 1)
		}},
		forged: {run: func(s *site) { s.wantForgedIgnored("", "bob") }},
		stopped: {run: func(s *site) {
			s.sh("touch " + state + "/pending/not-empty.json") // or it is done at MAIL
			s.wantFlowWhile("carol", map[string]string{"chmod 000 " + state: "chmod 750 " + state})
			s.stopMilter()
			s.wantFlow("carol")
			start(s)
			s.sh("rm " + state + "/pending/not-empty.json")
			s.milter.cmd.Process.Signal(syscall.SIGSTOP)
			defer s.milter.cmd.Process.Signal(syscall.SIGCONT)
			s.wantFlow("carol") // it hangs: the mail server waits as long as the recipe allows
		}},
		retried: {note: "ok (by the CA's queue)", run: func(s *site) {
			s.wantRetried("", "dave", restart(s), "")
			s.wantInBox("dave", challengeSubject, 1)
		}},
	}
}

func unixMilter(s *site) { s.startMilter("unix", milterSocket, "--listen", "unix:"+milterSocket) }
func inetMilter(s *site) { s.startMilter("tcp", "127.0.0.1:8891", "--listen", "inet:8891@127.0.0.1") }

func TestPostfixMilter(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.signOurselves()
		s.maildirs()
		s.add("postfix-milter/main.cf", "/etc/postfix/main.cf")
		s.ownSocket()
		s.startPostfix()
		unixMilter(s)
		milterRow(unixMilter).run(s, "Postfix, milter, chrooted smtpd")
	})
}

func TestPostfixMilterInet(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.signOurselves()
		s.maildirs()
		s.add("postfix-milter/main.cf.inet", "/etc/postfix/main.cf")
		s.startPostfix()
		inetMilter(s)
		milterRow(inetMilter).run(s, "Postfix, milter over inet")
	})
}

func TestPostfixOpendkim(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.startSigner()
		s.maildirs()
		s.add("postfix-opendkim/main.cf", "/etc/postfix/main.cf")
		s.ownSocket()
		s.startPostfix()
		unixMilter(s)
		milterRow(unixMilter).run(s, "Postfix, milter, opendkim signs")
	})
}

// startSigner starts opendkim as its recipe says; what it needs of Postfix are users
// and directories.
func (s *site) startSigner() {
	s.t.Helper()
	s.keyFor("opendkim")
	s.install("postfix-opendkim/opendkim.conf", "/etc/opendkim.conf")
	s.install("postfix-opendkim/tmpfiles.conf", "/usr/lib/tmpfiles.d/opendkim-postfix.conf")
	s.sh("systemd-tmpfiles --create /usr/lib/tmpfiles.d/opendkim-postfix.conf")
	s.start("opendkim", "-f", "-x", "/etc/opendkim.conf")
	s.waitFor("opendkim", func() bool { return listening("unix", "/var/spool/postfix/opendkim/opendkim.sock") })
}

func TestPostfixRspamd(t *testing.T) {
	onMachine(t, "rspamd", func(s *site) {
		s.keyFor("_rspamd")
		for _, name := range []string{"dkim.conf", "dkim_signing.conf", "worker-proxy.inc"} {
			s.install("postfix-rspamd/"+name, "/etc/rspamd/local.d/"+name)
		}
		s.start("rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd")
		s.maildirs()
		s.add("postfix-rspamd/main.cf", "/etc/postfix/main.cf")
		s.ownSocket()
		s.startPostfix()
		unixMilter(s)
		s.waitPort("127.0.0.1:11332")
		milterRow(unixMilter).run(s, "Postfix, milter, rspamd signs")
	})
}
