package enroll

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// domain is a mail server with that many mailboxes, all but one in a hundred of which have
// a certificate.
func domain(b *testing.B, n int) (dir string, tbl Table, have Holdings) {
	b.Helper()
	dir, have = b.TempDir(), Holdings{}
	var list strings.Builder
	for k := range n {
		addr := fmt.Sprintf("firstname.lastname%d@example.org", k)
		fmt.Fprintln(&list, addr)
		if k%100 != 0 {
			have[addr] = []Held{{"", Certificate}}
		}
	}
	path := filepath.Join(dir, "list")
	if err := os.WriteFile(path, []byte(list.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	tbl = table(b, "")
	tbl.Source = "cat " + path
	return dir, tbl, have
}

// BenchmarkRun is all of a run but reading certificates and ordering: the source, the
// memory, the plan, and the memory again.
func BenchmarkRun(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir, tbl, have := domain(b, n)
			run(b, dir, tbl, have) // the first one has nothing to read
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			b.ReportAllocs()
			for b.Loop() {
				list, m, all := run(b, dir, tbl, have)
				b.StopTimer()
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB-kept")
				runtime.KeepAlive([]any{list, m, all})
				b.StartTimer()
			}
		})
	}
}

func run(b *testing.B, dir string, tbl Table, have Holdings) (Source, Memory, []Step) {
	list, err := ReadSource(b.Context(), tbl, nil)
	if err != nil {
		b.Fatal(err)
	}
	book := open(b, dir)
	m, err := book.Memory(tbl, list)
	if err != nil {
		b.Fatal(err)
	}
	next, all, err := Plan(time.Now(), tbl, false, list, m, have)
	if err != nil {
		b.Fatal(err)
	}
	if err := book.Save(next); err != nil {
		b.Fatal(err)
	}
	return list, next, all
}

func BenchmarkParts(b *testing.B) {
	dir, tbl, have := domain(b, 100_000)
	list, m, _ := run(b, dir, tbl, have)
	for name, part := range map[string]func(){
		"source": func() { ReadSource(b.Context(), tbl, nil) },
		"key":    func() { keysOf(list.Addresses) },
		"open":   func() { open(b, dir) },
		"plan":   func() { Plan(time.Now(), tbl, false, list, m, have) },
		"save":   func() { save(b, dir, m) },
		"left":   func() { leftIn(dir) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				part()
			}
		})
	}
}
