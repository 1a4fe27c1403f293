package milter

import "sync/atomic"

// budget bounds the bytes kept of messages over all connections: a thousand
// peers that each stay within the limits of one message would hold a gigabyte.
type budget struct {
	limit int64
	held  atomic.Int64
}

// take asks for n bytes more and tells whether they may be kept.
func (b *budget) take(n int) bool {
	if b.held.Add(int64(n)) > b.limit {
		b.held.Add(int64(-n))
		return false
	}
	return true
}

func (b *budget) give(n int) { b.held.Add(int64(-n)) }
