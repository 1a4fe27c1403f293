package milter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/emersion/go-milter"

	"postseal/internal/challenge"
)

// A packet is its length in four bytes, a code, and length-1 bytes of data.
const (
	headSize   = 5
	bufferSize = 4 << 10 // of a connection; also how Postfix writes
	maxCommand = bufferSize - headSize + 1
	maxPacket  = 1<<20 + 1 // what MTAs can be asked to send at most
	offerSize  = headSize + 12
)

// quitNewConn and unknown are codes that go-milter does not answer.
const (
	quitNewConn = milter.CodeQuitNewConn
	unknown     = milter.Code('U')
)

// Packets that stand for others. Go-milter answers DATA with "continue" and looks
// at nothing in it.
var (
	goOn    = []byte{0, 0, 0, 1, byte(milter.CodeData)}
	abort   = []byte{0, 0, 0, 1, byte(milter.CodeAbort)}
	endBody = []byte{0, 0, 0, 1, byte(milter.CodeEOB)}
)

var errNoOffer = errors.New("no negotiation at the start")

// next reads one packet, and sets out to what go-milter is to see of it: nothing,
// the packet, or one that stands for it.
func (c *conn) next() error {
	if err := c.startPacket(); err != nil {
		return err
	}
	head, err := c.in.Peek(4)
	if err != nil {
		return err
	}
	size := int64(binary.BigEndian.Uint32(head))
	if size == 0 || size > maxPacket {
		return fmt.Errorf("packet of %d bytes", size)
	}
	if head, err = c.in.Peek(headSize); err != nil {
		return err
	}
	return c.packet(milter.Code(head[4]), int(size))
}

func (c *conn) packet(code milter.Code, size int) error {
	if !c.negotiated && code != milter.CodeOptNeg && code != milter.CodeQuit {
		return errNoOffer
	}
	switch code {
	case milter.CodeHeader:
		return c.header(size - 1)
	case milter.CodeBody:
		return c.bodyChunk(size - 1)
	case milter.CodeEOB:
		return c.endOfMessage(size - 1)
	case milter.CodeMacro:
		return c.macros(size - 1)
	case milter.CodeOptNeg:
		return c.offer(size)
	case milter.CodeConn, milter.CodeHelo, milter.CodeData, unknown:
		return c.stream(size-1, nil, goOn)
	case quitNewConn:
		return c.stream(size-1, nil, abort)
	case milter.CodeMail, milter.CodeRcpt, milter.CodeEOH, milter.CodeAbort, milter.CodeQuit:
		return c.command(size)
	}
	return fmt.Errorf("packet with code %q", byte(code))
}

// command shows a whole packet to go-milter, straight from the buffer.
func (c *conn) command(size int) error {
	p, err := c.whole(size)
	c.out, c.taken = p, len(p)
	return err
}

// whole returns a packet with its head. It stays in the buffer.
func (c *conn) whole(size int) ([]byte, error) {
	if size > maxCommand {
		return nil, fmt.Errorf("command of %d bytes", size)
	}
	c.inPacket = true
	return c.in.Peek(headSize - 1 + size)
}

// stream reads size bytes of data, gives each piece to take, and shows reply to
// go-milter in the end.
func (c *conn) stream(size int, take func(*message, []byte), reply []byte) error {
	c.inPacket = true
	if _, err := c.in.Discard(headSize); err != nil {
		return err
	}
	for size > 0 {
		if _, err := c.in.Peek(1); err != nil {
			return err
		}
		piece, err := c.in.Peek(min(size, c.in.Buffered()))
		if err != nil {
			return err
		}
		if take != nil {
			take(&c.message, piece)
		}
		size -= len(piece)
		if _, err := c.in.Discard(len(piece)); err != nil {
			return err
		}
	}
	c.out = reply
	return nil
}

// replyUnless returns what makes go-milter reply "continue", unless the server
// wants no reply.
func (c *conn) replyUnless(opt milter.OptProtocol) []byte {
	if c.options.has(opt) {
		return nil
	}
	return goOn
}

func (c *conn) bodyChunk(size int) error {
	return c.stream(size, (*message).body, c.replyUnless(milter.OptNoBodyReply))
}

// endOfMessage may carry a last piece of the body.
func (c *conn) endOfMessage(size int) error {
	return c.stream(size, (*message).body, endBody)
}

func (c *conn) offer(size int) error {
	p, err := c.whole(size)
	if err != nil {
		return err
	}
	c.options, err = negotiate(p[headSize:])
	if err != nil {
		return err
	}
	c.negotiated, c.taken = true, len(p)
	c.message.separator = c.options.separator()
	_, err = c.Write(c.options.appendPacket(make([]byte, 0, offerSize)))
	return err
}

// header takes one header field off the stream.
func (c *conn) header(size int) error {
	reply := c.replyUnless(milter.OptNoHeaderReply)
	switch {
	case c.message.phase != collecting || c.message.over:
		return c.stream(size, nil, reply)
	case size < maxCommand:
		p, err := c.whole(size + 1)
		if err != nil {
			return err
		}
		c.message.packedField(p[headSize:])
		c.out, c.taken = reply, len(p)
		return nil
	}
	return c.longField(size, reply)
}

// longField takes a field that does not fit into the buffer.
func (c *conn) longField(size int, reply []byte) error {
	if size > challenge.MaxHeader {
		c.message.tooLarge()
	}
	if c.message.over || !c.budget().take(size) {
		c.message.lost = true
		return c.stream(size, nil, reply)
	}
	defer c.budget().give(size)
	c.inPacket = true
	if _, err := c.in.Discard(headSize); err != nil {
		return err
	}
	field := make([]byte, size)
	if _, err := io.ReadFull(c.in, field); err != nil {
		return err
	}
	c.message.packedField(field)
	c.out = reply
	return nil
}

// packedField takes a field as it stands in a packet: name, NUL, value, NUL.
func (m *message) packedField(data []byte) {
	name, value, _ := bytes.Cut(data, []byte{0})
	value, _, _ = bytes.Cut(value, []byte{0})
	m.field(name, value)
}

// macros takes the queue ID, which is macro "i" and known from the end of the
// header at the latest, and is for the log only.
func (c *conn) macros(size int) error {
	if c.message.phase != inBody || size >= maxCommand {
		return c.stream(size, nil, nil)
	}
	p, err := c.whole(size + 1)
	if err != nil {
		return err
	}
	c.taken = len(p)
	if id := macro(p[headSize:], "i"); id != nil {
		c.message.queueID = string(id)
	}
	return nil
}

// macro finds a macro in a packet's data: a code, then names and values in turn,
// each ended by NUL.
func macro(data []byte, name string) []byte {
	if len(data) == 0 {
		return nil
	}
	for rest := data[1:]; len(rest) > 0; {
		var key, value []byte
		key, rest, _ = bytes.Cut(rest, []byte{0})
		value, rest, _ = bytes.Cut(rest, []byte{0})
		if string(key) == name || string(key) == "{"+name+"}" {
			return value
		}
	}
	return nil
}
