package redis

import (
	"context"
	"errors"
	"net"
	"strconv"
	"syscall"

	goredis "github.com/redis/go-redis/v9"
)

// Bounds of a reply. The library allocates whatever length a server announces, so a broken
// server, or somebody in between, could end the program with a few bytes. Our replies have no
// string over 64 KiB; the largest others are INFO and the slots of a Cluster.
const (
	maxReply    = 16 << 20 // bytes of a whole reply
	maxString   = 1 << 20  // bytes
	maxLine     = 64 << 10 // bytes
	maxElements = 256 << 10
	maxDepth    = 8
)

var errReply = errors.New("the server's reply is too large, or not of Redis' protocol")

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// boundedDialer makes the same connections as the library, with bounded replies.
func boundedDialer(o *goredis.Options) dialer {
	dial := goredis.NewDialer(o)
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		b := &bounded{Conn: c}
		if raw, ok := c.(syscall.Conn); ok {
			return visible{b, raw}, nil
		}
		return b, nil
	}
}

// bounded is a connection that ends before a reply becomes too large. It parses what the
// library parses (the protocol's versions 2 and 3), and passes on no length that is too
// large.
type bounded struct {
	net.Conn
	left  []int // elements still missing from each open array
	line  []byte
	skip  int // bytes still missing from a string
	bytes int // of this reply
	count int // elements of this reply
	err   error
}

// visible shows the library the socket below, where it looks whether the server has hung up.
type visible struct {
	*bounded
	syscall.Conn
}

// Read implements net.Conn.
func (b *bounded) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.Conn.Read(p)
	if b.err = b.look(p[:n]); b.err != nil {
		return 0, b.err
	}
	return n, err
}

func (b *bounded) look(p []byte) error {
	for len(p) > 0 {
		if n := min(b.skip, len(p)); n > 0 {
			if b.skip, p = b.skip-n, p[n:]; b.skip == 0 {
				b.close()
			}
			continue
		}
		c := p[0]
		b.line, p = append(b.line, c), p[1:]
		if len(b.line) > maxLine {
			return errReply
		}
		if c == '\n' {
			if err := b.header(b.line); err != nil {
				return err
			}
			b.line = b.line[:0]
		}
	}
	return nil
}

// header reads a whole line.
func (b *bounded) header(line []byte) error {
	b.bytes += len(line)
	b.count++
	each, most := 0, 0
	switch line[0] {
	case '$', '=', '!':
		most = maxString
	case '*', '~', '>':
		each, most = 1, maxElements
	case '%':
		each, most = 2, maxElements
	case '|': // an attribute does not count as an element, and our servers send none
		return errReply
	default:
		b.close()
		return b.within()
	}
	if len(line) < 4 || line[len(line)-2] != '\r' {
		return errReply
	}
	length, err := strconv.Atoi(string(line[1 : len(line)-2]))
	if err != nil || length < -1 || length > most {
		return errReply
	}
	switch {
	case length < 0 || length == 0 && each > 0:
		b.close()
	case each > 0:
		b.left = append(b.left, each*length)
	default:
		b.skip, b.bytes = length+len("\r\n"), b.bytes+length
	}
	return b.within()
}

// close ends an element, and each array of which it is the last.
func (b *bounded) close() {
	for len(b.left) > 0 {
		last := &b.left[len(b.left)-1]
		if *last--; *last > 0 {
			return
		}
		b.left = b.left[:len(b.left)-1]
	}
	b.bytes, b.count = 0, 0
}

func (b *bounded) within() error {
	if b.bytes > maxReply || b.count > maxElements || len(b.left) > maxDepth {
		return errReply
	}
	return nil
}
