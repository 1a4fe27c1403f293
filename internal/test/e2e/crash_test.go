package e2e

import (
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postseal/internal/testca"
	"postseal/state"
)

var crashRounds = flag.Int("crash.rounds", 24, "how many orders TestCrash has killed on their way")

// crash is a site on which everything is killed all the time.
type crash struct {
	*yard
	kills [3]atomic.Int64 // of postseal cert, postseal-milter, postseal-pipe
	mails atomic.Int64    // deliveries that were tried
	lost  atomic.Int64

	rounds int // how many there were
	stop   chan struct{}
}

const (
	certKilled = iota
	milterKilled
	pipeKilled
)

// kill -9 of postseal cert, postseal-milter and postseal-pipe at random moments, with
// nobody's help from inside. Never two replies to one challenge, no order lost, no file
// torn, and the same command run again gets the certificate.
//
// A process that dies between "sending" and the dot leaves a reply in doubt, which is
// never sent again: the order for it is given up after a third of the time that is left,
// and another made.
//
// The steps of an order one by one are issuer.TestResumeAfterKill, those of an answer
// state.TestDeadBeforeTheDot and TestDeadAfterTheDot.
func TestCrash(t *testing.T) {
	c := &crash{stop: make(chan struct{})}
	c.yard = newYard(t, testca.Config{Validate: testca.ValidateOnArrival, MailRetry: 20 * time.Millisecond})
	c.through(c.anyDoor)
	var others sync.WaitGroup
	others.Go(c.superviseMilter)
	start := time.Now()
	var workers sync.WaitGroup
	rounds := make(chan int)
	for range 4 {
		workers.Go(func() {
			for n := range rounds {
				c.round(n)
			}
		})
	}
	for n := 0; n < *crashRounds || !c.everyKindKilled() && n < 10**crashRounds; n++ {
		rounds <- n
		c.rounds++
	}
	close(rounds)
	workers.Wait()
	close(c.stop)
	others.Wait()
	c.report(time.Since(start))
}

// round orders, kills, and orders again.
func (c *crash) round(n int) {
	addr := fmt.Sprintf("user%d@%s", n, domain)
	cmd := c.certCommand(addr)
	if c.killed(cmd, 400*time.Millisecond) {
		c.kills[certKilled].Add(1)
	}
	again := c.certCommand(addr)
	out, err := again.CombinedOutput()
	if status := again.ProcessState.ExitCode(); status != 0 && status != 2 { // 2: it had come to its end
		c.lost.Add(1)
		c.t.Errorf("round %d: the second run: %v\n%s", n, err, out)
	}
}

// killed starts a program, kills it at a random moment of a span, and reports whether
// it was still there to be killed.
func (c *crash) killed(cmd *exec.Cmd, span time.Duration) bool {
	c.must(cmd.Start())
	timer := time.AfterFunc(rand.N(span), func() { _ = cmd.Process.Kill() }) // it may have ended
	defer timer.Stop()
	_ = cmd.Wait() // the signal says it
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// anyDoor delivers through one of the two. Every second postseal-pipe is killed.
func (c *crash) anyDoor(from, to string, msg []byte) error {
	c.mails.Add(1)
	if rand.IntN(2) == 0 {
		return c.yard.milter(from, to, msg)
	}
	if rand.IntN(2) == 0 {
		return c.pipe(from, to, msg)
	}
	cmd := c.pipeCommand(msg)
	if c.killed(cmd, 20*time.Millisecond) {
		c.kills[pipeKilled].Add(1)
	}
	if !cmd.ProcessState.Success() {
		return fmt.Errorf("postseal-pipe: %v", cmd.ProcessState)
	}
	return nil
}

// superviseMilter kills postseal-milter after a while, and starts it again, as systemd
// would. The last one is ended before it returns.
func (c *crash) superviseMilter() {
	for stopped := false; !stopped; {
		cmd := c.asMail(filepath.Join(c.bin, "postseal-milter"), "--config", c.config, "--listen", "unix:"+c.socket)
		if err := cmd.Start(); err != nil {
			c.t.Error(err)
			return
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			c.t.Errorf("postseal-milter ended by itself: %v", err)
			return
		case <-time.After(100*time.Millisecond + rand.N(300*time.Millisecond)):
			c.kills[milterKilled].Add(1)
		case <-c.stop:
			stopped = true
		}
		_ = cmd.Process.Kill() // a child that was not waited for yet: its id is its own
		<-ended
	}
}

// everyKindKilled reports whether each of the three programs was caught at work once.
func (c *crash) everyKindKilled() bool {
	for n := range c.kills {
		if c.kills[n].Load() == 0 {
			return false
		}
	}
	return true
}

// report looks at what is left, and prints the counts.
func (c *crash) report(took time.Duration) {
	replies, doubles := repliesOf(c.t, c.ca)
	certs, torn, leftovers := c.wantWhole()
	events := c.ca.Counters().Events
	c.t.Logf("%d rounds in %v: killed postseal cert %d, postseal-milter %d, postseal-pipe %d times; %d deliveries; "+
		"replies sent %d, doubles %d; orders lost %d; torn files %d; certificates after a plain re-run %d; "+
		"orders at the CA %d; temporary files of the dead %d",
		c.rounds, took.Round(time.Second), c.kills[certKilled].Load(), c.kills[milterKilled].Load(), c.kills[pipeKilled].Load(), c.mails.Load(),
		replies, doubles, c.lost.Load(), torn, certs, events[testca.EventOrder], leftovers)
	if doubles > 0 || torn > 0 || certs != c.rounds {
		c.t.Error("the counts are not as they should be")
	}
	if !c.everyKindKilled() {
		c.t.Error("one of the programs was never killed: this says nothing")
	}
}

// wantWhole reads every file of the state directory as what it is meant to be.
func (c *crash) wantWhole() (certs, torn, leftovers int) {
	bad := func(path string, err error) { torn++; c.t.Errorf("%s: %v", path, err) }
	dir := state.Open(c.state)
	dir.Damaged = bad
	_, err := dir.Answers(100)
	c.must(err)
	waiting, err := dir.All(time.Now())
	c.must(err)
	if len(waiting) > 0 {
		c.t.Errorf("%d records of orders that have ended", len(waiting))
	}
	c.must(filepath.WalkDir(c.state, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		switch name := d.Name(); {
		case strings.HasPrefix(name, ".lock-"), strings.HasPrefix(name, ".count-"): // meant to stay
		case strings.HasPrefix(name, "."):
			leftovers++
		case strings.HasSuffix(name, ".json"):
			if data, err := os.ReadFile(path); err != nil || !json.Valid(data) {
				bad(path, fmt.Errorf("no JSON: %v", err))
			}
		case name == "privkey.pem" && !strings.Contains(path, "/."):
			certs++
			if _, err := tls.LoadX509KeyPair(filepath.Join(filepath.Dir(path), "fullchain.pem"), path); err != nil {
				bad(path, err)
			}
		}
		return nil
	}))
	return certs, torn, leftovers
}
