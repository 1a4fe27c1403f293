package multimx

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

var (
	certs = flag.Int("hosts.certs", 300, "how many certificates TestThreeMX orders")
	calm  = flag.Bool("hosts.calm", false, "without faults: what contrib/scale.md says of Redis was counted so")
)

// knobs are our flags for the test that runs inside.
func knobs() []string {
	return []string{"-hosts.certs=" + strconv.Itoa(*certs), "-hosts.calm=" + strconv.FormatBool(*calm)}
}

// Three MX hosts share Redis. 300 certificates are ordered in one batch. After a
// quarter of the replies one host is cut off, after half the milter of another is
// killed and the first is back, after three quarters Redis is restarted. Everybody
// gets a certificate, and no challenge is answered twice. Ordinary mail is taken by
// every host that can be reached, all the time.
//
// Postfix lets a mail pass whose milter breaks off (default_action=accept), so the
// challenges that the killed milter had in hand are lost. The order for such a one
// stays; --trigger post tells the CA to look, which ends it, and the next run makes
// another.
func TestThreeMX(t *testing.T) {
	mta.NotShort(t)
	if !inNetwork(t) {
		return
	}
	s := newSite(t, 3, *certs)
	var faults faults
	if !*calm {
		faults = s.injectFaults()
	}
	load := s.ordinaryMail()
	list := filepath.Join(t.TempDir(), "list")
	var text strings.Builder
	for n := range *certs {
		fmt.Fprintln(&text, address(n))
	}
	s.must(os.WriteFile(list, []byte(text.String()), 0o600))

	start := now()
	status, out := s.cert(list, "--timeout", "20s")
	took := now().Sub(start)
	again := 0
	for _, args := range [][]string{{"--trigger", "post", "--timeout", "20s"}, {"--timeout", "20s"}, {"--timeout", "20s"}} {
		if status == 0 {
			break
		}
		t.Logf("exit %d:\n%s", status, tail(out))
		again++
		status, out = s.cert(list, args...)
	}
	if status != 0 {
		t.Errorf("postseal cert: exit %d\n%s", status, tail(out))
	}
	load.stop()
	faults.wait()
	s.report(took, again, load)
	s.reportRedis(*certs)
}

// report prints the counts and says which are wrong.
func (s *site) report(took time.Duration, again int, load *load) {
	replies, doubles := s.doubles()
	found, err := filepath.Glob(filepath.Join(s.dir, "certs", "*@*", "cert.p12"))
	s.must(err)
	deaths, byHost := 0, []int{}
	for _, m := range s.hosts {
		deaths += m.milter.deaths
		byHost = append(byHost, strings.Count(m.milter.log.String(), "answered"))
	}
	c := s.ca.Counters()
	s.t.Logf("%d certificates of %d in %v, %d runs more; orders at the CA %d; challenges delivered to two hosts %d, refused for now %d, host not reached %d; "+
		"replies %d, doubles %d, answered by host %v; milters killed %d; ordinary mail taken %d, refused %d, host not reached %d",
		len(found), *certs, took.Round(time.Millisecond), again, c.Events[testca.EventOrder], s.twice.Load(), s.refused.Load(), s.unreachable.Load(),
		replies, doubles, byHost, deaths, load.taken.Load(), load.refused.Load(), load.unreachable.Load())
	if len(found) != *certs || doubles > 0 || load.refused.Load() > 0 {
		s.t.Error("the counts are not as they should be")
	}
	if !*calm && (deaths == 0 || s.unreachable.Load() == 0) {
		s.t.Error("the faults had no effect: this says nothing")
	}
}

// faults are over when the channel is closed; nil if there are none.
type faults chan struct{}

func (f faults) wait() {
	if f != nil {
		<-f
	}
}

// injectFaults makes them when the replies have come so far. They are over when all is
// as before.
func (s *site) injectFaults() faults {
	done := make(faults)
	steps := make(chan int, 3) // the faults take their time, the CA goes on
	s.reached = func(n int) {
		for quarter := 1; quarter <= 3; quarter++ {
			if n == quarter**certs/4 {
				steps <- quarter
			}
		}
	}
	go func() {
		defer close(done)
		for range 3 {
			switch <-steps {
			case 1:
				ip(s.t, "link set "+cableOf(1)+" down")
			case 2:
				s.hosts[1].milter.kill()
				ip(s.t, "link set "+cableOf(1)+" up")
			case 3:
				s.redis.Stop()
				time.Sleep(2 * time.Second) // how long it is away
				s.redis.Restart()
			}
		}
	}()
	return done
}

// load is ordinary mail.
type load struct {
	end, ended                  chan struct{}
	taken, refused, unreachable atomic.Int64
}

func (l *load) stop() { close(l.end); <-l.ended }

const lunch = "From: bob@far.test\r\nTo: user000@example.test\r\nSubject: lunch\r\n\r\nAt noon?\r\n"

// ordinaryMail sends to all hosts in turn until it is stopped.
func (s *site) ordinaryMail() *load {
	l := &load{end: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(l.ended)
		for n := 0; ; n++ {
			select {
			case <-l.end:
				return
			case <-time.After(20 * time.Millisecond):
			}
			err := transmit(s.hosts[n%len(s.hosts)], "bob@far.test", address(0), []byte(lunch))
			switch {
			case err == nil:
				l.taken.Add(1)
			case refused(err):
				l.refused.Add(1)
				s.t.Logf("ordinary mail: %v", err)
			default:
				l.unreachable.Add(1)
			}
		}
	}()
	return l
}

// tail returns the end of a long text.
func tail(text string) string {
	return text[max(0, len(text)-3000):]
}
