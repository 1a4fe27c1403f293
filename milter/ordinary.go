package milter

import (
	"encoding/binary"

	"github.com/emersion/go-milter"
)

// ordinary is a connection on which nothing but ordinary mail has been seen: its
// peer has negotiated and sends whole commands and header fields of usual size.
//
// It is a function from bytes to bytes, without a goroutine, a buffer or a socket
// of its own, so that one thread can serve all of them (loop_linux.go). It knows
// little and is sure of that: whatever else comes, a challenge first of all, is for
// go-milter, which takes over with the first packet that is not answered here.
type ordinary struct {
	server     *Server
	negotiated bool
	options    options
	message    message
	stopping   bool // close between two messages
}

// then is what becomes of a connection after what was read of it.
type then int

const (
	readOn   then = iota
	handOver      // to go-milter, with what is left
	finish        // it is at its end, in good order
)

// maxField bounds, in bytes, a header field that is taken whole. Those that other
// mail systems leave for themselves have up to 8 KiB.
const maxField = 12 << 10

// Replies without data.
var (
	continueReply = []byte{0, 0, 0, 1, byte(milter.ActContinue)}
	acceptReply   = []byte{0, 0, 0, 1, byte(milter.ActAccept)}
)

func newOrdinary(s *Server) ordinary {
	return ordinary{server: s, message: message{budget: &s.held, isChallenge: s.config.IsChallenge}}
}

// busy tells whether a message is under way that may be finished when the server
// is to stop.
func (o *ordinary) busy() bool { return o.message.phase != idle }

// take reads the whole packets at the start of in and appends the replies to out.
// What it returns as left starts with a packet that is not whole yet or that is for
// go-milter.
func (o *ordinary) take(in, out []byte) (left, replies []byte, what then) {
	for {
		if o.stopping && !o.busy() {
			return nil, out, finish
		}
		if len(in) < headSize {
			return in, out, readOn
		}
		code, size := milter.Code(in[4]), int64(binary.BigEndian.Uint32(in))
		if size == 0 || size > maxCommand && (code != milter.CodeHeader || size > maxField) {
			return in, out, handOver
		}
		end := headSize - 1 + int(size)
		if len(in) < end {
			return in, out, readOn
		}
		if out, what = o.packet(code, in[headSize:end], out); what != readOn {
			if what == handOver && o.message.phase == inBody {
				in = in[end:] // the end of the header, which is answered
			}
			return in, out, what
		}
		in = in[end:]
	}
}

// packet answers one packet.
func (o *ordinary) packet(code milter.Code, data, out []byte) ([]byte, then) {
	if !o.negotiated && code != milter.CodeOptNeg && code != milter.CodeQuit {
		return out, handOver
	}
	switch code {
	case milter.CodeOptNeg:
		return o.offer(data, out)
	case milter.CodeMail:
		return o.mail(out), readOn
	case milter.CodeRcpt:
		return o.replyUnless(milter.OptNoRcptReply, out), readOn
	case milter.CodeHeader:
		return o.header(data, out), readOn
	case milter.CodeEOH:
		return o.endOfHeader(out)
	case milter.CodeMacro:
		return out, readOn
	case milter.CodeConn, milter.CodeHelo, milter.CodeData, unknown:
		return append(out, continueReply...), readOn
	case milter.CodeAbort, quitNewConn:
		o.message.reset()
		return out, readOn
	case milter.CodeQuit:
		return out, finish
	}
	return out, handOver
}

func (o *ordinary) offer(data, out []byte) ([]byte, then) {
	options, err := negotiate(data)
	if err != nil {
		return out, handOver
	}
	o.negotiated, o.options = true, options
	o.message.separator = options.separator()
	return options.appendPacket(out), readOn
}

func (o *ordinary) mail(out []byte) []byte {
	if o.server.mail(&o.message) {
		return append(out, continueReply...)
	}
	return append(out, acceptReply...)
}

func (o *ordinary) header(data, out []byte) []byte {
	if o.message.phase == collecting && !o.message.over {
		o.message.packedField(data)
	}
	return o.replyUnless(milter.OptNoHeaderReply, out)
}

func (o *ordinary) replyUnless(opt milter.OptProtocol, out []byte) []byte {
	if o.options.has(opt) {
		return out
	}
	return append(out, continueReply...)
}

func (o *ordinary) endOfHeader(out []byte) ([]byte, then) {
	if o.server.endOfHeader(&o.message) {
		return append(out, continueReply...), handOver
	}
	return append(out, acceptReply...), readOn
}
