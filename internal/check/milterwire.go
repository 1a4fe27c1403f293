package check

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// Codes of the milter protocol: what a mail server says, and what it is told.
const (
	negotiateCode = 'O'
	connectCode   = 'C'
	heloCode      = 'H'
	mailCode      = 'M'
	quitCode      = 'Q'

	acceptCode   = 'a'
	continueCode = 'c'
	progressCode = 'p' // not yet
)

// What Postfix offers: version 6, all actions and all steps.
const (
	milterVersion = 6
	allActions    = 0x1ff
	allSteps      = 0x1fffff
)

// steps: a bit leaves a step out, another one its reply.
var steps = map[byte]struct{ none, noReply uint32 }{
	connectCode: {0x01, 0x1000},
	heloCode:    {0x02, 0x2000},
	mailCode:    {0x04, 0x4000},
}

// milterStep bounds each answer, like Postfix's command_timeout of our recipe.
const milterStep = 5 * time.Second

// maxMilterPacket bounds an answer: none that we know how to read is long.
const maxMilterPacket = 64 << 10

// mta is the mail server's side of a milter connection.
type mta struct {
	conn             net.Conn
	version, actions uint32
	omitted          uint32 // steps and replies
}

func (m *mta) send(code byte, data string) error {
	p := binary.BigEndian.AppendUint32(nil, uint32(len(data)+1))
	m.conn.SetDeadline(time.Now().Add(milterStep))
	_, err := m.conn.Write(append(append(p, code), data...))
	return err
}

func (m *mta) receive() (code byte, data []byte, err error) {
	m.conn.SetDeadline(time.Now().Add(milterStep))
	var head [4]byte
	if _, err := io.ReadFull(m.conn, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size == 0 || size > maxMilterPacket {
		return 0, nil, fmt.Errorf("it answers %q", head[:])
	}
	p := make([]byte, size)
	_, err = io.ReadFull(m.conn, p)
	return p[0], p[1:], err
}

// negotiate agrees on a version and on the steps that the milter needs.
func (m *mta) negotiate() error {
	var offer bytes.Buffer
	for _, n := range []uint32{milterVersion, allActions, allSteps} {
		offer.Write(binary.BigEndian.AppendUint32(nil, n))
	}
	if err := m.send(negotiateCode, offer.String()); err != nil {
		return err
	}
	code, data, err := m.receive()
	if err != nil {
		return err
	}
	if code != negotiateCode || len(data) < 12 {
		return fmt.Errorf("it answers the negotiation with %q", code)
	}
	m.version = binary.BigEndian.Uint32(data)
	m.actions = binary.BigEndian.Uint32(data[4:])
	m.omitted = binary.BigEndian.Uint32(data[8:])
	if m.version < 2 || m.version > milterVersion {
		return fmt.Errorf("it chose version %d", m.version)
	}
	return nil
}

// ordinaryMail goes as far as MAIL and returns the first answer that ends it, or
// that to MAIL.
func (m *mta) ordinaryMail() (answer byte, err error) {
	answer = continueCode
	for _, step := range []struct {
		code byte
		data string
	}{
		{connectCode, "localhost\x004\x00\x19127.0.0.1\x00"}, // IPv4, port 25
		{heloCode, "localhost\x00"},
		{mailCode, "<postseal-check@localhost>\x00"},
	} {
		bits := steps[step.code]
		if m.omitted&bits.none != 0 {
			continue
		}
		if err := m.send(step.code, step.data); err != nil {
			return 0, err
		}
		if m.omitted&bits.noReply != 0 {
			continue
		}
		if answer, err = m.verdict(); err != nil || answer != continueCode {
			return answer, err
		}
	}
	return answer, nil
}

// verdict is an answer that is not "wait a little".
func (m *mta) verdict() (byte, error) {
	for {
		code, _, err := m.receive()
		if err != nil || code != progressCode {
			return code, err
		}
	}
}
