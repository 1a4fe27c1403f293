package issuer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"postseal/internal/failure"
	"postseal/internal/testca"
	"postseal/issuer/ca"
	"postseal/issuer/store"
	"postseal/state"
)

// childJob makes this test binary a process that obtains a certificate and dies, as by kill
// -9, at a step.
type childJob struct {
	State    string
	Settings store.Settings
	Timeout  time.Duration
	KillAt   StepKind
	Do       string // "" for an order; see doChild
}

const childVariable = "POSTSEAL_TEST_CHILD"

func TestMain(m *testing.M) {
	if job := os.Getenv(childVariable); job != "" {
		os.Exit(child(job))
	}
	os.Exit(m.Run())
}

func child(job string) int {
	var j childJob
	if err := json.Unmarshal([]byte(job), &j); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	i := New(Options{Dir: state.Open(j.State), Account: ca.AccountOptions{AgreeTerms: true}, OnStep: func(s Step) {
		if s.Kind == j.KillAt {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}})
	var err error
	if j.Do != "" {
		err = doChild(i, j)
	} else {
		_, err = i.Obtain(context.Background(), Request{Settings: j.Settings, Timeout: j.Timeout})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// killedAt runs a process that dies at a step, and returns false if it ended before.
func (w *world) killedAt(step StepKind, req Request) bool {
	w.t.Helper()
	cmd := w.child(childJob{State: w.dir.Path(), Settings: req.Settings, Timeout: req.Timeout, KillAt: step})
	err := cmd.Wait()
	if err == nil {
		return false
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		w.t.Fatalf("%v: %s", err, cmd.Stdout)
	}
	return true
}

// child starts a process that does a job.
func (w *world) child(j childJob) *exec.Cmd {
	w.t.Helper()
	job, err := json.Marshal(j)
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.CommandContext(w.t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(job))
	out := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	return cmd
}

// An order survives kill -9 at any step, and the next run completes it without a second
// order, account or answer.
func TestResumeAfterKill(t *testing.T) {
	steps := []StepKind{
		StepAccount, StepOrder, StepChallenge, StepWait, StepAnswer, StepPost, StepValid,
		StepFinalize, StepIssued, StepStored, StepHook,
	}
	for _, step := range steps {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testca.Config{MailTrigger: testca.MailOnOrder})
			req := w.request(alice)
			marker := filepath.Join(t.TempDir(), "hook")
			req.DeployHook = "echo ran >>" + marker
			if !w.killedAt(step, req) {
				t.Fatal("was not killed")
			}
			res := w.obtain(req)
			if res.P12 == "" || !store.Exists(res.P12) {
				t.Errorf("no container: %+v", res)
			}
			c := w.ca.Counters()
			// The kill strikes after the answer to newOrder and before its URL is on disk:
			// the only moment at which an order is lost.
			orders := map[bool]int{true: 2, false: 1}[step == StepOrder]
			if c.Events[testca.EventAccount] != 1 || c.Events[testca.EventOrder] != orders || c.Verdicts[testca.VerdictBad] != 0 {
				t.Errorf("%+v", c)
			}
			if got := string(mustRead(t, marker)); !strings.HasPrefix(got, "ran\n") {
				t.Errorf("hook: %q", got)
			}
			if left := append(w.entries("orders"), w.entries("pending")...); len(left) != 0 {
				t.Errorf("left over: %v", left)
			}
		})
	}
}

// Time runs out: exit status 75, the order stays, and the same command continues with the
// same order, record and key.
func TestResumeAfterTimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	held := make(chan struct{})
	w.answerWith(func(w *world, p *state.Pending, part1, from, to string) error {
		<-held
		return sendReply(w, p, part1, from, to)
	})
	req := w.request(alice)
	req.Timeout = 3 * time.Second
	_, err := w.issuer().Obtain(t.Context(), req)
	if failure.KindOf(err) != failure.KindLater || !strings.Contains(err.Error(), "waiting for the challenge mail") || !strings.Contains(err.Error(), "orders/"+alice) {
		t.Fatalf("exit %d: %v", failure.KindOf(err), err)
	}
	before, errBefore := w.dir.Pending(alice, time.Now())
	close(held)
	req.Timeout = 20 * time.Second
	w.obtain(req)
	if errBefore != nil || len(before) != 1 || w.ca.Counters().Events[testca.EventOrder] != 1 {
		t.Errorf("records %v, %v; %+v", before, errBefore, w.ca.Counters())
	}
	if a, err := w.dir.Answer(before[0].ID); err != nil || a == nil || a.Phase != state.Sent {
		t.Errorf("the answer belongs to another record: %+v, %v", a, err)
	}
}

// If an order died between two runs, another one replaces it.
func TestResumeDeadOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	w.answerWith(func(*world, *state.Pending, string, string, string) error { return nil })
	req := w.request(alice)
	w.leaveWaiting(req)
	path := w.dir.Path("orders", alice+".json")
	o, err := store.ReadOrder(path)
	if err != nil {
		t.Fatal(err)
	}
	o.URL += "x"
	if err := store.Write(path, o); err != nil {
		t.Fatal(err)
	}
	w.answerWith(nil)
	req.Timeout = 20 * time.Second
	w.obtain(req)
	if !w.said(StepNote, "ordering anew") {
		t.Errorf("%s", w.transcript())
	}
}

// A damaged order file, or one of another CA, is not an obstacle.
func TestResumeForeignFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{AlwaysReady: true})
	if err := w.issuer().prepare(); err != nil {
		t.Fatal(err)
	}
	path := w.dir.Path("orders", alice+".json")
	other := &store.Order{Version: store.Version, Settings: store.Settings{Emails: []string{alice}, Server: "https://other.example/dir"}}
	for name, write := range map[string]func() error{
		"torn":       func() error { return os.WriteFile(path, []byte(`{"version":`), 0o600) },
		"no version": func() error { return os.WriteFile(path, []byte(`{"version":0,"emails":["a@x"]}`), 0o600) },
		"other CA":   func() error { return store.Write(path, other) },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
		req := w.request(alice)
		req.Force = true
		if _, err := w.issuer().Obtain(t.Context(), req); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if store.Exists(path) {
			t.Errorf("%s: the order file is still there", name)
		}
	}
}

// Another process works on the same addresses: the second order waits until it has ended, or
// was killed, and then does the rest.
func TestOrdersFollowEachOther(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		emails []string
		end    string
		want   failure.Kind
	}{
		"ends":             {[]string{alice}, "answer", failure.KindNotDue},
		"is killed":        {[]string{alice}, "kill", failure.KindNone},
		"another set":      {[]string{"bob@example.test", alice}, "answer", failure.KindNone},
		"another, killed":  {[]string{"bob@example.test", alice}, "kill", failure.KindNone},
		"another capitals": {[]string{"bob@example.test", "ALICE@example.test"}, "answer", failure.KindNone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testca.Config{})
			held := make(chan struct{})
			came := make(chan struct{}, 9)
			w.answerWith(func(w *world, p *state.Pending, part1, from, to string) error {
				came <- struct{}{}
				<-held
				return sendReply(w, p, part1, from, to)
			})
			first := w.child(childJob{State: w.dir.Path(), Settings: w.request(alice).Settings, Timeout: time.Minute, KillAt: "none"})
			<-came
			waits := make(chan struct{})
			said := sync.OnceFunc(func() { close(waits) })
			w.onStep = func(s Step) {
				if strings.HasPrefix(s.Text, "waiting for another order") {
					said()
				}
			}
			ended := make(chan error, 1)
			req := w.request(tc.emails...)
			req.Timeout = time.Minute
			go func() {
				_, err := w.issuer().Obtain(t.Context(), req)
				ended <- err
			}()
			<-waits
			if tc.end == "kill" {
				_ = first.Process.Kill()
			}
			close(held)
			if err := <-ended; failure.KindOf(err) != tc.want {
				t.Errorf("exit %d: %v\n%s", failure.KindOf(err), err, w.transcript())
			}
			if err := first.Wait(); (err == nil) != (tc.end == "answer") {
				t.Errorf("the first: %v", err)
			}
		})
	}
}

// Sets that share addresses, in every sequence, in one batch: each gets its certificate, and
// no two wait for each other.
func TestSetsThatShareAddresses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	var reqs []Request
	for _, set := range []string{"a b c", "b c a d", "c a", "a c", "b", "d b", "a b", "c"} {
		var emails []string
		for _, local := range strings.Fields(set) {
			emails = append(emails, local+"@example.test")
		}
		reqs = append(reqs, w.request(emails...))
		reqs[len(reqs)-1].Timeout = time.Minute
	}
	w.issuer().Batch(t.Context(), reqs, 8, func(n int, _ *Result, err error) {
		if err != nil && failure.KindOf(err) != failure.KindNotDue {
			t.Errorf("%v: %v", reqs[n].Emails, err)
		}
	})
	if left := append(w.entries("orders"), w.entries("pending")...); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

// The wait for another process counts towards the timeout.
func TestLocked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{AlwaysReady: true})
	i := w.issuer()
	if err := i.prepare(); err != nil {
		t.Fatal(err)
	}
	unlock, err := i.disk.LockOrder(t.Context(), &store.Settings{Emails: []string{alice}, Server: w.ca.DirectoryURL}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	req := w.request(alice)
	req.Timeout = time.Second
	_, err = w.issuer().Obtain(t.Context(), req)
	if failure.KindOf(err) != failure.KindLater || !strings.Contains(err.Error(), "another order") {
		t.Errorf("%v", err)
	}
	unlock()
	w.obtain(w.request(alice))
}

// The CA is away when an order should resume: the order can wait.
func TestResumeUnreachable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	if !w.killedAt(StepWait, w.request(alice)) {
		t.Fatal("was not killed")
	}
	w.ca.Close()
	_, err := w.issuer().Obtain(t.Context(), w.request(alice))
	if failure.KindOf(err) != failure.KindLater || len(w.entries("orders")) != 1 || !strings.Contains(err.Error(), "cannot reach") {
		t.Errorf("%v, %v", err, w.entries("orders"))
	}
}

// The run asks for a passphrase once, before the wait, and not if nothing is due.
func TestAskPassphrase(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testca.Config{})
	asked := 0
	req := w.request(alice)
	req.AskPassphrase = func() (string, error) { asked++; return "typed word", nil }
	w.answerWith(func(*world, *state.Pending, string, string, string) error { return deliverAgain{} })
	w.leaveWaiting(req)
	w.answerWith(nil)
	req.Timeout = 20 * time.Second
	res := w.obtain(req)
	if _, err := w.issuer().Obtain(t.Context(), req); failure.KindOf(err) != failure.KindNotDue {
		t.Error(err)
	}
	if asked != 1 || res.PassphraseFile != "" {
		t.Errorf("asked %d times; %+v", asked, res)
	}
	if _, _, _, err := pkcs12.DecodeChain(mustRead(t, res.P12), "typed word"); err != nil {
		t.Error(err)
	}
}
