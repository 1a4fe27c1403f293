//go:build doors

package recipes

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What "postseal init" makes and shows is enough: on each machine it is run instead of
// the recipe, what it says is done, and an order is answered. Postfix's milter is in
// internal/setup.

// initialise undoes what newSite prepared, runs init, and does what it says is the
// admin's. What the system would only have to reload is started by the caller.
func (s *site) initialise(args ...string) {
	s.t.Helper()
	s.sh("rm -rf " + filepath.Dir(config) + " " + state + " /usr/lib/sysusers.d/postseal.conf /usr/lib/tmpfiles.d/postseal.conf; userdel postseal")
	out := s.sh("/usr/bin/postseal init -n --json --dkim-key " + domain + ":" + selector + ":" + keyFile + " " + strings.Join(args, " "))
	var said struct {
		Lines    []struct{ File, Place, Mode, Text string }
		Commands []string
	}
	s.must(json.Unmarshal([]byte(out), &said))
	for _, l := range said.Lines {
		switch l.Place {
		case "new":
			mode, err := strconv.ParseUint(l.Mode, 8, 32)
			s.must(err)
			s.writeFile(l.File, l.Text, 0)
			s.sh(fmt.Sprintf("chmod %o %s", mode, l.File))
		case "end":
			s.appendFile(l.File, l.Text)
		case "start":
			old := ""
			if fileExists(l.File) {
				old = s.readFile(l.File)
			}
			s.writeFile(l.File, l.Text+"\n"+old, 0o644)
		case "above":
			s.edit(l.File, "MAILER_DEFINITIONS", l.Text+"MAILER_DEFINITIONS")
		default:
			s.t.Fatalf("place %q", l.Place)
		}
	}
	for _, command := range said.Commands {
		if strings.HasPrefix(command, "chgrp ") {
			s.sh(command)
		}
	}
	if slices.ContainsFunc(said.Lines, func(l struct{ File, Place, Mode, Text string }) bool { return strings.Contains(l.File, "sudoers") }) {
		s.sh("visudo -c")
	}
}

func (s *site) wantOrder() {
	s.t.Helper()
	s.wantAnswered("", "alice")
	s.wantInBox("alice", challengeSubject, 1)
}

func TestInitExim(t *testing.T) {
	onMachine(t, "exim", func(s *site) {
		conf := "/etc/exim4/update-exim4.conf.conf"
		s.edit(conf, "configtype='local'", "configtype='internet'")
		s.edit(conf, "split_config='false'", "split_config='true'")
		s.edit(conf, "local_interfaces='127.0.0.1 ; ::1'", "local_interfaces='127.0.0.1'")
		s.initialise()
		s.sh("update-exim4.conf && exim4 -bd -q30m")
		s.waitPort(smtpAddr)
		s.wantOrder()
	})
}

func TestInitSendmail(t *testing.T) {
	onMachine(t, "sendmail", func(s *site) {
		s.initialise()
		s.appendFile("/etc/mail/local-host-names", domain+"\n")
		s.sh("m4 /etc/mail/sendmail.mc > /etc/mail/sendmail.cf; newaliases; mkdir -p /run/sendmail/mta; sendmail -bd -q30m")
		s.waitPort(smtpAddr)
		s.startMilter("unix", sendmailSocket) // where the configuration says
		if !strings.Contains(s.sh("systemd-analyze cat-config systemd/system/postseal-milter.socket"), "ListenStream="+sendmailPassed) {
			s.t.Error("the socket unit is not for Sendmail")
		}
		s.wantOrder()
	})
}

func TestInitOpenSMTPD(t *testing.T) {
	onMachine(t, "opensmtpd", func(s *site) {
		conf := "/etc/smtpd.conf"
		s.edit(conf, "listen on localhost", "listen on 127.0.0.1")
		s.edit(conf, `# match from any for domain "example.org"`, `match from any for domain "example.test"`)
		s.initialise()
		s.edit(conf, `action "local" maildir alias`, `action "local" maildir wrapper "postseal" alias`) // as its note says
		s.sh("smtpd -n && touch /etc/aliases && smtpd")
		s.waitPort(smtpAddr)
		s.wantOrder()
	})
}

func TestInitCourier(t *testing.T) {
	onMachine(t, "courier", func(s *site) {
		s.initialise()
		s.startCourier()
		s.wantOrder()
	})
}

func TestInitDovecot(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.initialise("--via", "dovecot")
		for _, file := range []string{"/etc/dovecot/conf.d/90-postseal.conf", "/usr/lib/postseal/postseal-again", "/etc/cron.d/postseal"} {
			s.sh("test -s " + file)
		}
		s.startDovecot("postseal.sieve")
		s.wantOrder()
	})
}

func TestInitProcmail(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.initialise("--via", "procmail")
		s.startPostfix()
		s.wantOrder()
	})
}

func TestInitMaildrop(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.initialise("--via", "maildrop")
		s.useMaildrop()
		s.startPostfix()
		s.wantOrder()
	})
}

func TestInitPostfixPipe(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.initialise("--via", "postfix-pipe")
		s.maildirs()
		s.startPostfix()
		s.wantOrder()
	})
}
