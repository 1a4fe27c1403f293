package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"postseal/state"
)

// claimsVariable makes the test binary a process that answers, for the state
// directory that it names.
const claimsVariable = "POSTSEAL_BENCH_CLAIMS"

// claimOnRequest answers a challenge for each line on stdin, which is its ID.
func claimOnRequest(path string) {
	dir := state.Open(path)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := answer(dir, lines.Text()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func answer(dir *state.Dir, id string) error {
	c, err := dir.Claim(record(id, alice), "<c>", "<r>", time.Now())
	if err != nil {
		return err
	}
	if err := c.Sending(); err != nil {
		return err
	}
	return c.Sent(time.Now())
}

// sizes are how many wait.
var sizes = []int{1, 1000, 100_000}

// BenchmarkState is the directory in which both halves meet.
func BenchmarkState(b *testing.B) {
	once(b, func() {
		report.group("5. The state directory")
		disk := stateWith(b, onDisk, 1)
		report.add("put, on disk", "µs", timed(100, func(i int) { check(b, disk.Put(record("p"+strconv.Itoa(i), alice))) }), nil, "")
		report.add("claim, sending, sent, on disk", "µs", timed(100, func(i int) { check(b, answer(disk, "a"+strconv.Itoa(i))) }), nil, "")
		report.add("wake-up of another process", "µs", wakeUps(b, disk), nil, "")
		var one []float64
		for _, n := range sizes {
			dir := stateWith(b, inMemory, n)
			lookups := timed(500, func(int) {
				if found, err := dir.Pending("user0@example.test", time.Now()); err != nil || len(found) != 1 {
					b.Fatal(found, err)
				}
			})
			if one == nil {
				one = lookups
			}
			report.add(fmt.Sprintf("look-up, %d pending", n), "µs", lookups, one, "1")
			report.add(fmt.Sprintf("put, %d pending, in memory", n), "µs", timed(500, func(int) { check(b, dir.Put(record("0", "user0@example.test"))) }), nil, "")
			index := dir.Index()
			report.add(fmt.Sprintf("is anything pending, %d pending", n), "µs", timed(5000, func(int) { _, err := index.Any(); check(b, err) }), nil, "")
			index.Close()
			startUp(b, dir, n)
		}
	})
}

// timed returns the times of n calls in µs.
func timed(n int, f func(i int)) (micros []float64) {
	for i := range n {
		began := time.Now()
		f(i)
		micros = append(micros, time.Since(began).Seconds()*1e6)
	}
	return micros
}

// wakeUps returns how long after an answer was sent another process knows, in µs.
func wakeUps(b *testing.B, dir *state.Dir) (micros []float64) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), claimsVariable+"="+dir.Path())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	check(b, err)
	check(b, cmd.Start())
	for i := range 100 {
		id := "w" + strconv.Itoa(i)
		_, err := io.WriteString(in, id+"\n")
		check(b, err)
		a, err := dir.WaitAnswer(context.Background(), id, nil)
		check(b, err)
		micros = append(micros, time.Since(a.Ended).Seconds()*1e6)
	}
	check(b, in.Close())
	check(b, cmd.Wait())
	return micros
}

// startUp measures a milter over a directory: until it answers for the first time,
// and what it holds then.
func startUp(b *testing.B, dir *state.Dir, n int) {
	socket := filepath.Join(shortDir(b, inMemory), "s")
	began := time.Now()
	p := startPostseal(b, socket, dir.Path())
	c, err := dial(socket)
	check(b, err)
	check(b, c.message(header(" lunch")))
	check(b, c.end())
	report.add(fmt.Sprintf("start-up of the milter, %d pending", n), "ms", []float64{time.Since(began).Seconds() * 1e3}, nil, "<= 1,000")
	report.add(fmt.Sprintf("memory of the milter, %d pending", n), "RSS MB", []float64{p.rss(b)}, nil, "<= 100")
}
