package bench

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"golang.org/x/sys/unix"

	"postseal/internal/test/mta"
	"postseal/state"
)

// rounds is how often each candidate has its turn, after one that does not count.
const rounds = 11

// onDisk is where fsync costs something. Everything else is in memory, so that the
// queue of Postfix does not hide what a milter costs.
const onDisk, inMemory = "/var/tmp", "/dev/shm"

var report table

func TestMain(m *testing.M) {
	if dir := os.Getenv(claimsVariable); dir != "" {
		claimOnRequest(dir)
		os.Exit(0)
	}
	os.Setenv("TMPDIR", inMemory)
	os.Setenv("CGO_ENABLED", "0") // as the programs are released
	code := m.Run()
	report.print()
	_ = os.RemoveAll(programDir) // "" if nothing was compiled
	os.Exit(code)
}

// table is what is printed in the end.
type table struct{ lines []string }

func (t *table) group(title string) {
	t.lines = append(t.lines, "", title, fmt.Sprintf("  %-44s %-26s %10s %8s   %s", "", "", "median", "ratio", "goal"))
}

// add notes the figures of one candidate, with their ratio to others of the same
// rounds if there are any.
func (t *table) add(name, unit string, values, to []float64, goal string) {
	if len(values) == 0 {
		return
	}
	ratio := ""
	if to != nil {
		ratio = fmt.Sprintf("%.2f", median(ratios(values, to)))
	}
	t.lines = append(t.lines, fmt.Sprintf("  %-44s %-26s %10.4g %8s   %s", name, unit, median(values), ratio, goal))
}

func (t *table) say(format string, args ...any) {
	t.lines = append(t.lines, "  "+fmt.Sprintf(format, args...))
}

func (t *table) print() { fmt.Println(strings.Join(t.lines, "\n")) }

func median(v []float64) float64 { return quantile(v, 0.5) }

func quantile(v []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(v))
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}

func ratios(v, to []float64) []float64 {
	r := make([]float64, len(v))
	for i := range v {
		r[i] = v[i] / to[i]
	}
	return r
}

// once runs a benchmark once, whatever number of iterations is asked for: it has
// rounds of its own.
func once(b *testing.B, run func()) {
	b.StopTimer()
	if b.N == 1 {
		run()
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// process is a program under test.
type process struct {
	*exec.Cmd
	socket string
}

// start starts a program that makes a socket.
func start(t testing.TB, socket, program string, args ...string) *process {
	t.Helper()
	p := &process{exec.Command(program, args...), socket}
	var stderr bytes.Buffer
	p.Cmd.Stderr = &stderr
	check(t, p.Start())
	t.Cleanup(func() {
		_ = p.Process.Kill() // no matter: it is gone then
		_ = p.Wait()
		if t.Failed() {
			t.Log(stderr.String())
		}
	})
	mta.WaitFor(t, "the socket of "+program, func() bool {
		_, err := os.Stat(socket)
		return err == nil
	})
	check(t, os.Chmod(socket, 0o666))
	return p
}

// cpu returns the processor time in seconds that a process has used, ended threads
// included, in the kernel's own resolution.
func (p *process) cpu(t testing.TB) float64 {
	t.Helper()
	const scheduled = 2 // CPUCLOCK_SCHED: user and system
	var ts unix.Timespec
	check(t, unix.ClockGettime(int32(^p.Process.Pid<<3|scheduled), &ts))
	return time.Duration(ts.Nano()).Seconds()
}

// rss returns the resident memory in MB.
func (p *process) rss(t testing.TB) float64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	check(t, err)
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	check(t, err)
	return float64(kb) / 1024
}

// shortDir makes a directory whose path leaves room for that of a socket.
func shortDir(t testing.TB, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "pb-")
	check(t, err)
	check(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	return dir
}

// programDir is where programs has put them.
var programDir string

// programs compiles ours and those they are compared with.
var programs = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp(inMemory, "pb-programs-"); err != nil {
		return "", err
	}
	programDir = dir
	reader := filepath.Join(dir, "reader.go")
	const source = "package main\n\nimport (\"io\"; \"os\")\n\nfunc main() { io.Copy(io.Discard, os.Stdin) }\n"
	if err := os.WriteFile(reader, []byte(source), 0o600); err != nil {
		return "", err
	}
	for _, cmd := range [][]string{
		{"gcc", "-O2", "-o", filepath.Join(dir, "accept"), "testdata/accept.c", "-lmilter", "-lpthread"},
		{"go", "build", "-buildvcs=false", "-trimpath", "-o", dir + "/", "postseal/cmd/postseal-milter", "postseal/cmd/postseal-pipe"},
		{"go", "build", "-trimpath", "-o", filepath.Join(dir, "reader"), reader},
	} {
		build := exec.Command(cmd[0], cmd[1:]...)
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // as in make build
		if out, err := build.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%v: %w\n%s", cmd, err, out)
		}
	}
	return dir, nil
})

func program(t testing.TB, name string) string {
	t.Helper()
	dir, err := programs()
	check(t, err)
	return filepath.Join(dir, name)
}

const (
	alice    = "alice@example.test"
	caDomain = "ca.test"
	caAddr   = "acme-challenge@" + caDomain
	selector = "s1"
)

// stateWith makes a state directory with n records.
func stateWith(t testing.TB, parent string, n int) *state.Dir {
	t.Helper()
	dir := state.Open(filepath.Join(shortDir(t, parent), "state"))
	_, err := dir.Create()
	check(t, err)
	for i := range n {
		check(t, dir.Put(record(strconv.Itoa(i), fmt.Sprintf("user%d@example.test", i))))
	}
	return dir
}

func record(id, email string) *state.Pending {
	now := time.Now()
	return &state.Pending{
		ID: id, Email: email, Server: "https://ca.test/directory", From: caAddr, Token: "x6I65YvEk6xC4KV0QMvdJw",
		Thumbprint: "hC4xyXNn8ZDH4yrcp93Zj3qgQs7LyT_GUL45YD7IVMQ", Join: "string", Created: now, Expires: now.Add(time.Hour),
	}
}

var signingKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func keyRecord(t testing.TB) string {
	t.Helper()
	public, err := x509.MarshalPKIXPublicKey(&signingKey().PublicKey)
	check(t, err)
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(public)
}

// signed signs a message with the CA's key.
func signed(t testing.TB, mail string) []byte {
	t.Helper()
	var out bytes.Buffer
	check(t, dkim.Sign(&out, strings.NewReader(mail), &dkim.SignOptions{
		Domain: caDomain, Selector: selector, Signer: signingKey(),
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
		HeaderKeys: []string{"From", "To", "Subject", "Date", "Reply-To", "Message-ID", "Auto-Submitted"},
	}))
	return out.Bytes()
}

const body = "This is a line of ordinary length in the body of a message.\r\n"

// ordinaryMail is what most mail looks like: 25 header fields, one of them a
// signature, 5.3 KB.
func ordinaryMail(t testing.TB) []byte {
	t.Helper()
	var b strings.Builder
	for i := range 18 {
		fmt.Fprintf(&b, "X-Field-%d: some value of an ordinary length, folded once\r\n\tlike this\r\n", i)
	}
	b.WriteString("From: bob@" + caDomain + "\r\nTo: " + alice + "\r\nSubject: lunch tomorrow?\r\nDate: " +
		time.Now().Format(time.RFC1123Z) + "\r\nMessage-ID: <1@ca.test>\r\nMIME-Version: 1.0\r\n\r\n")
	b.WriteString(strings.Repeat(body, 47))
	return signed(t, b.String())
}

// challengeMail is a challenge of 5 KB, as CAs with a long explanation send.
func challengeMail(t testing.TB) []byte {
	t.Helper()
	return signed(t, "From: "+caAddr+"\r\nTo: "+alice+"\r\nSubject: ACME: V4nE8NhYh6edBpfQTg5qqQ\r\n"+
		"Date: "+time.Now().Format(time.RFC1123Z)+"\r\nMessage-ID: <1@ca.test>\r\nAuto-Submitted: auto-generated; type=acme\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"+strings.Repeat(body, 75))
}
