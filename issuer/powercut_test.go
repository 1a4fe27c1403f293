package issuer

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
	"postseal/issuer/store"
	"postseal/state"
)

// traced is a line of strace: the start of a call and its object.
type traced struct {
	at   time.Time
	took time.Duration
	call string // fsync, or rename for any call that names a file
	dir  string // the synced directory, or the one with a new name
}

var (
	fsyncLine  = regexp.MustCompile(`^\d+ +([\d.]+) fsync\(\d+<([^>]+)>\) += 0 <([\d.]+)>`)
	renameLine = regexp.MustCompile(`^\d+ +([\d.]+) (?:rename|link)(?:at2?)?\(.*"([^"]+)"(?:, [\w|]+)?\) += 0 <([\d.]+)>`)
	cutLine    = regexp.MustCompile(`^(\d+) +([\d.]+) (.*) <unfinished \.\.\.>$`)
	restLine   = regexp.MustCompile(`^(\d+) +[\d.]+ <\.\.\. \w+ resumed>(.*)$`)
)

func readTrace(t *testing.T, path string) (calls []traced) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	begun := map[string]string{} // by thread
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if m := cutLine.FindStringSubmatch(line); m != nil {
			begun[m[1]] = m[1] + " " + m[2] + " " + m[3]
			continue
		}
		if m := restLine.FindStringSubmatch(line); m != nil {
			line = begun[m[1]] + m[2]
		}
		if m := fsyncLine.FindStringSubmatch(line); m != nil {
			calls = append(calls, traced{unixTime(t, m[1]), seconds(t, m[3]), "fsync", m[2]})
		} else if m := renameLine.FindStringSubmatch(line); m != nil {
			calls = append(calls, traced{unixTime(t, m[1]), seconds(t, m[3]), "rename", filepath.Dir(m[2])})
		}
	}
	return calls
}

func seconds(t *testing.T, s string) time.Duration {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(f * float64(time.Second))
}

// unixTime reads 1767225600.123456 exactly.
func unixTime(t *testing.T, s string) time.Time {
	whole, part, _ := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	micro, err := strconv.ParseInt(part, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(sec, micro*1000)
}

// synced reports whether a directory had a new name before a moment, and whether the last one
// was on disk by then.
func synced(calls []traced, dir string, before time.Time) (named, durable bool) {
	for _, c := range calls {
		end := c.at.Add(c.took)
		switch {
		case c.dir != dir || !end.Before(before):
		case c.call == "rename":
			named, durable = true, false
		default:
			durable = true
		}
	}
	return named, durable
}

// Whatever has to survive a power cut is on disk, name and all, before the CA hears of it:
// the kernel says what was synced when, the CA when it was asked.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	heard := map[string]time.Time{} // the first request of each kind
	w := newWorld(t, testca.Config{Tamper: func(ca http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			mu.Lock()
			if name := resourceOf(req.URL.Path); heard[name].IsZero() {
				heard[name] = time.Now()
			}
			mu.Unlock()
			ca.ServeHTTP(rw, req)
		})
	}})
	for _, sub := range []string{"", "rollover", "revoke"} {
		w.underStrace(t, sub)
	}
	mu.Lock()
	defer mu.Unlock()
	calls := readTrace(t, w.traceFile(""))
	for _, file := range []string{store.CertFile, store.ChainFile, store.FullchainFile, store.KeyFile, store.P12File, store.PassphraseFile, store.RenewalFile} {
		in := func(c traced) bool {
			return c.call == "fsync" && strings.HasPrefix(c.dir, w.dir.Path("certs")+"/") && filepath.Base(c.dir) == file
		}
		if !slices.ContainsFunc(calls, in) { // before the order's file goes, which has the key, too
			t.Errorf("%s is not on disk", file)
		}
	}
	if named, durable := synced(calls, w.dir.Path("certs"), time.Now()); !named || !durable {
		t.Errorf("the certificate's directory: named %v, durable %v", named, durable)
	}
	for _, sub := range []string{"rollover", "revoke"} {
		calls = append(calls, readTrace(t, w.traceFile(sub))...)
	}
	account := w.accountDir()
	if named, durable := synced(calls, w.dir.Path("certs", alice), time.Now()); !named || !durable {
		t.Errorf("that it was revoked: named %v, durable %v", named, durable)
	}
	for _, promise := range []struct{ dir, request string }{
		{account, "new-account"},
		{w.dir.Path("accounts"), "new-account"},
		{w.dir.Path(), "new-account"},
		{w.dir.Path("orders"), "new-order"},
		{w.dir.Path("pending"), "new-order"},
		{w.dir.Path("orders"), "finalize"},
		{account, "key-change"},
		{w.dir.Path("certs", ".compromised"), "revoke-cert"},
		{w.dir.Path("certs"), "revoke-cert"},
	} {
		at := heard[promise.request]
		if at.IsZero() {
			t.Errorf("%s was never sent", promise.request)
			continue
		}
		named, durable := synced(calls, promise.dir, at)
		if !durable || !named && promise.dir != w.dir.Path("accounts") {
			t.Errorf("%s before %s: named %v, durable %v", promise.dir, promise.request, named, durable)
		}
	}
}

func (w *world) traceFile(job string) string { return w.dir.Path() + ".trace-" + job }

// underStrace runs a job in its own process.
func (w *world) underStrace(t *testing.T, what string) {
	mta.Need(t, "strace")
	req := w.request(alice)
	job, err := json.Marshal(childJob{State: w.dir.Path(), Settings: req.Settings, Timeout: req.Timeout, Do: what})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "strace", "-f", "-ttt", "-T", "-y", "-s", "4096", "-o", w.traceFile(what),
		"-e", "trace=fsync,rename,renameat,renameat2,link,linkat", os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(job))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// A claim records that it is sending, name and all on disk, before it returns: the final dot
// follows.
func TestPowerCutWhileSending(t *testing.T) {
	t.Parallel()
	w := &world{t: t, dir: state.Open(filepath.Join(t.TempDir(), "state"))}
	w.ca = &testca.CA{}
	w.underStrace(t, "send")
	calls := readTrace(t, w.traceFile("send"))
	if named, durable := synced(calls, w.dir.Path("answers"), time.Now()); !named || !durable {
		t.Errorf("named %v, durable %v: %v", named, durable, calls)
	}
}

// doChild does a childJob that is not an order.
func doChild(i *Issuer, j childJob) error {
	switch j.Do {
	case "rollover":
		c, err := i.CA(j.Settings.Server, j.Settings.CABundle)
		if err != nil {
			return err
		}
		return c.Rollover(context.Background())
	case "revoke":
		_, err := i.Revoke(context.Background(), Revocation{CertPath: i.Dir.Path("certs", alice, store.CertFile), Reason: "keycompromise"})
		return err
	case "send":
		p := &state.Pending{ID: "X", Email: alice, Server: "https://ca.example/", Thumbprint: "t"}
		if _, err := i.Dir.Create(); err != nil {
			return err
		}
		claim, err := i.Dir.Claim(p, "<c@x>", "<r@x>", time.Now())
		if err != nil {
			return err
		}
		return claim.Sending()
	}
	return fmt.Errorf("what is %q", j.Do)
}
