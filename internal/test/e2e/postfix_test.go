package e2e

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

const alice = "alice@" + domain

const milters = "{ unix:postseal/milter.sock, default_action=accept, connect_timeout=2s, command_timeout=5s, content_timeout=30s }"

// Milter: the challenge is answered while the CA's SMTP connection waits, and
// delivered like any other mail.
func TestPostfixMilter(t *testing.T) {
	t.Parallel()
	s := newSite(t, testca.Config{Strict: true})
	post := s.behindMilter("alice")
	s.mustCert(alice)
	s.wantReplies(testca.VerdictGood)
	wantChallenge(t, post.WaitMail("alice", 1)[0])
	post.WaitEmpty()
}

func wantChallenge(t *testing.T, msg []byte) {
	t.Helper()
	if !bytes.Contains(msg, []byte("\nSubject: ACME: ")) {
		t.Errorf("what was delivered is not a challenge:\n%s", msg)
	}
}

// A forged challenge is ordinary mail.
func TestPostfixMilterForged(t *testing.T) {
	t.Parallel()
	s := newSite(t, testca.Config{Sign: testca.SignBad})
	post := s.behindMilter("alice")
	status, out := s.cert("-e", alice, "--timeout", "3s")
	if status != 75 || !strings.Contains(out, "hint:") {
		t.Errorf("postseal cert: exit %d, want 75 and what to do\n%s", status, out)
	}
	wantChallenge(t, post.WaitMail("alice", 1)[0])
	s.wantReplies()
}

// A challenge that is signed with S/MIME and not with DKIM, in both forms of header
// protection.
func TestPostfixSMIME(t *testing.T) {
	t.Parallel()
	for _, form := range []testca.Protection{testca.ProtectRFC9788, testca.ProtectRFC822} {
		t.Run(string(form), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, testca.Config{Strict: true, Sign: testca.SignSMIME, SMIMEForm: form})
			s.behindMilter("alice")
			s.mustCert(alice)
			s.wantReplies(testca.VerdictGood)
		})
	}
}

// An address whose local part is not ASCII: SMTPUTF8 both ways, and
// SmtpUTF8Mailbox in the certificate.
func TestPostfixInternational(t *testing.T) {
	t.Parallel()
	const jürgen = "jürgen@" + domain
	s := newSite(t, testca.Config{Strict: true})
	post := s.behindMilter(jürgen)
	if status, out := s.cert("-e", jürgen); status != 0 {
		t.Fatalf("postseal cert: exit %d\n%s", status, out)
	}
	s.wantReplies(testca.VerdictGood)
	post.WaitMail("jürgen", 1)
	text := s.openssl("x509", "-in", filepath.Join(s.state, "certs", jürgen, "cert.pem"), "-noout", "-text")
	if !strings.Contains(text, "othername: SmtpUTF8Mailbox:"+jürgen) && !strings.Contains(text, "othername: SmtpUTF8Mailbox::"+jürgen) {
		t.Errorf("the certificate has no SmtpUTF8Mailbox %s:\n%s", jürgen, text)
	}
}

// The CA sends the same challenge three times: one reply.
func TestPostfixCopies(t *testing.T) {
	t.Parallel()
	s := newSite(t, testca.Config{Strict: true, MailCopies: 3})
	post := s.behindMilter("alice")
	s.mustCert(alice)
	post.WaitMail("alice", 3)
	s.wantReplies(testca.VerdictGood)
}

// Parts of tokens joined as bytes, a folded or an encoded Subject, padding, a mail
// that leaves only after the POST: each as some CA does it.
func TestPostfixHabits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ca   testca.Config
		args []string
	}{
		"bytes":   {testca.Config{Join: testca.JoinBytes, Part1Bytes: 20}, []string{"--token-join", "bytes"}},
		"folded":  {testca.Config{SubjectForm: testca.SubjectFolded, Part1Bytes: 48}, nil},
		"encoded": {testca.Config{SubjectForm: testca.SubjectEncoded}, nil},
		"padded":  {testca.Config{PadPart1: true}, nil},
		"post":    {testca.Config{MailTrigger: testca.MailOnPost}, []string{"--trigger", "post"}},
		"order":   {testca.Config{MailTrigger: testca.MailOnOrder}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, c.ca)
			s.behindMilter("alice")
			if status, out := s.cert(append(c.args, "-e", alice)...); status != 0 {
				t.Fatalf("postseal cert: exit %d\n%s", status, out)
			}
			s.wantReplies(testca.VerdictGood)
		})
	}
}

// pipeTransport starts a Postfix with a transport of its own for the domain.
func (s *site) pipeTransport() *mta.Instance {
	s.t.Helper()
	post := mta.StartPostfix(s.t, mta.Postfix{
		Users: []string{"alice"}, Transport: "postseal:", Relay: s.ca.SMTPAddr,
		MasterCF: []string{
			"postseal unix - n n - 10 pipe",
			"  user=" + s.user.Name + " argv=" + filepath.Join(s.bin, "postseal-pipe") + " --config " + s.config,
		},
	})
	s.ca.SetRelay(post.SMTPAddr)
	return post
}

// pipe(8): a transport of its own hands every message for the domain to
// postseal-pipe, and exit status 0 ends the message's life.
func TestPostfixPipe(t *testing.T) {
	t.Parallel()
	s := newSite(t, testca.Config{Strict: true})
	post := s.pipeTransport()
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
	post := s.pipeTransport()
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
