package e2e

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"postseal/internal/mta"
	"postseal/internal/testca"
)

const alice = "alice@" + domain

const milters = "{ unix:postseal/milter.sock, default_action=accept, connect_timeout=2s, command_timeout=5s, content_timeout=30s }"

// Milter: the challenge is answered while the CA's SMTP connection waits, and
// delivered like any other mail.
func TestPostfixMilter(t *testing.T) {
	t.Parallel()
	s := newSite(t, testca.Config{Strict: true})
	post := mta.StartPostfix(t, mta.Postfix{Users: []string{"alice"}, Milters: milters, Relay: s.ca.SMTPAddr})
	s.ca.SetRelay(post.SMTPAddr)
	s.configure(post.SMTPAddr)
	s.startMilter(post.SocketDir(s.user.UID))
	s.mustCert(alice)
	s.wantReplies(testca.VerdictGood)
	wantChallenge(t, post.WaitMail("alice", 1)[0])
	post.WaitEmpty()
}

func wantChallenge(t *testing.T, msg []byte) {
	t.Helper()
	if !bytes.Contains(msg, []byte("\nSubject: ACME: ")) {
		t.Errorf("what was delivered is no challenge:\n%s", msg)
	}
}

// A forged challenge is ordinary mail.
func TestPostfixMilterForged(t *testing.T) {
	t.Parallel()
	s := newSite(t, testca.Config{Sign: testca.SignBad})
	post := mta.StartPostfix(t, mta.Postfix{Users: []string{"alice"}, Milters: milters, Relay: s.ca.SMTPAddr})
	s.ca.SetRelay(post.SMTPAddr)
	s.configure(post.SMTPAddr)
	s.startMilter(post.SocketDir(s.user.UID))
	status, out := s.cert("-e", alice, "--timeout", "3s")
	if status != 75 || !strings.Contains(out, "hint:") {
		t.Errorf("postseal cert: exit %d, want 75 and what to do\n%s", status, out)
	}
	wantChallenge(t, post.WaitMail("alice", 1)[0])
	s.wantReplies()
}

// pipe(8): a transport of its own delivers every message of the domain through
// postseal-pipe --passthrough into a Maildir, as a content filter would.
func TestPostfixPipe(t *testing.T) {
	t.Parallel()
	s := newSite(t, testca.Config{Strict: true})
	pipe := filepath.Join(s.bin, "postseal-pipe")
	post := mta.StartPostfix(t, mta.Postfix{
		Users: []string{"alice"}, Transport: "postseal:", Relay: s.ca.SMTPAddr,
		MasterCF: []string{
			"postseal unix - n n - 10 pipe",
			"  user=" + s.user.Name + " argv=" + pipe + " --config " + s.config + " --recipient ${original_recipient}",
		},
	})
	s.ca.SetRelay(post.SMTPAddr)
	s.configure(post.SMTPAddr)
	s.mustCert(alice)
	s.wantReplies(testca.VerdictGood)
	post.WaitLog("relay=postseal", "status=sent")
	post.WaitEmpty()
}

// The way out is blocked: the message stays in the queue and is answered once the
// way is open.
func TestPostfixPipeRetries(t *testing.T) {
	t.Parallel()
	s := newSite(t, testca.Config{Strict: true})
	pipe := filepath.Join(s.bin, "postseal-pipe")
	post := mta.StartPostfix(t, mta.Postfix{
		Users: []string{"alice"}, Transport: "postseal:", Relay: s.ca.SMTPAddr,
		MasterCF: []string{
			"postseal unix - n n - 10 pipe",
			"  user=" + s.user.Name + " argv=" + pipe + " --config " + s.config,
		},
	})
	s.ca.SetRelay(post.SMTPAddr)
	s.configure("127.0.0.1:1") // nobody listens there
	if status, out := s.cert("-e", alice, "--timeout", "3s"); status != 75 {
		t.Fatalf("postseal cert: exit %d, want 75\n%s", status, out)
	}
	post.WaitDeferred()
	s.configure(post.SMTPAddr)
	post.Flush()
	s.mustCert(alice) // resumes the order
	s.wantReplies(testca.VerdictGood)
	post.WaitEmpty()
}

// procmail: a recipe hands a copy of challenges to postseal-pipe.
func TestPostfixProcmail(t *testing.T) {
	t.Parallel()
	mta.Need(t, "procmail")
	s := newSite(t, testca.Config{Strict: true})
	post := mta.StartPostfix(t, mta.Postfix{MailboxCommand: `/usr/bin/procmail -a "$EXTENSION"`, Relay: s.ca.SMTPAddr})
	s.ca.SetRelay(post.SMTPAddr)
	s.configure(post.SMTPAddr)
	s.user.WriteFile(t, ".procmailrc", `DEFAULT=$HOME/Maildir/
:0 w
* ^Subject:.*ACME:
{
  :0 fw
  | `+filepath.Join(s.bin, "postseal-pipe")+` --config `+s.config+` --passthrough
}
`)
	s.mustCert(s.user.Name + "@" + domain)
	s.wantReplies(testca.VerdictGood)
	msg := mta.WaitMaildir(t, filepath.Join(s.user.Home, "Maildir"), 1)[0]
	wantChallenge(t, msg)
	if !bytes.Contains(msg, []byte("Postseal-Status: answered; ")) {
		t.Errorf("the delivered challenge has no status:\n%s", msg)
	}
	post.WaitEmpty()
}
