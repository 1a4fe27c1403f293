package challenge

import (
	"context"
	"testing"
)

// BenchmarkHostile measures a verdict about the worst messages. The goal is 50 ms of CPU and
// 20 MB for each.
func BenchmarkHostile(b *testing.B) {
	_, r := hostileSite(b)
	for _, c := range hostile {
		m := Message{Raw: []byte(c.message())}
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Compose(context.Background(), m)
			}
		})
	}
}

// BenchmarkOrdinary measures mail that is not a challenge.
func BenchmarkOrdinary(b *testing.B) {
	header := []byte(newDraft().with(subject("Minutes of Tuesday")...).String())
	b.ReportAllocs()
	for b.Loop() {
		if Candidate(header) {
			b.Fatal("a candidate")
		}
	}
}
