package e2e

import (
	"bytes"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-milter"

	"postseal/internal/testca"
)

// The same challenge fifty times at once, half through the milter and half through
// as many postseal-pipe: one reply.
func TestFiftyAtOnce(t *testing.T) {
	t.Parallel()
	y := newYard(t, testca.Config{Strict: true})
	y.startMilter(y.dir)
	mails := make(kept, 1)
	y.through(mails.take)
	ordered := make(chan struct{})
	go func() {
		defer close(ordered)
		y.order(alice)
	}()
	msg := <-mails

	var deliveries sync.WaitGroup
	var mu sync.Mutex
	verdicts := map[string]int{}
	for n := range 50 {
		deliveries.Go(func() {
			if n%2 == 0 {
				if err := y.milter("", alice, msg); err != nil {
					t.Errorf("through the milter: %v", err)
				}
				return
			}
			verdict := pipeVerdict(t, y.pipeCommand(msg))
			mu.Lock()
			defer mu.Unlock()
			verdicts[verdict]++
		})
	}
	deliveries.Wait()
	<-ordered
	y.wantReplies(testca.VerdictGood)
	t.Logf("25 deliveries through postseal-milter and 25 through postseal-pipe (%v): %d reply", verdicts, len(y.ca.Replies()))
}

// A stranger orders for his own address at the same CA, and hands us the CA's genuine
// mail with our address at RCPT: nobody waits for it, and alice's own is answered.
func TestEnvelopeSaysNothing(t *testing.T) {
	t.Parallel()
	y := newYard(t, testca.Config{Strict: true})
	y.startMilter(y.dir)
	msg, done := y.pendingMail(alice)
	mails := make(kept, 1)
	y.through(mails.take)
	eve := y.certCommand("eve@evil.test")
	eve.Args = append(eve.Args, "--state", t.TempDir())
	y.must(eve.Start())
	stranger := <-mails
	for _, mask := range []milter.OptProtocol{0x1fffff, 0} { // without RCPT, and with it
		if action, err := y.milterActionOf(mask, "ca@ca.test", alice, stranger); err != nil || action != milter.ActAccept {
			t.Errorf("milter, offered %#x: %q, %v", mask, byte(action), err)
		}
	}
	for _, name := range []string{"RECIPIENT", "ORIGINAL_RECIPIENT"} {
		cmd := y.pipeCommand(stranger)
		cmd.Env = append(cmd.Env, name+"="+alice)
		if verdict := pipeVerdict(t, cmd); verdict != "" {
			t.Errorf("postseal-pipe with %s: %s", name, verdict)
		}
	}
	y.must(eve.Process.Kill())
	_ = eve.Wait()
	y.must(y.milter("ca@ca.test", alice, msg))
	done()
	y.wantReplies(testca.VerdictGood)
}

// pipeVerdict runs a postseal-pipe, wants exit status 0, and returns the verdict in its
// one line.
func pipeVerdict(t *testing.T, cmd *exec.Cmd) string {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("postseal-pipe: %v: %s", err, &stderr)
	}
	for _, verdict := range []string{"already answered", "answered", "none", "refused"} {
		if strings.Contains(stderr.String(), verdict) {
			return verdict
		}
	}
	return stderr.String()
}
