package state

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be a process that answers and dies.
func TestMain(m *testing.M) {
	if dir := os.Getenv("STATE_TEST_CLAIM"); dir != "" {
		claimAndWait(dir, os.Getenv("STATE_TEST_PHASE"))
	}
	os.Exit(m.Run())
}

// claimAndWait claims, moves on to a phase, reports that, and lives until stdin ends or
// somebody kills it. For "create", "answer" or "put" it does only that.
func claimAndWait(dir, phase string) {
	switch phase {
	case "create":
		note, err := Open(dir).Create()
		fmt.Println(note, err)
		os.Exit(0)
	case "answer":
		fmt.Println(Open(dir).Answer("1"))
		os.Exit(0)
	case "put":
		fmt.Println(Open(dir).Put(record("1", "alice@example.test", "ca")))
		os.Exit(0)
	}
	c, err := Open(dir).Claim(record("1", "alice@example.test", "ca"), "<c>", "<r>", time.Now())
	if err == nil && phase == string(Sending) {
		err = c.Sending()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// killedAt leaves the files of a process that was killed in a phase.
func killedAt(t *testing.T, d *Dir, phase Phase) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STATE_TEST_CLAIM="+d.Path(), "STATE_TEST_PHASE="+string(phase))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the process says %q", line)
	}
	if _, err := claim(d); !errors.Is(err, ErrBusy) {
		t.Errorf("while it lives: %v, want %v", err, ErrBusy)
	}
	cmd.Process.Kill()
	cmd.Wait()
}

func claim(d *Dir) (Claim, error) {
	return d.Claim(record("1", "alice@example.test", "ca"), "<c>", "<r>", now)
}

func mustClaim(t *testing.T, d *Dir) Claim {
	t.Helper()
	c, err := claim(d)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func phase(t *testing.T, d *Dir) Phase {
	t.Helper()
	a, err := d.Answer("1")
	if err != nil {
		t.Fatal(err)
	}
	if a == nil {
		return ""
	}
	return a.Phase
}

// Rule: of any number of processes that try at the same time exactly one claims.
func TestOneClaim(t *testing.T) {
	for range 5 { // where a file is written at once, few meet
		oneClaim(t)
	}
}

func oneClaim(t *testing.T) {
	d := newDir(t)
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			c, err := claim(d)
			if err == nil {
				won.Add(1)
				if err := errors.Join(c.Sending(), c.Sent(now)); err != nil {
					t.Error(err)
				}
				return
			}
			var done *DoneError
			if !errors.Is(err, ErrBusy) && !errors.As(err, &done) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d claims succeeded", won.Load())
	}
	if got := phase(t, d); got != Sent {
		t.Errorf("phase %q", got)
	}
}

// A process that dies before the final dot gives the claim back at once.
func TestDeadBeforeTheDot(t *testing.T) {
	d := newDir(t)
	for range 3 {
		killedAt(t, d, Claimed)
	}
	if got := phase(t, d); got != "" {
		t.Errorf("phase %q, want none", got)
	}
	c := mustClaim(t, d)
	if err := errors.Join(c.Sending(), c.Sent(now)); err != nil {
		t.Fatal(err)
	}
	if got := phase(t, d); got != Sent {
		t.Errorf("phase %q", got)
	}
}

// If a process dies after the final dot, it may have sent: nobody sends again.
func TestDeadAfterTheDot(t *testing.T) {
	d := newDir(t)
	killedAt(t, d, Sending)
	if got := phase(t, d); got != Unknown {
		t.Errorf("phase %q, want unknown", got)
	}
	var done *DoneError
	if _, err := claim(d); !errors.As(err, &done) || done.Answer.Phase != Unknown {
		t.Errorf("got %v, want that it is perhaps answered", err)
	}
}

// Whoever looks at a dead claim does not make it look alive to others.
func TestDeadWhileOthersLook(t *testing.T) {
	d := newDir(t)
	killedAt(t, d, Claimed)
	f, live, err := openProbed(d.Path("answers/1.json"))
	if err != nil || live {
		t.Fatalf("alive: %v, %v", live, err)
	}
	defer f.Close()
	if got := phase(t, d); got != "" {
		t.Errorf("phase %q, want none", got)
	}
	mustClaim(t, d)
}

// If many processes find a dead claim at the same time, still only one gets it.
func TestOneClaimAfterDeath(t *testing.T) {
	d := newDir(t)
	killedAt(t, d, Claimed)
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if c, err := claim(d); err == nil {
				won.Add(1)
				c.Sent(now)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d claims succeeded", won.Load())
	}
}

func TestGiveBackAndFailed(t *testing.T) {
	d := newDir(t)
	if err := mustClaim(t, d).GiveBack(); err != nil {
		t.Fatal(err)
	}
	if got := phase(t, d); got != "" {
		t.Errorf("after giving back: phase %q", got)
	}
	if err := mustClaim(t, d).Failed("550 no", now); err != nil {
		t.Fatal(err)
	}
	if a, _ := d.Answer("1"); a.Phase != Failed || a.Reason != "550 no" {
		t.Errorf("got %+v", a)
	}
	c := mustClaim(t, d) // a later delivery may try again
	if err := c.Unknown("reset", now); err != nil {
		t.Fatal(err)
	}
	if got := phase(t, d); got != Unknown {
		t.Errorf("phase %q", got)
	}
}

// A foreign file in the answer's place does not stop the answer.
func TestDamagedAnswer(t *testing.T) {
	d := newDir(t)
	var named string
	d.Damaged = func(path string, err error) { named = path }
	if err := os.WriteFile(d.Path("answers/1.json"), []byte("{"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := mustClaim(t, d).Sent(now); err != nil {
		t.Fatal(err)
	}
	if got := phase(t, d); got != Sent || !strings.HasSuffix(named, "answers/1.json") {
		t.Errorf("phase %q, reported %q", got, named)
	}
}

// Nor does anything else that has its name.
func TestNotAFileInPlaceOfAnAnswer(t *testing.T) {
	for what, place := range map[string]func(path string) error{
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"link":      func(path string) error { return os.Symlink("2.json", path) },
		"pipe":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
	} {
		d := newDir(t)
		var named string
		d.Damaged = func(path string, err error) { named = path }
		if err := place(d.Path("answers/1.json")); err != nil {
			t.Fatal(err)
		}
		if got := phase(t, d); got != "" || !strings.HasSuffix(named, "answers/1.json") {
			t.Errorf("%s: phase %q, reported %q", what, got, named)
		}
		if err := mustClaim(t, d).Sent(now); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got := phase(t, d); got != Sent {
			t.Errorf("%s: phase %q", what, got)
		}
	}
}

// The latest answers come first, and no more of them than asked for.
func TestAnswersLatestFirst(t *testing.T) {
	d := newDir(t)
	for n, id := range []string{"b", "c", "a"} {
		if err := claimAt(t, d, id, "ca", now).Sent(now); err != nil {
			t.Fatal(err)
		}
		at := now.Add(time.Duration(n) * time.Minute)
		if err := os.Chtimes(d.Path("answers", id+".json"), at, at); err != nil {
			t.Fatal(err)
		}
	}
	all, err := d.Answers(2)
	if err != nil || len(all) != 2 || all[0].ID != "a" || all[1].ID != "c" {
		t.Errorf("got %+v, %v", all, err)
	}
}

func TestNoLeftovers(t *testing.T) {
	d := newDir(t)
	c := mustClaim(t, d)
	if err := errors.Join(c.Sending(), c.Sent(now)); err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(d.Path("answers"))
	if len(entries) != 2 || entries[0].Name() != filepath.Base(d.counterPath(now)) || entries[1].Name() != "1.json" {
		t.Errorf("answers/ holds %v", entries)
	}
}

func TestWaitAnswer(t *testing.T) {
	d := newDir(t)
	type result struct {
		a   *Answer
		err error
	}
	got := make(chan result)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	wait := func(seen *Answer) {
		a, err := d.WaitAnswer(ctx, "1", seen)
		got <- result{a, err}
	}
	go wait(nil)
	mustClaim(t, d).Failed("550 no", now)
	failed := <-got
	if failed.err != nil || failed.a.Phase != Failed {
		t.Fatalf("got %+v", failed)
	}
	go wait(failed.a) // that one is known: wait for the next
	c, err := d.Claim(record("1", "alice@example.test", "ca"), "<c>", "<r>", now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	c.Sent(now)
	if r := <-got; r.err != nil || r.a.Phase != Sent {
		t.Errorf("got %+v", r)
	}
	cancel()
	if _, err := d.WaitAnswer(ctx, "other", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestForget(t *testing.T) {
	d := newDir(t)
	mustClaim(t, d).Sent(now)
	if err := d.Forget(time.Hour, time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := phase(t, d); got != Sent {
		t.Errorf("a fresh answer is gone: %q", got)
	}
	if err := d.Forget(time.Hour, time.Now().Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := phase(t, d); got != "" {
		t.Errorf("an old answer is still there: %q", got)
	}
}
