//go:build soak

package e2e

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

var soakTime = flag.Duration("soak.time", 10*time.Minute, "how long TestSoak goes on")

// sample is what postseal-milter uses of the machine at a moment.
type sample struct{ rss, goroutines, descriptors float64 }

// Postfix at full speed with a challenge every second: what the milter uses does not
// grow, and every challenge is answered, once.
func TestSoak(t *testing.T) {
	s := newSite(t, testca.Config{Strict: true})
	var users []string
	for n := range 20 {
		users = append(users, fmt.Sprintf("user%d", n))
	}
	post := mta.StartPostfix(t, mta.Postfix{
		Users: users, Milters: milters, Relay: s.ca.SMTPAddr,
		MainCF:   []string{"transport_maps = inline:{load.test=discard:}", "in_flow_delay = 0"},
		MasterCF: []string{"discard unix - - n - - discard"},
	})
	s.ca.SetRelay(post.SMTPAddr)
	s.configure(post.SMTPAddr)
	metrics := s.withMetrics()
	milter := s.startMilter(post.SocketDir(s.user.UID))

	end := time.Now().Add(*soakTime)
	var load, orders sync.WaitGroup
	var sent, certs atomic.Int64
	load.Go(func() {
		for time.Now().Before(end) {
			sent.Add(fullSpeed(t, post.SMTPAddr))
		}
	})
	var samples []sample
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	n := 0
	for ; time.Now().Before(end); n++ {
		<-tick.C
		addr := users[n%len(users)] + "@" + domain
		orders.Go(func() {
			if status, out := s.cert("-e", addr, "--force", "--timeout", "60s"); status != 0 {
				t.Errorf("postseal cert -e %s: exit %d\n%s", addr, status, out)
				return
			}
			certs.Add(1)
		})
		samples = append(samples, takeSample(t, metrics, milter.Process.Pid))
	}
	load.Wait()
	orders.Wait()
	replies := s.ca.Counters().Verdicts
	t.Logf("%v: %d ordinary messages, %d challenges, %d certificates, replies by verdict %v", *soakTime, sent.Load(), n, certs.Load(), replies)
	if len(replies) != 1 || replies[testca.VerdictGood] != n || int(certs.Load()) != n {
		t.Errorf("want %d good replies and nothing else", n)
	}
	wantFlat(t, "resident memory (MB)", samples, 0.2, 4, func(s sample) float64 { return s.rss / (1 << 20) })
	wantFlat(t, "goroutines", samples, 0.2, 20, func(s sample) float64 { return s.goroutines })
	wantFlat(t, "descriptors", samples, 0.2, 20, func(s sample) float64 { return s.descriptors })
}

// withMetrics adds metrics to the configuration, and returns where they are.
func (s *site) withMetrics() string {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	addr := l.Addr().String()
	s.must(l.Close())
	config, err := os.ReadFile(s.config)
	s.must(err)
	s.user.WriteFile(s.t, "postseal.toml", fmt.Sprintf("metrics = %q\n%s", addr, config))
	return "http://" + addr + "/metrics"
}

// fullSpeed sends a batch of ordinary messages as fast as Postfix takes them.
func fullSpeed(t *testing.T, addr string) (sent int64) {
	const batch = 1000
	out, err := exec.Command("/usr/sbin/smtp-source", "-s", "8", "-l", "4000", "-m", strconv.Itoa(batch),
		"-f", "bob@example.test", "-t", "carol@load.test", addr).CombinedOutput()
	if err != nil {
		t.Errorf("smtp-source: %v\n%s", err, out)
	}
	return batch
}

var metricLine = regexp.MustCompile(`(?m)^(process_resident_memory_bytes|go_goroutines) (\S+)$`)

func takeSample(t *testing.T, url string, pid int) sample {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, m := range metricLine.FindAllStringSubmatch(string(body), -1) {
		found[m[1]], _ = strconv.ParseFloat(m[2], 64)
	}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(found) != 2 || len(fds) == 0 {
		t.Fatalf("metrics %v, %d descriptors, %v", found, len(fds), err)
	}
	return sample{found["process_resident_memory_bytes"], found["go_goroutines"], float64(len(fds))}
}

// wantFlat compares the last third with the one before it: the first is the start.
func wantFlat(t *testing.T, what string, samples []sample, share, slack float64, value func(sample) float64) {
	t.Helper()
	third := len(samples) / 3
	middle := func(s []sample) float64 {
		var values []float64
		for _, v := range s {
			values = append(values, value(v))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	first, second, last := middle(samples[:third]), middle(samples[third:2*third]), middle(samples[2*third:])
	t.Logf("%s, median of each third: %s", what, strings.Trim(fmt.Sprintf("%.1f", []float64{first, second, last}), "[]"))
	if last > second*(1+share)+slack {
		t.Errorf("%s grows", what)
	}
}
