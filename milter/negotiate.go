package milter

import (
	"encoding/binary"
	"fmt"

	"github.com/emersion/go-milter"
)

// Protocol versions. Version 2 is the oldest in use; 6 is today's, since
// Sendmail 8.14 and Postfix 2.6.
const (
	oldest = 2
	newest = 6
)

// wanted saves the most for messages that are of no interest: steps that the server does not
// send at all, and steps without a reply. Replies remain where the server needs a decision:
// at MAIL, at the end of the header, and at the end of the message. The leading space of
// header values is part of what DKIM signs with simple canonicalisation (RFC 6376, Section
// 3.4.1).
const wanted = milter.OptNoConnect | milter.OptNoHelo | milter.OptNoUnknown | milter.OptNoData |
	milter.OptNoRcptTo | milter.OptNoHeaderReply | milter.OptNoBodyReply |
	milter.OptHeaderLeadingSpace

// options are what a mail server offered and we want.
type options struct {
	version uint32
	steps   milter.OptProtocol
}

func (o options) has(opt milter.OptProtocol) bool { return o.steps&opt != 0 }

// negotiate answers an offer: version, actions, steps, four bytes each. It ignores any bytes
// after them.
func negotiate(offer []byte) (options, error) {
	if len(offer) < 12 {
		return options{}, fmt.Errorf("negotiation of %d bytes", len(offer))
	}
	version := binary.BigEndian.Uint32(offer)
	if version < oldest {
		return options{}, fmt.Errorf("protocol version %d", version)
	}
	steps := milter.OptProtocol(binary.BigEndian.Uint32(offer[8:]))
	return options{min(version, newest), steps & wanted}, nil
}

// appendPacket appends the reply to the offer. It asks for no action: accept, discard and 451
// are replies, and the milter never changes a message.
func (o options) appendPacket(p []byte) []byte {
	p = binary.BigEndian.AppendUint32(p, 13)
	p = append(p, byte(milter.CodeOptNeg))
	p = binary.BigEndian.AppendUint32(p, o.version)
	p = binary.BigEndian.AppendUint32(p, 0)
	return binary.BigEndian.AppendUint32(p, uint32(o.steps))
}

// separator returns the text between a field's name and the value that the server hands over.
func (o options) separator() string {
	if o.has(milter.OptHeaderLeadingSpace) {
		return ":"
	}
	return ": "
}
