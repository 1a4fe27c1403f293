package mailhost

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/emersion/go-milter"
	"github.com/emersion/go-smtp"

	"postseal/internal/hostport"
)

const (
	milterConnect = 2 * time.Second  // as in the README's smtpd_milters line
	milterAnswer  = 30 * time.Second // an answer needs DNS and a mail sent
)

// What we offer in the negotiation: as an MTA of protocol version 6, every
// step that can be left out or left unanswered, and the one change that we make.
const (
	offeredActions = milter.OptAddHeader
	offeredSteps   = milter.OptNoConnect | milter.OptNoHelo | milter.OptNoMailFrom | milter.OptNoRcptTo |
		milter.OptNoBody | milter.OptNoHeaders | milter.OptNoEOH | milter.OptNoUnknown | milter.OptNoData |
		milter.OptSkip | milter.OptNoHeaderReply | milter.OptNoConnReply | milter.OptNoHeloReply |
		milter.OptNoMailReply | milter.OptNoRcptReply | milter.OptNoDataReply | milter.OptNoUnknownReply |
		milter.OptNoEOHReply | milter.OptNoBodyReply | milter.OptHeaderLeadingSpace
)

// newMilterClient understands the addresses that postseal-milter --listen does.
func newMilterClient(addr string) (*milter.Client, error) {
	network, address, ok := strings.Cut(addr, ":")
	switch {
	case ok && network == "unix":
	case ok && network == "inet":
		port, host, _ := strings.Cut(address, "@")
		joined, err := hostport.Join(host, port)
		if err != nil {
			return nil, fmt.Errorf("mail host: milter address %q: %w", addr, err)
		}
		network, address = "tcp", joined
	default:
		return nil, fmt.Errorf("mail host: milter address %q is neither unix:PATH nor inet:PORT@HOST", addr)
	}
	return milter.NewClientWithOptions(network, address, milter.ClientOptions{
		Dialer:       dialer{net.Dialer{Timeout: milterConnect}},
		ReadTimeout:  milterAnswer,
		WriteTimeout: milterAnswer,
		ActionMask:   offeredActions,
		ProtocolMask: offeredSteps,
	}), nil
}

// milterSession is the milter's side of one SMTP connection. Its zero value, and
// one that has failed, let every message pass.
type milterSession struct {
	session *milter.ClientSession // nil if there is no milter, or none any more
	failed  error                 // why it cannot be asked
	final   *milter.Action        // what it said of the current message before its end
}

var queueID atomic.Uint64

// newMilterSession connects to the milter, if there is one, and tells it who
// called.
func (h *Host) newMilterSession(client net.Addr, helo string) *milterSession {
	m := &milterSession{}
	if h.milter == nil {
		return m
	}
	var err error
	if m.session, err = h.milter.Session(); err != nil {
		m.session = nil
		m.fail(err)
		return m
	}
	host, port := "127.0.0.1", 0
	if tcp, ok := client.(*net.TCPAddr); ok {
		host, port = tcp.IP.String(), tcp.Port
	}
	m.macros(milter.CodeConn, "j", "mail."+h.config.Domain)
	m.ask(func(s *milter.ClientSession) (*milter.Action, error) {
		return s.Conn("localhost", milter.FamilyInet, uint16(port), host)
	})
	m.ask(func(s *milter.ClientSession) (*milter.Action, error) { return s.Helo(helo) })
	return m
}

// ask makes one step with the milter, unless it has already decided about the
// current message.
func (m *milterSession) ask(step func(*milter.ClientSession) (*milter.Action, error)) {
	if m.session == nil || m.final != nil {
		return
	}
	action, err := step(m.session)
	switch {
	case err != nil:
		m.fail(err)
	case action.Code != milter.ActContinue && action.Code != milter.ActSkip:
		m.final = action
	}
}

func (m *milterSession) macros(code milter.Code, kv ...string) {
	if m.session == nil || m.final != nil {
		return
	}
	if err := m.session.Macros(code, kv...); err != nil {
		m.fail(err)
	}
}

// fail gives the milter up until the next SMTP connection.
func (m *milterSession) fail(err error) {
	m.failed = err
	m.close()
}

func (m *milterSession) close() {
	if m.session != nil {
		m.session.Close() // nobody is left to hear of an error
		m.session = nil
	}
}

// abort forgets the current message.
func (m *milterSession) abort() {
	if m.session != nil && m.final == nil {
		if err := m.session.Abort(); err != nil {
			m.fail(err)
		}
	}
	m.final = nil
}

func (m *milterSession) mail(from string) error {
	m.final = nil
	m.macros(milter.CodeMail, "{mail_addr}", from)
	m.ask(func(s *milter.ClientSession) (*milter.Action, error) { return s.Mail(from, nil) })
	return m.refusal()
}

// rcpt asks about one recipient. A refusal concerns only that one, everything
// else the whole message.
func (m *milterSession) rcpt(to string) error {
	m.macros(milter.CodeRcpt, "{rcpt_addr}", to)
	m.ask(func(s *milter.ClientSession) (*milter.Action, error) { return s.Rcpt(to, nil) })
	err := m.refusal()
	if err != nil {
		m.final = nil
	}
	return err
}

// message shows the whole message to the milter and returns what is to be
// delivered: the message with the header fields that the milter added.
func (m *milterSession) message(msg []byte) (_ []byte, discard bool, err error) {
	fields, body := parse(msg)
	for _, f := range fields {
		m.ask(func(s *milter.ClientSession) (*milter.Action, error) {
			return s.HeaderField(f.name, headerForm(s, f.value))
		})
	}
	m.ask((*milter.ClientSession).HeaderEnd)
	m.body(body)
	msg = append(m.end(), msg...)
	return msg, m.final != nil && m.final.Code == milter.ActDiscard, m.refusal()
}

// headerForm writes a field's value as the milter protocol has it: LF in folds,
// and the space behind the colon only where it was asked for.
func headerForm(s *milter.ClientSession, value string) string {
	value = strings.ReplaceAll(value, "\r\n", "\n")
	if !s.ProtocolOption(milter.OptHeaderLeadingSpace) {
		value = strings.TrimPrefix(value, " ")
	}
	return value
}

// body sends the body until the milter has seen enough.
func (m *milterSession) body(body []byte) {
	skip := false
	for r := bytes.NewReader(body); r.Len() > 0 && !skip; {
		chunk, _ := io.ReadAll(io.LimitReader(r, milter.MaxBodyChunk))
		m.ask(func(s *milter.ClientSession) (*milter.Action, error) {
			action, err := s.BodyChunk(chunk)
			skip = err == nil && action.Code == milter.ActSkip
			return action, err
		})
	}
}

// end asks for the last word and returns the header fields to add.
func (m *milterSession) end() (added []byte) {
	m.macros(milter.CodeEOB, "i", fmt.Sprintf("%X", queueID.Add(1)))
	m.ask(func(s *milter.ClientSession) (*milter.Action, error) {
		changes, action, err := s.End()
		for _, change := range changes {
			if change.Code == milter.ActAddHeader {
				value := strings.TrimSpace(strings.ReplaceAll(change.HeaderValue, "\n", "\r\n"))
				added = fmt.Appendf(added, "%s: %s\r\n", change.HeaderName, value)
			}
		}
		return action, err
	})
	return added
}

// refusal returns the answer for the SMTP client if the milter refused.
func (m *milterSession) refusal() error {
	if m.final == nil {
		return nil
	}
	switch m.final.Code {
	case milter.ActTempFail:
		return reply(451, smtp.EnhancedCode{4, 7, 1}, "Service unavailable - try again later")
	case milter.ActReject:
		return reply(550, smtp.EnhancedCode{5, 7, 1}, "Command rejected")
	case milter.ActReplyCode:
		return reply(m.final.SMTPCode, smtp.NoEnhancedCode, m.final.SMTPText)
	}
	return nil
}

// dialer connects to the milter and mends its greeting.
type dialer struct{ net.Dialer }

// Dial implements milter.Dialer.
func (d dialer) Dial(network, addr string) (net.Conn, error) {
	conn, err := d.Dialer.Dial(network, addr)
	if err != nil {
		return nil, err
	}
	return &mendedConn{Conn: conn}, nil
}

// mendedConn makes the milter's answer to our offer say version 6. The options
// in the answer are what counts, for Postfix too; go-milter's server says 2 with
// any of them, which go-milter's client does not bear.
type mendedConn struct {
	net.Conn
	head   []byte // of the first packet, not read yet
	mended bool
}

// versionAt is where an answer has its version: length (4), code (1), version (4).
const versionAt, versionEnd = 5, 9

var errNoAnswer = errors.New("the milter did not answer the negotiation")

func (c *mendedConn) Read(p []byte) (int, error) {
	if !c.mended {
		c.mended = true
		c.head = make([]byte, versionEnd)
		if _, err := io.ReadFull(c.Conn, c.head); err != nil {
			return 0, errors.Join(errNoAnswer, err)
		}
		copy(c.head[versionAt:], []byte{0, 0, 0, 6})
	}
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
