//go:build doors

package recipes

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postseal/internal/test/mta"
)

const smtpdConf = "/etc/smtpd.conf"

func TestOpenSMTPD(t *testing.T) {
	onMachine(t, "opensmtpd", func(s *site) {
		s.configureSMTPD()
		s.startSMTPD()
		pipeRow("", "opensmtpd/README.md", smtpdQueue).run(s, "OpenSMTPD")
	})
}

// configureSMTPD makes it Debian's configuration, with the recipe above the actions and
// a domain.
func (s *site) configureSMTPD() {
	s.t.Helper()
	s.systemWide()
	s.install("lib/before", "/usr/lib/postseal/before")
	s.edit(smtpdConf, "listen on localhost", "listen on 127.0.0.1\n"+s.readFile(contrib("opensmtpd/smtpd.conf")))
	s.edit(smtpdConf, `action "local" maildir alias`, `action "local" maildir wrapper "postseal" alias`)
	s.edit(smtpdConf, `# match from any for domain "example.org"`, `match from any for domain "example.test"`)
}

func (s *site) startSMTPD() {
	s.t.Helper()
	s.sh("smtpd -n && touch /etc/aliases && smtpd")
	s.waitPort(smtpAddr)
}

var smtpdQueue = queue{
	length: func() int { return countOutput("smtpctl show queue", "\n") },
	deferred: func() int {
		out, _ := runShell("smtpctl show queue")
		return strings.Count(out, "|pending|") - strings.Count(out, "|0|pending|")
	},
	flush: "smtpctl schedule all",
}

// forwards are lines of ~/.forward, as users write them; each leaves what it has to say
// below ~/$DOMAIN. The first ones are those of procmail's manual.
var forwards = []string{
	`"|exec /usr/bin/procmail"`,
	`|/usr/bin/procmail`,
	`"|IFS=' ' && exec /usr/bin/procmail -f- || exit 75"`,
	`"|IFS=' ' && exec /usr/bin/procmail -f- || exit 75 #alice"`,
	`|IFS=' ' && exec /usr/bin/procmail -f- || exit 75 #alice`,
	`|IFS=' '&&p=/usr/bin/procmail&&test -f $p&&exec $p -Yf-||exit 75`,
	`"|IFS=' '&&p=/usr/bin/procmail&&test -f $p&&exec $p -Yf-||exit 75#alice"`,
	`"|/usr/bin/procmail -t -a $EXTENSION || exit 1"`,
	`"|exec /usr/bin/procmail -m ~/.procmailrc || exit 75"`,

	`|cat >$DOMAIN/box`,
	`|>$DOMAIN/box cat`,
	`|exec >$DOMAIN/box; cat`,
	`|~/bin/deliver $DOMAIN/box`,
	`|cd $DOMAIN && cat >box`,
	`|cat >$DOMAIN/box # the end`,
	`|A=1 sh -c 'cat; echo $A' >$DOMAIN/box`,
	`|A=1 B="2 3"; (cat; echo "$A $B") >$DOMAIN/box`,
	`|date >/dev/null; cat >$DOMAIN/box`,
	`|cat >$DOMAIN/box; cat >$DOMAIN/rest`,
	`|read line; cat >$DOMAIN/box`,
	`|while IFS= read -r line; do echo "$line"; done >$DOMAIN/box`,
	`|cat | tr a-z A-Z | tee $DOMAIN/loud >$DOMAIN/box`,
	`|{ cat; echo end; } >$DOMAIN/box`,
	`|if grep -q lunch; then echo yes; else echo no; fi >$DOMAIN/box`,
	`|case $USER in alice) cat >$DOMAIN/box ;; esac`,
	`|f() { cat >$DOMAIN/box; }; f`,
	`|cat >$DOMAIN/box <&0 & wait`,
	`|cat <&0 >$DOMAIN/box & exit 0`,
	`|trap 'echo bye >$DOMAIN/bye' EXIT; cat >$DOMAIN/box`,
	`|eval "cat >\$DOMAIN/box"`,
	"|cat >`echo $DOMAIN`/box",
	`|printf '%%s' "50%% $(cat)" >$DOMAIN/box`,
	`|cat >"$DOMAIN/a box 'of' hers"`,
	`|for n in 1 2; do echo $n; done >$DOMAIN/box; cat >>$DOMAIN/box`,
	`|: ` + strings.Repeat("x", 600) + `; cat >$DOMAIN/box`,

	// The shell is as it would be: arguments, options, variables, traps, files.
	`|echo "$#:$*:$0:$-:$?:$!:$msg:$log:$status:$PPID" | sed 's/:[0-9]*$//' >$DOMAIN/box; cat >/dev/null`,
	`|set >$DOMAIN/box; cat >/dev/null; sed -i '/^PPID=/d; /^_=/d' $DOMAIN/box`,
	`|env | sort >$DOMAIN/box; cat >/dev/null`,
	`|trap >$DOMAIN/box; umask >>$DOMAIN/box; ulimit -a >>$DOMAIN/box; pwd >>$DOMAIN/box; cat >/dev/null`,
	`|ls /proc/$$/fd >$DOMAIN/box; cat >/dev/null`,

	// And so is its end.
	`|cat >$DOMAIN/box; exit 0`,
	`|cat >/dev/null; exit 1`,
	`|cat >/dev/null; exit 75`,
	`|cat >/dev/null; exit 111`,
	`|exit 0`,
	`|false`,
	`|! cat >$DOMAIN/box`,
	`|cat >$DOMAIN/box; kill -9 $$`,
	`|kill -TERM $$`,
	`|no-such-command`,
	`|/etc/passwd`,
	`|exec no-such-command || cat >$DOMAIN/box`,
	`|set -e; false; cat >$DOMAIN/box`,
	`|set -u; echo $NOBODY; cat >$DOMAIN/box`,
	`|. /no/such/file; cat >$DOMAIN/box`,
	`|cat </no/such/file >$DOMAIN/box`,
	`|&& cat`,
	`|; cat >$DOMAIN/box`,
	`|(cat >$DOMAIN/box`,
	`|echo 'never closed`,
	`|fi`,
	`|cat >$DOMAIN/box \`,
}

const procmailrc = "MAILDIR=$HOME/$DOMAIN\nDEFAULT=$HOME/$DOMAIN/box\nLOGFILE=$HOME/$DOMAIN/log\nLOGABSTRACT=no\n"

// Whatever command a user has in ~/.forward or the admin in an action, behind the
// wrapper it does what it does without: it leaves the same files, and smtpd has the
// same result from it.
func TestOpenSMTPDCommands(t *testing.T) {
	onMachine(t, "opensmtpd", func(s *site) {
		s.configureSMTPD()
		s.edit(smtpdConf, `match from any for domain "example.test"`, `
action "plain" maildir
action "plain mda" mda "IFS=' ' && exec cat >$DOMAIN/box || exit 75 # %{user.username}"
action "mda" mda "IFS=' ' && exec cat >$DOMAIN/box || exit 75 # %{user.username}" wrapper "postseal"
match from any for domain "plain.test" action "plain"
match from any for domain "plain-mda.test" action "plain mda"
match from any for domain "mda.test" action "mda"
match from any for domain "example.test"`)
		s.startSMTPD()
		s.writeFile("/home/alice/.procmailrc", procmailrc, 0o644)
		s.writeFile("/home/alice/bin/deliver", "#!/bin/sh\ncat >$1\n", 0o755)
		s.sameEnd(0, "an action's mda", "plain-mda.test", "mda.test")
		for n, line := range forwards {
			s.writeFile("/home/alice/.forward", line+"\n", 0o644)
			s.sameEnd(n+1, line, "plain.test", domain)
		}
		s.behindForward()
	})
}

// sameEnd sends a mail that looks like a challenge, which makes most work, to both
// domains, and compares what has become of it.
func (s *site) sameEnd(n int, command, plain, wrapped string) {
	s.t.Helper()
	want, got := s.endOf(n, plain), s.endOf(n, wrapped)
	if got != want {
		s.t.Errorf("%s\nbehind the wrapper:\n%s\nwithout:\n%s", command, got, want)
	}
	s.t.Logf("%s\n%s", command, regexp.MustCompile(`(?s)\n.*`).ReplaceAllString(got, ""))
}

// ended is smtpd's line about a delivery.
var ended = regexp.MustCompile(`result=.* stat=.*`)

// sameForAll leaves out what differs from mail to mail.
var sameForAll = regexp.MustCompile(`(?m)^(Received: .*\n([ \t].*\n)*|From .*\n|RECEIVED: .*\n([ \t].*\n)*)`)

// endOf is smtpd's word on a mail and the files that it left.
func (s *site) endOf(n int, to string) string {
	s.t.Helper()
	dir := "/home/alice/" + to
	s.sh("rm -rf " + dir + " && mkdir " + dir + " && chown -R alice: /home/alice")
	rcpt := fmt.Sprintf("alice+%d@%s", n, to)
	msg := fmt.Sprintf("From: a@b.test\r\nTo: %s\r\nSubject: ACME: lunch\r\n"+
		"Date: Sat, 28 Nov 2026 21:13:44 +0000\r\nMessage-ID: <1@b.test>\r\n\r\nFrom the kitchen\r\n%s\r\n", rcpt, strings.Repeat("soup\r\n", 50))
	if err := mta.Send(smtpAddr, "a@b.test", rcpt, []byte(msg)); err != nil {
		return strings.ReplaceAll(err.Error(), to, "DOMAIN") // smtpd itself takes no such line
	}
	var result string
	s.waitFor("the delivery to "+rcpt, func() bool {
		for line := range strings.Lines(s.log.String()) {
			if strings.Contains(line, "rcpt=<"+rcpt+">") && ended.MatchString(line) {
				result = ended.FindString(line)
			}
		}
		return result != ""
	})
	// A command may have left something in the background.
	s.waitFor("the end of the command", func() bool { _, err := runShell("pgrep -u alice"); return err != nil })
	files, err := filepath.Glob(dir + "/*")
	s.must(err)
	for _, name := range files {
		data, err := os.ReadFile(name)
		s.must(err)
		result += "\n" + name + ":\n" + sameForAll.ReplaceAllString(string(data), "")
	}
	result = strings.ReplaceAll(result, strings.ToUpper(to), "DOMAIN")
	return strings.ReplaceAll(result, to, "DOMAIN")
}

// behindForward has challenges answered behind a user's own command, and mail delivered
// when nothing of ours works.
func (s *site) behindForward() {
	s.t.Helper()
	s.writeFile("/home/bob/.procmailrc", "DEFAULT=$HOME/Maildir/\n", 0o644)
	s.writeFile("/home/bob/.forward", "|IFS=' ' && exec /usr/bin/procmail -f- || exit 75\n", 0o644)
	s.sh("chown -R bob: /home/bob")
	s.wantAnswered("", "bob")
	s.wantInBox("bob", challengeSubject, 1)
	s.wantFlowWhile("bob", withoutUs)
	s.wantFlowWhile("bob", map[string]string{
		"mv /usr/lib/postseal/before /tmp/before": "mv /tmp/before /usr/lib/postseal/before",
		"chmod 755 /tmp":        "chmod 1777 /tmp",
		"chmod 0 /usr/bin/sudo": "chmod 4755 /usr/bin/sudo",
	})
}
