package milter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/emersion/go-milter"

	"postseal/internal/challenge"
)

// dialogue is the conversation on one connection: a function from the bytes of a mail server
// to the bytes of the replies.
//
// It has no goroutine, buffer or socket of its own, so that one thread can serve a thousand
// of them (loop_linux.go) as well as a goroutine one (conn.go). It takes commands and short
// header fields whole. It takes long ones in pieces as they arrive, so that a peer cannot
// make us reserve memory by an announcement.
type dialogue struct {
	server     *Server
	negotiated bool
	options    options
	message    message
	stopping   bool // end between two messages

	code    milter.Code            // of the packet whose head was read; 0 between two
	coming  int                    // bytes of its data that are still missing
	piece   func(*message, []byte) // takes each part as it arrives; nil: the packet is taken whole
	packets int                    // taken so far
}

// then is the next step of a connection after the bytes read.
type then int

const (
	readOn then = iota
	decide      // a challenge is complete: judge waits for the verdict
	finish      // the connection ended in good order
)

// A packet is its length in four bytes, a code, and length-1 bytes of data.
const (
	headSize   = 5
	bufferSize = 4 << 10               // of a connection; also how Postfix writes
	maxCommand = bufferSize - headSize // the longest data taken whole
	maxPacket  = 1<<20 + 1             // the longest that mail servers may be asked to send
)

// unknown is the code for a command that the mail server itself does not know.
const unknown = milter.Code('U')

// Replies without data.
var (
	continueReply = []byte{0, 0, 0, 1, byte(milter.ActContinue)}
	acceptReply   = []byte{0, 0, 0, 1, byte(milter.ActAccept)}
	discardReply  = []byte{0, 0, 0, 1, byte(milter.ActDiscard)}
)

// laterReply is generic; the log has the cause (RFC 3463: 4.7.1 is "delivery not
// authorized", a matter of policy that may change).
var laterReply = replyCode("451 4.7.1 cannot verify the challenge now, try again later")

func replyCode(text string) []byte {
	p := binary.BigEndian.AppendUint32(nil, uint32(len(text)+2))
	return append(append(append(p, byte(milter.ActReplyCode)), text...), 0)
}

func newDialogue(s *Server) dialogue {
	return dialogue{server: s, message: message{budget: &s.held, isChallenge: s.config.IsChallenge}}
}

// busy reports whether a message is under way that may finish before the server stops.
func (d *dialogue) busy() bool { return d.message.phase != idle }

// take processes in, and appends the replies to out. Its caller passes the bytes in left
// again, with those that follow. An error ends the connection; the replies before it still
// count.
func (d *dialogue) take(in, out []byte) (left, replies []byte, next then, err error) {
	for next == readOn && err == nil {
		if d.code == 0 {
			if d.stopping && !d.busy() {
				return nil, out, finish, nil
			}
			if in, err = d.head(in); err != nil || d.code == 0 {
				return in, out, readOn, err
			}
		}
		data := in[:min(d.coming, len(in))]
		whole := len(data) == d.coming
		if d.piece != nil {
			d.piece(&d.message, data)
			d.coming, in = d.coming-len(data), in[len(data):]
		}
		if !whole {
			break
		}
		if d.piece == nil {
			in = in[len(data):]
		}
		out, next, err = d.packet(data, out)
		d.code = 0
		d.packets++
	}
	return in, out, next, err
}

var (
	errNoOffer = errors.New("no negotiation at the start")
	errNoCode  = errors.New("packet with code NUL")
)

// head reads the head of a packet, if it is complete, and decides how to take the data.
func (d *dialogue) head(in []byte) (left []byte, err error) {
	if len(in) < headSize-1 {
		return in, nil
	}
	size := binary.BigEndian.Uint32(in)
	if size == 0 || size > maxPacket {
		return in, fmt.Errorf("packet of %d bytes", size)
	}
	if len(in) < headSize {
		return in, nil
	}
	code := milter.Code(in[headSize-1])
	if !d.negotiated && code != milter.CodeOptNeg && code != milter.CodeQuit {
		return in, errNoOffer
	}
	if code == 0 { // 0 means no packet here
		return in, errNoCode
	}
	d.code, d.coming = code, int(size)-1
	d.piece = d.pieces(code, d.coming)
	if d.piece == nil && size > maxCommand {
		return in, fmt.Errorf("command of %d bytes", size)
	}
	return in[headSize:], nil
}

// pieces returns the function that takes a packet as it arrives: one that nobody looks at,
// the body, and a header field larger than a buffer. It returns nil for others.
func (d *dialogue) pieces(code milter.Code, size int) func(*message, []byte) {
	m := &d.message
	switch code {
	case milter.CodeConn, milter.CodeHelo, milter.CodeRcpt, milter.CodeData, milter.CodeQuitNewConn, unknown:
		return drop
	case milter.CodeBody, milter.CodeEOB:
		return (*message).body
	case milter.CodeMacro:
		if m.phase != inBody || size >= maxCommand {
			return drop
		}
	case milter.CodeHeader:
		switch {
		case m.phase != collecting || m.over:
			return drop
		case size > challenge.MaxHeader:
			m.tooLarge()
			return drop
		case size >= maxCommand:
			return (*message).longField
		}
	}
	return nil
}

func drop(*message, []byte) {}

// packet answers a packet. If that was taken in pieces, data is the last one.
func (d *dialogue) packet(data, out []byte) ([]byte, then, error) {
	switch d.code {
	case milter.CodeHeader:
		if d.piece == nil {
			d.message.packedField(data)
		}
		d.message.endLongField()
		return d.replyUnless(milter.OptNoHeaderReply, out), readOn, nil
	case milter.CodeBody:
		return d.replyUnless(milter.OptNoBodyReply, out), readOn, nil
	case milter.CodeMail:
		return append(out, d.mail()...), readOn, nil
	case milter.CodeEOH:
		return append(out, d.endOfHeader()...), readOn, nil
	case milter.CodeEOB:
		return d.endOfMessage(out)
	case milter.CodeMacro:
		if id := macro(data, "i"); d.piece == nil && id != nil {
			d.message.queueID = string(id)
		}
		return out, readOn, nil
	case milter.CodeAbort, milter.CodeQuitNewConn:
		d.message.reset()
		return out, readOn, nil
	case milter.CodeConn, milter.CodeHelo, milter.CodeRcpt, milter.CodeData, unknown:
		return append(out, continueReply...), readOn, nil
	case milter.CodeOptNeg:
		return d.offer(data, out)
	case milter.CodeQuit:
		return out, finish, nil
	}
	return out, readOn, fmt.Errorf("packet with code %q", byte(d.code))
}

func (d *dialogue) replyUnless(opt milter.OptProtocol, out []byte) []byte {
	if d.options.has(opt) {
		return out
	}
	return append(out, continueReply...)
}

func (d *dialogue) offer(data, out []byte) ([]byte, then, error) {
	options, err := negotiate(data)
	if err != nil {
		return out, readOn, err
	}
	d.negotiated, d.options = true, options
	d.message.separator = options.separator()
	return options.appendPacket(out), readOn, nil
}

// mail starts a message, or accepts it if nobody waits for a challenge. Config.Pending
// promises never to miss a record that was written before.
func (d *dialogue) mail() []byte {
	d.server.stats.Messages.Add(1)
	d.message.reset()
	if !d.server.pending() {
		d.server.stats.AcceptedAtMail.Add(1)
		return acceptReply
	}
	d.message.phase = collecting
	return continueReply
}

// endOfHeader asks for the body of a challenge, and accepts any other message.
func (d *dialogue) endOfHeader() []byte {
	if d.message.endOfHeader() {
		return continueReply
	}
	if d.message.phase == collecting {
		d.server.stats.AcceptedAtHeader.Add(1)
	}
	d.message.reset()
	return acceptReply
}

// endOfMessage asks for a decision about a challenge. A server that goes on with an accepted
// message receives the same reply again.
func (d *dialogue) endOfMessage(out []byte) ([]byte, then, error) {
	if d.message.phase == inBody {
		return out, decide, nil
	}
	d.message.reset()
	return append(out, acceptReply...), readOn, nil
}

// judge decides about a whole challenge, which may take long, and forgets it.
func (d *dialogue) judge() (reply []byte) {
	defer d.message.reset()
	s := d.server
	s.stats.Decided.Add(1)
	outcome := s.answer(&d.message)
	s.logOutcome(outcome, &d.message)
	switch outcome.Verdict {
	case challenge.Later:
		return laterReply
	case challenge.Answered:
		if s.config.OnAnswered == Discard {
			return discardReply
		}
	}
	return acceptReply
}

// macro finds a macro in a packet's data: a code, then names and values in turn, each with a
// final NUL.
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
