//go:build doors

package recipes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// startIMAP starts a provider of mailboxes: Postfix that signs, Dovecot for IMAP.
func (s *site) startIMAP() {
	s.t.Helper()
	s.personal()
	s.maildirs()
	s.writeFile("/etc/dovecot/local.conf", "mail_location = maildir:~/Maildir\ndisable_plaintext_auth = no\nverbose_proctitle = yes\n", 0o644)
	for _, user := range people {
		s.sh("echo " + user + ":secret | chpasswd")
	}
	s.startPostfix()
	s.sh("dovecot")
	s.waitPort("127.0.0.1:143")
}

// fetcher is a program that waits at a mailbox for each of its users.
type fetcher struct {
	recipe string // its file in contrib/
	rc     string // where that goes in the home directory
	run    string // shell, as the user
}

// waitIdle waits until the fetcher of a user is in IDLE. Mail that comes between its
// look and IDLE is seen with the next one, as the recipes say.
func (s *site) waitIdle(user string) {
	s.t.Helper()
	s.waitFor("IDLE of "+user, func() bool {
		titles, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, title := range titles {
			text, err := os.ReadFile(title) // it may have ended
			if err == nil && strings.Contains(string(text), "["+user+" ") && strings.Contains(string(text), " IDLE]") {
				return true
			}
		}
		return false
	})
}

// follow runs the fetcher for a user until the end of the machine, again and again
// as its unit would. Runs in which nothing is to be done end by themselves or wait.
func (s *site) follow(f fetcher, user string) {
	s.t.Helper()
	rc := "/home/" + user + "/" + f.rc
	s.writeFile(rc, strings.ReplaceAll(s.readFile(contrib(f.recipe)), "alice", user), 0o600)
	s.sh("mkdir -p /home/" + user + "/Maildir && chown -R " + user + ": /home/" + user)
	s.writeFile("/tmp/follow-"+user, "#!/bin/sh\nexport HOME=/home/"+user+"\nwhile :; do "+f.run+"; sleep 1; done\n", 0o755)
	s.start("runuser", "-u", user, "--", "/tmp/follow-"+user)
	s.waitIdle(user)
}

// fetchRow checks a fetcher. The mail stays at the provider whatever happens, so what
// the exit statuses decide is whether the fetcher shows it to postseal-pipe again.
func (s *site) fetchRow(f fetcher) row {
	return row{
		answered: {run: func(s *site) {
			s.follow(f, "alice")
			s.wantAnswered("alice", "alice")
			s.wantInBox("alice", challengeSubject, 1)
		}},
		forged: {run: func(s *site) {
			s.follow(f, "bob")
			s.wantForgedIgnored("bob", "bob")
			s.follow(f, "erin")
			for _, status := range []string{"0", "1", "64", "75", "78"} {
				s.wantShownAgain("erin", status)
			}
		}},
		stopped: {run: func(s *site) { s.wantFlowWhile("carol", withoutUs) }},
		retried: {note: "ok (by the next look)", run: func(s *site) {
			s.follow(f, "dave")
			s.wantRetried("dave", "dave", nothing, "")
			s.wantInBox("dave", challengeSubject, 1)
		}},
	}
}

// wantShownAgain wants a mail to come to postseal-pipe once if that ends with 0, and
// again if it does not, and to stay in the mailbox.
func (s *site) wantShownAgain(user, status string) {
	s.t.Helper()
	s.must(os.Rename(pipe, "/usr/bin/postseal-pipe.real"))
	defer func() { s.must(os.Rename("/usr/bin/postseal-pipe.real", pipe)) }()
	seen := "/tmp/seen-" + status
	s.writeFile(seen, "", 0o666)
	s.writeFile(pipe, "#!/bin/sh\nstatus=$(cat "+seen+".exit)\ngrep 'ordinary mail number' >>"+seen+"\nexit $status\n", 0o755)
	s.writeFile(seen+".exit", status+"\n", 0o644)
	s.waitIdle(user)
	mark := s.sendOrdinary(user, "ACME: not a challenge")
	shown := func() int { return strings.Count(s.readFile(seen), mark) }
	s.waitFor("postseal-pipe to see the mail", func() bool { return shown() >= 1 })
	if status != "0" {
		s.writeFile(seen+".exit", "0\n", 0o644)
		s.waitFor("postseal-pipe to see the mail again after "+status, func() bool { return shown() >= 2 })
	}
	s.wantInBox(user, mark, 1)
}

func TestGetmail(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.startIMAP()
		f := fetcher{"getmail/getmailrc", ".config/getmail/postseal", "getmail --rcfile=$HOME/.config/getmail/postseal --idle=INBOX"}
		s.fetchRow(f).run(s, "getmail, IDLE")
		s.wantSecondLook("carol", f)
	})
}

// wantSecondLook has a challenge arrive that the fetcher does not see, as between its
// look and IDLE, and wants the second look to answer it, and the first one to do nothing
// about it when it wakes up.
func (s *site) wantSecondLook(user string, f fetcher) {
	s.t.Helper()
	s.follow(f, user)
	s.sh("pkill -STOP -u " + user + " getmail")
	if status, out := s.cert(user, "-e", user+"@"+domain, "--timeout", "2s"); status != 75 {
		s.t.Errorf("postseal cert: exit %d, want 75\n%s", status, out)
	}
	s.wantInBox(user, challengeSubject, 1)
	before := s.replies()
	for _, name := range []string{"ExecStartPre", "ExecStart"} {
		command := strings.ReplaceAll(s.setting("getmail/postseal-look.service", name), "%h", "/home/"+user)
		s.sh("runuser -u " + user + " -- env HOME=/home/" + user + " " + command)
	}
	s.wantAnsweredSince(before, user, user)
	s.sh("pkill -CONT -u " + user + " getmail")
	s.waitIdle(user)
	if now := s.replies(); total(now) != total(before)+1 {
		s.t.Errorf("the CA received replies %v, before %v", now, before)
	}
}

func TestFetchmail(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.startIMAP()
		f := fetcher{"fetchmail/fetchmailrc", ".fetchmailrc", "fetchmail -N -d 5"}
		s.fetchRow(f).run(s, "fetchmail, IDLE")
		s.wantSeenMeanwhile("carol", f)
	})
}

// wantSeenMeanwhile wants a mail to be shown that comes while the fetcher is busy with
// another one.
func (s *site) wantSeenMeanwhile(user string, f fetcher) {
	s.t.Helper()
	const seen, hold = "/tmp/seen-meanwhile", "/tmp/hold"
	s.writeFile(seen, "", 0o666)
	s.must(os.Remove(pipe))
	s.writeFile(pipe, "#!/bin/sh\ngrep 'ordinary mail number' >>"+seen+"\nwhile [ -e "+hold+" ]; do sleep 0.1; done\n", 0o755)
	s.follow(f, user)
	s.writeFile(hold, "", 0o644)
	shown := func(mark string) func() bool {
		return func() bool { return strings.Contains(s.readFile(seen), mark) }
	}
	s.waitFor("the first mail", shown(s.sendOrdinary(user, "ACME: one")))
	second := s.sendOrdinary(user, "ACME: two")
	s.wantInBox(user, second, 1)
	s.must(os.Remove(hold))
	s.waitFor("the mail that came meanwhile", shown(second))
}
