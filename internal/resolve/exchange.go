package resolve

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// udpSize is the largest packet that we accept over UDP (RFC 6891), in bytes: it passes
// everywhere without fragments.
const udpSize = 1232

// query is one question in its wire form.
type query struct {
	id       uint16
	question dnsmessage.Question
	packed   []byte
}

// reply is a server's answer to it.
type reply struct {
	code      dnsmessage.RCode
	truncated bool
	referral  bool // the server neither answers nor asks others
	records   []dnsmessage.ResourceBody
}

// ask asks one server: without EDNS if the server does not know it, and over TCP if the
// answer is too long.
func ask(ctx context.Context, server, name string, kind dnsmessage.Type, edns bool) ([]dnsmessage.ResourceBody, error) {
	r, err := exchange(ctx, server, name, kind, edns)
	if err == nil && edns && (r.code == dnsmessage.RCodeFormatError || r.code == dnsmessage.RCodeNotImplemented || r.code == badVersion) {
		r, err = exchange(ctx, server, name, kind, false)
	}
	switch {
	case err != nil:
		return nil, err
	case r.code == dnsmessage.RCodeNameError:
		return nil, nil
	case r.code != dnsmessage.RCodeSuccess:
		return nil, fmt.Errorf("server misbehaving (%s)", codeName(r.code))
	case r.referral:
		return nil, errors.New("server misbehaving (it does not look up names for others)")
	}
	return r.records, nil
}

// badVersion is the extended code BADVERS (RFC 6891, Section 9).
const badVersion = dnsmessage.RCode(16)

func codeName(code dnsmessage.RCode) string {
	switch code {
	case dnsmessage.RCodeFormatError:
		return "FORMERR"
	case dnsmessage.RCodeServerFailure:
		return "SERVFAIL"
	case dnsmessage.RCodeNotImplemented:
		return "NOTIMP"
	case dnsmessage.RCodeRefused:
		return "REFUSED"
	case badVersion:
		return "BADVERS"
	}
	return strings.TrimPrefix(code.String(), "RCode")
}

func exchange(ctx context.Context, server, name string, kind dnsmessage.Type, edns bool) (reply, error) {
	q, err := newQuery(name, kind, edns)
	if err != nil {
		return reply{}, err
	}
	r, err := q.over(ctx, "udp", server)
	if err == nil && r.truncated {
		if r, err = q.over(ctx, "tcp", server); err == nil && r.truncated {
			err = errors.New("server misbehaving (its answer is cut off over TCP, too)")
		}
	}
	return r, err
}

func newQuery(name string, kind dnsmessage.Type, edns bool) (*query, error) {
	qname, err := dnsmessage.NewName(name)
	if err != nil {
		return nil, fmt.Errorf("%q is not a name", name)
	}
	var random [2]byte
	rand.Read(random[:])
	q := &query{id: binary.BigEndian.Uint16(random[:])}
	q.question = dnsmessage.Question{Name: qname, Type: kind, Class: dnsmessage.ClassINET}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: q.id, RecursionDesired: true},
		Questions: []dnsmessage.Question{q.question},
	}
	if edns {
		var opt dnsmessage.ResourceHeader
		if err := opt.SetEDNS0(udpSize, dnsmessage.RCodeSuccess, false); err != nil {
			return nil, err
		}
		m.Additionals = []dnsmessage.Resource{{Header: opt, Body: &dnsmessage.OPTResource{}}}
	}
	q.packed, err = m.Pack()
	return q, err
}

// over sends the question, and reads until an answer to it arrives.
func (q *query) over(ctx context.Context, network, server string) (reply, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, server)
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline(ctx)); err != nil {
		return reply{}, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	packed, read := q.packed, readPacket
	if network == "tcp" {
		packed = append(binary.BigEndian.AppendUint16(nil, uint16(len(packed))), packed...)
		read = readStream
	}
	if _, err := conn.Write(packed); err != nil {
		return reply{}, err
	}
	for {
		answer, err := read(conn)
		if ctx.Err() != nil {
			return reply{}, ctx.Err()
		}
		if err != nil {
			return reply{}, err
		}
		if r, err := q.parse(answer); err == nil {
			return r, nil
		}
	}
}

func readPacket(conn net.Conn) ([]byte, error) {
	buf := make([]byte, 4<<10)
	n, err := conn.Read(buf)
	return buf[:n], err
}

func readStream(conn net.Conn) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, binary.BigEndian.Uint16(head[:]))
	_, err := io.ReadFull(conn, answer)
	return answer, err
}

// parse reads an answer. An error means that it does not answer the question.
func (q *query) parse(answer []byte) (r reply, err error) {
	var p dnsmessage.Parser
	head, err := p.Start(answer)
	if err != nil {
		return r, err
	}
	questions, err := p.AllQuestions()
	if err != nil {
		return r, err
	}
	r.code, r.truncated = head.RCode, head.Truncated
	if head.ID != q.id || !head.Response || !q.asked(questions, r.code) {
		return r, errors.New("an answer to another question")
	}
	if r.truncated {
		return r, nil // the answer may be cut off anywhere
	}
	answers, err := r.readRecords(&p, q.question.Type)
	if err != nil {
		return r, err
	}
	// An alias alone says nothing about its target if the server does not follow it.
	r.referral = len(r.records) == 0 && r.code == dnsmessage.RCodeSuccess && !head.RecursionAvailable && (answers > 0 || !head.Authoritative)
	r.extendCode(&p)
	return r, nil
}

// asked reports whether an answer repeats our question. A server that could not read the
// question may leave it out.
func (q *query) asked(questions []dnsmessage.Question, code dnsmessage.RCode) bool {
	if len(questions) == 0 {
		return code == dnsmessage.RCodeFormatError || code == dnsmessage.RCodeNotImplemented
	}
	got := questions[0]
	return len(questions) == 1 && got.Type == q.question.Type && got.Class == q.question.Class &&
		strings.EqualFold(got.Name.String(), q.question.Name.String())
}

func (r *reply) readRecords(p *dnsmessage.Parser, kind dnsmessage.Type) (answers int, err error) {
	for ; ; answers++ {
		h, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return answers, nil
		}
		if err != nil {
			return answers, err
		}
		if h.Type != kind {
			err = p.SkipAnswer()
		} else {
			var record dnsmessage.Resource
			record, err = p.Answer()
			r.records = append(r.records, record.Body)
		}
		if err != nil {
			return answers, err
		}
	}
}

// extendCode adds the upper bits of the code, which EDNS carries: without them BADVERS looks
// like "no record".
func (r *reply) extendCode(p *dnsmessage.Parser) {
	if p.SkipAllAuthorities() != nil {
		return
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return
		}
		if h.Type == dnsmessage.TypeOPT {
			r.code = h.ExtendedRCode(r.code)
		}
		if p.SkipAdditional() != nil {
			return
		}
	}
}
