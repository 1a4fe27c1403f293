package milter

import (
	"bytes"
	"sync"
	"sync/atomic"

	"postseal/internal/challenge"
)

// phase is the progress of the message on a connection.
type phase int

const (
	idle       phase = iota // no message, or one with a verdict
	collecting              // after MAIL, if somebody waits for a challenge
	inBody                  // the header is a challenge's
)

// message is the part of a message that a connection keeps.
type message struct {
	phase     phase
	raw       []byte // header and body; from a pool unless it grew
	fields    int
	challenge bool // a Subject is a challenge's
	over      bool // the header is too large: nothing is kept
	truncated bool // larger than challenge.MaxMessage
	lost      bool // parts are missing because the budget was spent
	longAt    int  // 1 + the offset in raw of a field that arrives in pieces; 0: none does
	queueID   string
	charged   int // bytes taken from the budget

	budget      *budget
	isChallenge func(string) bool
	separator   string // between the name and the value of a field
}

// firstSize is enough for an ordinary header, and the budget does not count it: with 1,000
// connections it comes to 8 MB.
const firstSize = 8 << 10

var buffers = sync.Pool{New: func() any { return new([firstSize]byte) }}

// reset forgets the message. The next one must find nothing of it.
func (m *message) reset() {
	m.drop()
	m.phase, m.fields, m.queueID = idle, 0, ""
	m.challenge, m.over, m.truncated, m.lost, m.longAt = false, false, false, false, 0
}

// drop frees the bytes.
func (m *message) drop() {
	if cap(m.raw) == firstSize {
		buffers.Put((*[firstSize]byte)(m.raw[:firstSize]))
	}
	m.raw = nil
	m.budget.give(m.charged)
	m.charged = 0
}

// charge takes n bytes from the budget until drop.
func (m *message) charge(n int) bool {
	if !m.budget.take(n) {
		m.lost = true
		return false
	}
	m.charged += n
	return true
}

var subject = []byte("subject")

// isSubject also accepts the white space that obsolete syntax has before the colon (RFC 5322,
// Section 4.5), for a mail server that hands it over.
func isSubject(name []byte) bool {
	return len(name) >= len(subject) && bytes.EqualFold(bytes.TrimRight(name, " \t"), subject)
}

// packedField takes a field in the form of a packet: name, NUL, value, NUL.
func (m *message) packedField(data []byte) {
	name, value, _ := bytes.Cut(data, []byte{0})
	value, _, _ = bytes.Cut(value, []byte{0})
	m.field(name, value)
}

// longField takes a piece of a packet with a field. It appends the piece to raw unchanged,
// for endLongField.
func (m *message) longField(piece []byte) {
	if m.longAt == 0 {
		m.longAt = len(m.raw) + 1
	}
	if m.grow(len(piece)); !m.lost {
		m.raw = append(m.raw, piece...)
	}
}

func (m *message) endLongField() {
	at := m.longAt - 1
	m.longAt = 0
	if m.lost || at < 0 {
		return
	}
	data := bytes.Clone(m.raw[at:])
	m.raw = m.raw[:at]
	m.packedField(data)
}

// field takes one header field, as it arrived but for the line ends within.
func (m *message) field(name, value []byte) {
	if m.fields++; m.fields > challenge.MaxFields {
		m.tooLarge()
	}
	if m.over {
		return
	}
	if isSubject(name) && m.isChallenge(string(value)) {
		m.challenge = true
	}
	if m.lost {
		return
	}
	m.grow(len(name) + len(m.separator) + len(value) + bytes.Count(value, lf) + len(crlf))
	if m.lost {
		return
	}
	m.raw = append(m.raw, name...)
	m.raw = append(m.raw, m.separator...)
	m.appendCRLF(value)
	m.raw = append(m.raw, crlf...)
	if len(m.raw) > challenge.MaxHeader {
		m.tooLarge()
	}
}

var (
	lf   = []byte("\n")
	crlf = []byte("\r\n")
)

// appendCRLF appends a value with the line ends that were signed: mail servers hand folds
// over with LF.
func (m *message) appendCRLF(value []byte) {
	for {
		i := bytes.IndexByte(value, '\n')
		if i < 0 {
			m.raw = append(m.raw, value...)
			return
		}
		m.raw = append(m.raw, bytes.TrimSuffix(value[:i], []byte("\r"))...)
		m.raw = append(m.raw, crlf...)
		value = value[i+1:]
	}
}

// tooLarge records that the header exceeds the bounds: whatever follows, the message is not a
// challenge.
func (m *message) tooLarge() {
	m.over = true
	m.drop()
}

// endOfHeader reports whether the body is wanted.
func (m *message) endOfHeader() (wanted bool) {
	if m.phase != collecting || m.over || !m.challenge {
		return false
	}
	m.phase = inBody
	m.body(crlf)
	return true
}

// body takes a piece of the body.
func (m *message) body(chunk []byte) {
	if m.phase != inBody || m.lost || m.truncated {
		return
	}
	if room := challenge.MaxMessage - len(m.raw); len(chunk) > room {
		chunk, m.truncated = chunk[:room], true
	}
	m.grow(len(chunk))
	if !m.lost {
		m.raw = append(m.raw, chunk...)
	}
}

// grow makes room for n bytes, or sets lost if the budget is spent.
func (m *message) grow(n int) {
	if m.raw == nil {
		m.raw = buffers.Get().(*[firstSize]byte)[:0]
	}
	need := len(m.raw) + n
	if need <= cap(m.raw) {
		return
	}
	size := max(2*cap(m.raw), need)
	if !m.charge(size) {
		m.drop()
		return
	}
	larger := append(make([]byte, 0, size), m.raw...)
	if cap(m.raw) == firstSize {
		buffers.Put((*[firstSize]byte)(m.raw[:firstSize]))
	} else {
		m.charged -= cap(m.raw)
		m.budget.give(cap(m.raw))
	}
	m.raw = larger
}

// budget bounds the bytes kept of messages over all connections: a thousand
// peers that each stay within the limits of one message would hold a gigabyte.
type budget struct {
	limit int64
	held  atomic.Int64
}

// take asks for n more bytes and reports whether they may be kept.
func (b *budget) take(n int) bool {
	if b.held.Add(int64(n)) > b.limit {
		b.held.Add(int64(-n))
		return false
	}
	return true
}

func (b *budget) give(n int) { b.held.Add(int64(-n)) }
