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

// wanted is what spares the most when nothing of a message is of interest: steps
// not sent at all, and steps without a reply. Replies remain where something is
// decided: at MAIL, at the end of the header, and at the end of the message. The
// leading space of header values is part of what DKIM signs with simple
// canonicalisation (RFC 6376, Section 3.4.1).
const wanted = milter.OptNoConnect | milter.OptNoHelo | milter.OptNoUnknown | milter.OptNoData |
	milter.OptNoRcptTo | milter.OptNoHeaderReply | milter.OptNoBodyReply |
	milter.OptHeaderLeadingSpace

// options are what a mail server offered and we want.
type options struct {
	version uint32
	steps   milter.OptProtocol
}

func (o options) has(opt milter.OptProtocol) bool { return o.steps&opt != 0 }

// negotiate answers an offer: version, actions, steps, four bytes each. More may
// follow and means nothing to us.
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

// appendPacket appends the reply to the offer. No action is asked for: accept,
// discard and 451 are replies, and nothing of a message is ever changed.
func (o options) appendPacket(p []byte) []byte {
	p = binary.BigEndian.AppendUint32(p, 13)
	p = append(p, byte(milter.CodeOptNeg))
	p = binary.BigEndian.AppendUint32(p, o.version)
	p = binary.BigEndian.AppendUint32(p, 0)
	return binary.BigEndian.AppendUint32(p, uint32(o.steps))
}

// separator separates the name of a field from the value that the server
// hands over.
func (o options) separator() string {
	if o.has(milter.OptHeaderLeadingSpace) {
		return ":"
	}
	return ": "
}
