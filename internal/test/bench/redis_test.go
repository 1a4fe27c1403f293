package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postseal/internal/test/redistest"
	"postseal/state"
	"postseal/state/redis"
)

func openRedis(b *testing.B, server *redistest.Server) *redis.Store {
	s, err := redis.Open("redis://" + server.Addr())
	check(b, err)
	b.Cleanup(func() { s.Close() })
	return s
}

// BenchmarkRedis is Redis in place of the directory.
func BenchmarkRedis(b *testing.B) {
	once(b, func() {
		report.group("6. Redis on loopback, appendonly")
		server := redistest.WithPort(b, "appendonly yes")
		claims(b, server)
		manyClaims(b, server)
		ordinaryOnRedis(b)
	})
}

// claims are those of one delivery after the other.
func claims(b *testing.B, server *redistest.Server) {
	const n = 2000
	s := openRedis(b, server)
	records := make([]*state.Pending, n)
	for i := range records {
		records[i] = record("one"+strconv.Itoa(i), fmt.Sprintf("one%d@example.test", i))
		check(b, s.Put(records[i]))
	}
	held := make([]state.Claim, n)
	report.quantiles("claim", inMillis(timed(n, func(i int) {
		var err error
		held[i], err = s.Claim(records[i], "<c>", "<r>", time.Now())
		check(b, err)
	})), "<= 1")
	report.quantiles("sending, sent", inMillis(timed(n, func(i int) {
		check(b, held[i].Sending())
		check(b, held[i].Sent(time.Now()))
	})), "")
	report.quantiles("look-up", inMillis(timed(n, func(i int) {
		_, err := s.Pending(records[i].Email, time.Now())
		check(b, err)
	})), "")
}

func inMillis(micros []float64) []float64 {
	for i := range micros {
		micros[i] /= 1000
	}
	return micros
}

// manyClaims are those of many hosts at once. What counts is Redis' own processor
// time: the clients share the machine with it.
func manyClaims(b *testing.B, server *redistest.Server) {
	const hosts, each = 16, 2000
	records := make([][]*state.Pending, hosts)
	var filling sync.WaitGroup
	for h := range records {
		s := openRedis(b, server)
		filling.Go(func() {
			for i := range each {
				p := record(fmt.Sprintf("many%d-%d", h, i), fmt.Sprintf("many%d-%d@example.test", h, i))
				if err := s.Put(p); err != nil {
					b.Error(err)
				}
				records[h] = append(records[h], p)
			}
		})
	}
	filling.Wait()
	cpu, began := cpuOf(b, server.Pid()), time.Now()
	var claiming sync.WaitGroup
	for h := range records {
		s := openRedis(b, server)
		claiming.Go(func() {
			for _, p := range records[h] {
				if _, err := s.Claim(p, "<c>", "<r>", time.Now()); err != nil {
					b.Error(err)
				}
			}
		})
	}
	claiming.Wait()
	took, used := time.Since(began).Seconds(), cpuOf(b, server.Pid())-cpu
	report.add("claims by 16 hosts, clients included", "a second", []float64{hosts * each / took}, nil, "")
	report.add("claims on one core of Redis", "a second", []float64{hosts * each / used}, nil, ">= 10,000")
}

// cpuOf returns the processor time in seconds that a process has used.
func cpuOf(b *testing.B, pid int) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	check(b, err)
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	const user, system, ticks = 11, 12, 100
	u, err := strconv.Atoi(fields[user])
	check(b, err)
	s, err := strconv.Atoi(fields[system])
	check(b, err)
	return float64(u+s) / ticks
}

// ordinaryOnRedis is ordinary mail with either store, in turn.
func ordinaryOnRedis(b *testing.B) {
	for _, pending := range []int{0, 1} {
		server := redistest.WithPort(b)
		if pending > 0 {
			check(b, openRedis(b, server).Put(record("0", alice)))
		}
		dir := newSpoken("directory", startPostseal(b, newSocket(b), stateWith(b, inMemory, pending).Path()))
		shared := newSpoken("Redis", startPostseal(b, newSocket(b), "redis://"+server.Addr()))
		for round := range 4*rounds + 1 {
			dir.round(b, true, round > 0)
			shared.round(b, true, round > 0)
		}
		for _, x := range []*spoken{dir, shared} {
			goal := ""
			if x == shared {
				goal = "<= 1.05"
			}
			report.add(fmt.Sprintf("ordinary mail, %d pending, %s", pending, x.name), "CPU µs/message", x.cpu[true], dir.cpu[true], goal)
		}
		for _, x := range []*spoken{dir, shared} {
			report.add(fmt.Sprintf("the milter after that, %s", x.name), "RSS MB", []float64{x.milter.rss(b)}, nil, "")
		}
		if pending == 0 {
			idle(b, dir, shared)
			fresh := startPostseal(b, newSocket(b), "redis://"+server.Addr())
			time.Sleep(time.Second)
			report.add("milter that has seen no mail, Redis", "RSS MB", []float64{fresh.rss(b)}, nil, "<= 15")
		}
	}
}

// idle is what a milter costs that nobody talks to.
func idle(b *testing.B, milters ...*spoken) {
	for _, x := range milters {
		cpu := x.milter.cpu(b)
		time.Sleep(5 * time.Second)
		report.add("idle milter, "+x.name, "CPU % of a core", []float64{(x.milter.cpu(b) - cpu) / 5 * 100}, nil, "")
	}
}
