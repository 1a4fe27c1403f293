//go:build doors

package recipes

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

// wantAnswered orders a certificate whose challenge passes through the neighbour. as
// is who orders, "" for root.
func (s *site) wantAnswered(as, name string) {
	s.t.Helper()
	s.wantAnsweredSince(s.replies(), as, name)
}

// wantAnsweredSince counts the replies from an earlier moment.
func (s *site) wantAnsweredSince(before map[testca.Verdict]int, as, name string) {
	s.t.Helper()
	s.mustCert(as, name)
	if now := s.replies(); now[testca.VerdictGood] != before[testca.VerdictGood]+1 || total(now) != total(before)+1 {
		s.t.Errorf("the CA received replies %v, before %v", now, before)
	}
}

func total(n map[testca.Verdict]int) (sum int) {
	for _, count := range n {
		sum += count
	}
	return sum
}

// wantInBox waits until a user has n messages that contain text, and looks that no
// more come.
func (s *site) wantInBox(user, text string, n int) [][]byte {
	s.t.Helper()
	s.waitFor(fmt.Sprintf("%d messages with %q in the mailbox of %s", n, text, user), func() bool { return len(s.inBox(user, text)) >= n })
	found := s.inBox(user, text)
	if len(found) != n {
		s.t.Errorf("%s has %d messages with %q, want %d", user, len(found), text, n)
	}
	return found
}

func (s *site) inBox(user, text string) (found [][]byte) {
	for _, msg := range s.mailbox(user) {
		if bytes.Contains(msg, []byte(text)) {
			found = append(found, msg)
		}
	}
	return found
}

const challengeSubject = "Subject: ACME: "

// wantForgedIgnored has the CA send a challenge with a bad signature.
func (s *site) wantForgedIgnored(as, name string) {
	s.t.Helper()
	s.forge.Store(true)
	defer s.forge.Store(false)
	before := s.replies()
	status, out := s.cert(as, "-e", name+"@"+domain, "--timeout", "2s")
	if status != 75 || !strings.Contains(out, "hint:") {
		s.t.Errorf("postseal cert: exit %d, want 75 and what to do\n%s", status, out)
	}
	s.wantInBox(name, challengeSubject, 1)
	if now := s.replies(); total(now) != total(before) {
		s.t.Errorf("a forged challenge was answered or bounced: %v", now)
	}
}

// sendOrdinary sends a mail from the outside and returns a text that is in it alone.
func (s *site) sendOrdinary(user, subject string) (mark string) {
	s.t.Helper()
	mark, err := s.trySend(user, subject)
	if err != nil {
		s.t.Fatalf("%q was not taken: %v", subject, err)
	}
	return mark
}

func (s *site) trySend(user, subject string) (mark string, err error) {
	mark = fmt.Sprintf("ordinary mail number %d.", s.bodies.Add(1))
	from := "somebody@" + s.ca.MailDomain
	msg := fmt.Sprintf("From: %s\r\nTo: %s@%s\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <%d@%s>\r\n\r\n%s\r\n",
		from, user, domain, subject, time.Now().Format(time.RFC1123Z), s.bodies.Load(), s.ca.MailDomain, mark)
	return mark, mta.Send(s.smtp, from, user+"@"+domain, []byte(msg))
}

// wantFlow sends ordinary mail and waits for it in the mailbox.
func (s *site) wantFlow(user string) {
	s.t.Helper()
	s.wantInBox(user, s.sendOrdinary(user, "lunch"), 1)
}

// wantFlowWhile wants ordinary mail to flow during each breakage, a line of shell
// with another one that repairs.
func (s *site) wantFlowWhile(user string, breakages map[string]string) {
	s.t.Helper()
	for broken, repair := range breakages {
		s.t.Log("ordinary mail while: " + broken)
		s.sh(broken)
		s.wantFlow(user)
		s.sh(repair)
	}
}

// withoutUs are the ways in which postseal-pipe can be missing.
var withoutUs = map[string]string{
	"chmod 000 " + state:                                   "chmod 750 " + state,
	"mv " + state + " /tmp/away":                           "mv /tmp/away " + state,
	"mv " + pipe + " /tmp/pipe":                            "mv /tmp/pipe " + pipe,
	"cp " + config + " /tmp/toml; echo broken > " + config: "cp /tmp/toml " + config,
}

// fate is what a recipe says about the mail.
type fate string

const (
	delivered fate = "delivered"
	again     fate = "tried again" // by the neighbour's queue
	copied    fate = "delivered, copy tried again"
	refused   fate = "refused for now" // the sender's queue tries again
)

// fateLine is a line of the table in a recipe's README.
var fateLine = regexp.MustCompile(`(?m)^\| (\d+|killed|missing) \| ([a-z, ]+) \|`)

// fates reads what a recipe promises for each exit status of postseal-pipe.
func (s *site) fates(readme string) map[string]fate {
	s.t.Helper()
	all := map[string]fate{}
	for _, m := range fateLine.FindAllStringSubmatch(s.readFile(contrib(readme)), -1) {
		all[m[1]] = fate(m[2])
	}
	for _, status := range []string{"0", "1", "64", "75", "78", "killed", "missing"} {
		if all[status] == "" {
			s.t.Errorf("%s does not say what happens to the mail when postseal-pipe ends with: %s", readme, status)
		}
	}
	return all
}

// queue is how the neighbour's queue is looked at.
type queue struct {
	length   func() int
	deferred func() int // of these, how many were tried and failed for now
	flush    string     // shell: try everything now
}

// wantFates replaces postseal-pipe by a program that ends in each way, sends a mail
// that looks like a challenge, and holds what becomes of it against the recipe. Once
// the real program is back and the queue is flushed, the mail must have been
// delivered exactly once, and none may have bounced.
func (s *site) wantFates(user, readme string, q queue) {
	s.t.Helper()
	bounces := total(s.replies())
	s.sh("cp " + pipe + " /tmp/pipe.real")
	for status, want := range s.fates(readme) {
		s.breakPipe(status)
		s.wantFate(user, status, want, q)
		s.must(copyFile("/tmp/pipe.real", pipe+".new", 0o755))
		s.must(os.Rename(pipe+".new", pipe))
	}
	if n := total(s.replies()); n != bounces {
		s.t.Errorf("%d mails came back to the sender", n-bounces)
	}
}

// breakPipe puts a program in the place of postseal-pipe that reads its message and
// ends as told.
func (s *site) breakPipe(status string) {
	s.t.Helper()
	s.must(os.Remove(pipe))
	switch status {
	case "missing":
	case "killed":
		s.writeFile(pipe, "#!/bin/sh\ncat >/dev/null\nkill -9 $$\n", 0o755)
	case "0":
		// With --passthrough it writes the message; nobody reads that otherwise.
		s.writeFile(pipe, "#!/bin/sh\nif [ \"$1\" = --passthrough ]; then cat; else cat >/dev/null; fi\n", 0o755)
	default:
		s.writeFile(pipe, "#!/bin/sh\ncat >/dev/null\nexit "+status+"\n", 0o755)
	}
}

func (s *site) wantFate(user, status string, want fate, q queue) {
	s.t.Helper()
	s.t.Logf("postseal-pipe %s: %s", status, want)
	if want == refused {
		s.wantRefused(user, status)
		return
	}
	mark := s.sendOrdinary(user, "ACME: not a challenge")
	if want != again {
		s.wantInBox(user, mark, 1)
	}
	if want != delivered {
		s.waitFor("a deferred mail", func() bool { return q.deferred() == 1 })
	}
	if want == again && len(s.inBox(user, mark)) > 0 {
		s.t.Errorf("postseal-pipe %s: the mail is delivered although it will be tried again", status)
	}
	if want != delivered {
		s.must(copyFile("/tmp/pipe.real", pipe, 0o755))
		s.waitFor("an empty queue", func() bool {
			if q.length() == 0 {
				return true
			}
			runShell(q.flush)
			time.Sleep(200 * time.Millisecond)
			return false
		})
	}
	s.waitFor("an empty queue", func() bool { return q.length() == 0 })
	s.wantInBox(user, mark, 1)
}

// wantRefused wants a 4xx reply and no delivery.
func (s *site) wantRefused(user, status string) {
	s.t.Helper()
	mark, err := s.trySend(user, "ACME: not a challenge")
	var reply *smtp.SMTPError
	if !errors.As(err, &reply) || !reply.Temporary() {
		s.t.Errorf("postseal-pipe %s: the mail server said %v, want a temporary error", status, err)
	}
	s.wantFlow(user) // what came later has arrived, so that would have
	if len(s.inBox(user, mark)) > 0 {
		s.t.Errorf("postseal-pipe %s: the mail is delivered although its sender will try again", status)
	}
}

// blocked is a configuration whose SMTP server is not there.
const blocked = "smtp = \"smtp://127.0.0.1:26\"\n"

var smtpSetting = regexp.MustCompile(`(?m)^smtp = .*\n`)

// wantRetried blocks the way out while the challenge arrives, opens it, flushes the
// queue and wants the order to end well. restart makes the mail half read its
// configuration again, where that takes more than the next message.
func (s *site) wantRetried(as, name string, restart func(), flush string) {
	s.t.Helper()
	text := s.readFile(config)
	s.must(os.WriteFile(config, []byte(blocked+smtpSetting.ReplaceAllString(text, "")), 0o644))
	restart()
	if status, out := s.cert(as, "-e", name+"@"+domain, "--timeout", "2s"); status != 75 {
		s.t.Errorf("postseal cert: exit %d, want 75\n%s", status, out)
	}
	s.must(os.WriteFile(config, []byte(text), 0o644))
	before := s.replies()
	restart()
	if flush != "" {
		s.sh(flush)
	}
	s.wantAnsweredSince(before, as, name) // resumes the order
}

func nothing() {}
