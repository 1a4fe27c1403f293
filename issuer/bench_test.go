package issuer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
	"postseal/issuer/cert"
	"postseal/issuer/store"
)

// The cost of one certificate with CASTLE's client, CA and mail server on the same machine,
// measured once.
const (
	castleWall = 4.4 // seconds
	castleCPU  = 1.5
)

// processCost is the cost of one run of the program. It does not include the CA and the mail
// half, which run in the benchmark's process.
type processCost struct {
	wall, cpu time.Duration
	mib       float64 // at its largest
}

// runProgram runs "postseal cert" in its own process.
func (w *world) runProgram(b *testing.B, bin string, args ...string) processCost {
	b.Helper()
	args = append([]string{
		"cert", "--state", w.dir.Path(), "--server", w.ca.DirectoryURL, "--ca-bundle", w.bundle,
		"--non-interactive", "--agree-tos", "--token-join", "string",
	}, args...)
	cmd := exec.Command(filepath.Join(bin, "postseal"), args...)
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	u := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return processCost{time.Since(start), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), float64(u.Maxrss) / 1024}
}

// BenchmarkProgram makes one certificate, including process start, account and mail: the
// first one at a CA, and later ones. The ratios compare with CASTLE's client.
func BenchmarkProgram(b *testing.B) {
	bin := mta.Build(b, "postseal")
	for _, keyType := range []string{"p256", "rsa2048"} {
		b.Run(keyType, func(b *testing.B) {
			w := newWorld(b, testca.Config{Validate: testca.ValidateOnArrival})
			var sum processCost
			n := 0
			for b.Loop() {
				c := w.runProgram(b, bin, "-e", fmt.Sprintf("bench%d@example.test", n), "--key-type", keyType)
				sum.wall, sum.cpu, sum.mib = sum.wall+c.wall, sum.cpu+c.cpu, max(sum.mib, c.mib)
				n++
			}
			wall, cpu := sum.wall.Seconds()/float64(n), sum.cpu.Seconds()/float64(n)
			b.ReportMetric(wall*1000, "wall-ms")
			b.ReportMetric(cpu*1000, "cpu-ms")
			b.ReportMetric(sum.mib, "MiB")
			b.ReportMetric(castleWall/wall, "×castle-wall")
			b.ReportMetric(castleCPU/cpu, "×castle-cpu")
		})
	}
}

// BenchmarkFromFile makes 1,000 certificates in one command. Beside the wall time
// stands a floor: what the two cores would need if they did nothing but generate
// keys and exchange signed requests. It is accounted as
//
//	keys × CPU time of one key + requests × CPU time of one signed request
//
// over the number of cores. The requests are those that the CA counted. Unit
// costs are measured in the same run, with as many at a time as cores. That of a
// request has both ends in it (signature and its check, TLS, HTTP, JSON), since
// the CA runs on the same cores. Mails, files and whatever else is in the wall
// time are not in the floor. crypto-s is the part of the floor that is keys and
// our own signatures alone. cpu-s is the program's; busy-s what program, CA and
// mail half together needed, over the number of cores: on a machine that others
// use too, busy/floor still means something and wall/floor does not.
//
// Memory: MiB of the program at its largest, and how many times as much as with a
// quarter of the certificates.
func BenchmarkFromFile(b *testing.B) {
	bin := mta.Build(b, "postseal")
	for _, keyType := range []string{"p256", "rsa2048"} {
		b.Run(keyType, func(b *testing.B) {
			for b.Loop() {
				const n = 1000
				w := newWorld(b, testca.Config{Validate: testca.ValidateOnArrival})
				quarter := w.fromFile(b, bin, keyType, "first", n/4)
				before, idle, ours := w.requestCount(), idleTime(b), cpuTime()
				all := w.fromFile(b, bin, keyType, "user", n)
				idle, ours = idleTime(b)-idle, cpuTime()-ours
				busy := (all.cpu + ours) / time.Duration(runtime.NumCPU())
				requests := w.requestCount() - before

				key := unitCost(b, 100, func() error { _, err := cert.NewKey(keyType); return err })
				signed := w.signedRequestCost(b)
				floor := (n*key + time.Duration(requests)*signed) / time.Duration(runtime.NumCPU())
				crypto := n*key + time.Duration(n+requests)*signatureCost(b)

				b.ReportMetric(all.wall.Seconds(), "wall-s")
				b.ReportMetric(all.cpu.Seconds(), "cpu-s")
				b.ReportMetric(floor.Seconds(), "floor-s")
				b.ReportMetric(all.wall.Seconds()/floor.Seconds(), "wall/floor")
				b.ReportMetric(busy.Seconds(), "busy-s")
				b.ReportMetric(busy.Seconds()/floor.Seconds(), "busy/floor")
				b.ReportMetric(crypto.Seconds(), "crypto-s")
				b.ReportMetric(idle.Seconds(), "idle-s")
				b.ReportMetric(float64(requests)/n, "requests/cert")
				b.ReportMetric(all.mib, "MiB")
				b.ReportMetric(all.mib/quarter.mib, "MiB/quarter")
			}
		})
	}
}

// fromFile makes n certificates in one command.
func (w *world) fromFile(b *testing.B, bin, keyType, prefix string, n int) processCost {
	b.Helper()
	var list strings.Builder
	for k := range n {
		fmt.Fprintf(&list, "%s%04d@example.test\n", prefix, k)
	}
	path := filepath.Join(b.TempDir(), "list")
	if err := os.WriteFile(path, []byte(list.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	return w.runProgram(b, bin, "--from-file", path, "--key-type", keyType)
}

func (w *world) requestCount() (n int) {
	for _, count := range w.ca.Counters().Requests {
		n += count
	}
	return n
}

// signedRequestCost is the CPU time of reading the account: a signed POST with a small
// answer, on the client's side and the CA's.
func (w *world) signedRequestCost(b *testing.B) time.Duration {
	b.Helper()
	c, err := w.issuer().ca(w.ca.DirectoryURL, w.bundle)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := c.Ready(b.Context()); err != nil {
		b.Fatal(err)
	}
	order, err := c.NewOrder(b.Context(), acme.Order{
		Identifiers: []acme.Identifier{{Type: "email", Value: "unit@example.test"}},
	})
	if err != nil {
		b.Fatal(err)
	}
	return unitCost(b, 2000, func() error {
		_, err := c.OrderNow(context.Background(), order)
		return err
	})
}

// signatureCost is the CPU time of one signature with an account key.
func signatureCost(b *testing.B) time.Duration {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	return unitCost(b, 2000, func() error {
		_, err := ecdsa.SignASN1(rand.Reader, key, make([]byte, 32))
		return err
	})
}

// unitCost is the CPU time of this process for one call, n of them on all cores.
func unitCost(b *testing.B, n int, call func() error) time.Duration {
	b.Helper()
	next := make(chan struct{}, n)
	for range n {
		next <- struct{}{}
	}
	close(next)
	before := cpuTime()
	var workers sync.WaitGroup
	for range runtime.NumCPU() {
		workers.Go(func() {
			for range next {
				if err := call(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	workers.Wait()
	return (cpuTime() - before) / time.Duration(n)
}

// idleTime is the idle time of all cores since the machine started. The rest of wall × cores
// beyond idle-s and the two processes' CPU time belongs to other programs.
func idleTime(b *testing.B) time.Duration {
	b.Helper()
	var up, idle float64
	data, err := os.ReadFile("/proc/uptime")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := fmt.Sscan(string(data), &up, &idle); err != nil {
		b.Fatal(err)
	}
	return time.Duration(idle * float64(time.Second))
}

// BenchmarkEnroll is enroll with nothing to do, at 10,000 and 100,000 addresses with two kinds
// (goals: 1 s and 10 s beside the source's own time, 100 MB), and with 1,000 new addresses with
// two kinds at a CA that looks for the reply when it is told to (goal: 8 certificates a
// second).
func BenchmarkEnroll(b *testing.B) {
	bin := mta.Build(b, "postseal")
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint("nothing/", n), func(b *testing.B) {
			w := newWorld(b, testca.Config{})
			config := w.enrolled(b, n)
			var cost processCost
			for b.Loop() {
				cost = w.enroll(b, bin, config, 2)
			}
			b.ReportMetric(cost.wall.Seconds(), "wall-s")
			b.ReportMetric(cost.cpu.Seconds(), "cpu-s")
			b.ReportMetric(cost.mib, "MiB")
		})
	}
	b.Run("new/1000", func(b *testing.B) {
		for b.Loop() {
			w := newWorld(b, testca.Config{Validate: testca.ValidateOnPost})
			warm, config := w.enrollTable(b, "warm", 200), w.enrollTable(b, "user", 1000)
			w.enroll(b, bin, warm, 0) // teaches us how long to wait at this CA
			cost := w.enroll(b, bin, config, 0)
			b.ReportMetric(2000/cost.wall.Seconds(), "certs/s")
			b.ReportMetric(cost.cpu.Seconds(), "cpu-s")
			b.ReportMetric(cost.mib, "MiB")
		}
	})
}

// enrollTable writes a configuration for n addresses with two kinds.
func (w *world) enrollTable(b *testing.B, prefix string, n int) (config string) {
	b.Helper()
	var list strings.Builder
	for k := range n {
		fmt.Fprintf(&list, "%s%06d@example.test\n", prefix, k)
	}
	dir := b.TempDir()
	must(b, os.WriteFile(filepath.Join(dir, "list"), []byte(list.String()), 0o600))
	config = filepath.Join(dir, "postseal.toml")
	must(b, os.WriteFile(config, fmt.Appendf(nil, `server = %q
ca-bundle = %q
state = %q
agree-tos = true
token-join = "string"
key-type = "p256"
[kind.sign]
usage = ["digitalSignature"]
[kind.encrypt]
usage = ["keyAgreement"]
[[enroll]]
domain = "example.test"
source = "file:%s/list"
kinds = ["sign", "encrypt"]
max-gone = "100%%"
new-per-run = 5000
`, w.ca.DirectoryURL, w.bundle, w.dir.Path(), dir), 0o600))
	return config
}

// enrolled is a site where every address has both kinds.
func (w *world) enrolled(b *testing.B, n int) (config string) {
	b.Helper()
	if _, err := w.dir.Create(); err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	for k := range n {
		for _, kind := range []string{"encrypt", "sign"} {
			addr := fmt.Sprintf("user%06d@example.test", k)
			r := &store.Renewal{
				Version: store.Version, Settings: w.request(addr).Settings, Serial: strings.Repeat("12", 16), Fingerprint: strings.Repeat("ab", 32),
				CertID: strings.Repeat("x", 40), NotBefore: now.Add(-day), NotAfter: now.Add(89 * day), AskAfter: now.Add(day),
			}
			r.Kind = kind
			dir := w.dir.Path("certs", addr+","+kind)
			data, err := json.Marshal(r)
			must(b, errors.Join(err, os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, store.RenewalFile), data, 0o600)))
		}
	}
	return w.enrollTable(b, "user", n)
}

func (w *world) enroll(b *testing.B, bin, config string, want int) processCost {
	b.Helper()
	cmd := exec.Command(filepath.Join(bin, "postseal"), "enroll", "--non-interactive", "--config", config)
	start := time.Now()
	out, _ := cmd.CombinedOutput()
	if status := cmd.ProcessState.ExitCode(); status != want {
		b.Fatalf("exit %d\n%s", status, out)
	}
	u := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return processCost{time.Since(start), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), float64(u.Maxrss) / 1024}
}
