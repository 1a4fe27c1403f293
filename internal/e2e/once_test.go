package e2e

import (
	"bytes"
	"os/exec"
	"strings"
	"sync"
	"testing"

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
			verdict := pipeVerdict(t, y.pipeCommand(alice, msg))
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
