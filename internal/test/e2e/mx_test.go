package e2e

import (
	"testing"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

// Two MX hosts with a state directory that both can reach: the challenge comes to
// both, one of them answers, and both deliver it.
func TestTwoMX(t *testing.T) {
	t.Parallel()
	s := newSite(t, testca.Config{Strict: true})
	first, second := s.behindMilter("alice"), s.behindMilter("alice") // the CA mails to the second
	s.mustCert(alice)
	challenge := second.WaitMail("alice", 1)[0]
	if err := first.Send("ca@far.test", alice, challenge); err != nil {
		t.Fatal(err)
	}
	wantChallenge(t, first.WaitMail("alice", 1)[0])
	s.wantReplies(testca.VerdictGood)
	first.WaitEmpty()
	second.WaitEmpty()
}

// Two MX hosts of which the one that the CA tries cannot reach its way out: 451,
// and the CA comes again to the other.
func TestSecondMX(t *testing.T) {
	t.Parallel()
	s := newSite(t, testca.Config{Strict: true})
	good := s.behindMilter("alice")
	broken := mta.StartPostfix(t, mta.Postfix{Users: []string{"alice"}, Milters: milters, Relay: s.ca.SMTPAddr})
	s.configure("127.0.0.1:1") // nobody listens there
	s.startMilter(broken.SocketDir(s.user.UID))
	s.ca.SetRelay(broken.SMTPAddr)
	done := make(chan string, 1)
	go func() {
		if status, out := s.cert("-e", alice); status != 0 {
			done <- out
		}
		close(done)
	}()
	broken.WaitLog("milter-reject", "4.7.1")
	s.ca.SetRelay(good.SMTPAddr)
	if out := <-done; out != "" {
		t.Fatalf("postseal cert:\n%s", out)
	}
	s.wantReplies(testca.VerdictGood)
	wantChallenge(t, good.WaitMail("alice", 1)[0])
}
