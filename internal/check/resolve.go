package check

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// queryTime bounds one question to one server, and attempts is how often each is
// asked: over UDP a packet may be lost.
const (
	queryTime = 2 * time.Second
	attempts  = 2
)

// udpSize is what we can take over UDP (RFC 6891): what passes everywhere without
// fragments.
const udpSize = 1232

// typeCAA is the type of RFC 8659, which package net does not ask for.
const typeCAA = dnsmessage.Type(257)

// resolver returns a resolver that asks the server of --resolver, or the system's.
func (c *checker) resolver() *net.Resolver {
	if c.Resolver == "" {
		return net.DefaultResolver
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, c.Resolver)
	}}
}

// notFound tells an answer that there is nothing from no answer.
func notFound(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

// lookupError writes an error without the name, which is in our own text.
func lookupError(err error) string {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return dns.Err
	}
	return err.Error()
}

// servers are where a question goes, one after the other.
func (c *checker) servers() []string {
	if c.Resolver != "" {
		return []string{c.Resolver}
	}
	var found []string
	data, _ := os.ReadFile("/etc/resolv.conf")
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
			found = append(found, net.JoinHostPort(f[1], "53"))
		}
	}
	if len(found) == 0 {
		return []string{"127.0.0.1:53"} // resolv.conf(5)
	}
	return found
}

// caaRecords returns the data of the CAA records of exactly that name. Aliases are
// followed by the server that is asked.
func (c *checker) caaRecords(ctx context.Context, name string) (records [][]byte, err error) {
	for range attempts {
		for _, server := range c.servers() {
			records, err = query(ctx, server, name, typeCAA)
			if err == nil || ctx.Err() != nil {
				return records, err
			}
		}
	}
	return nil, err
}

// query asks one server, over TCP if the answer is too long for UDP.
func query(ctx context.Context, server, name string, kind dnsmessage.Type) ([][]byte, error) {
	id, question, err := buildQuery(name, kind)
	if err != nil {
		return nil, err
	}
	answer, err := exchangeUDP(ctx, server, id, question)
	if err != nil {
		return nil, err
	}
	if len(answer) > 2 && answer[2]&0x02 != 0 { // TC
		if answer, err = exchangeTCP(ctx, server, question); err != nil {
			return nil, err
		}
	}
	return parseAnswer(answer, id, kind)
}

func buildQuery(name string, kind dnsmessage.Type) (id uint16, question []byte, err error) {
	qname, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return 0, nil, fmt.Errorf("%q is not a name", name)
	}
	var random [2]byte
	rand.Read(random[:])
	id = binary.BigEndian.Uint16(random[:])
	var edns dnsmessage.ResourceHeader
	if err := edns.SetEDNS0(udpSize, dnsmessage.RCodeSuccess, false); err != nil {
		return 0, nil, err
	}
	m := dnsmessage.Message{
		Header:      dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions:   []dnsmessage.Question{{Name: qname, Type: kind, Class: dnsmessage.ClassINET}},
		Additionals: []dnsmessage.Resource{{Header: edns, Body: &dnsmessage.OPTResource{}}},
	}
	question, err = m.Pack()
	return id, question, err
}

func dialDNS(ctx context.Context, network, server string) (net.Conn, error) {
	d := net.Dialer{Timeout: queryTime}
	conn, err := d.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(queryTime))
}

// exchangeUDP passes over answers to other questions.
func exchangeUDP(ctx context.Context, server string, id uint16, question []byte) ([]byte, error) {
	conn, err := dialDNS(ctx, "udp", server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := conn.Write(question); err != nil {
		return nil, err
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if n >= 12 && binary.BigEndian.Uint16(buf) == id {
			return buf[:n], nil
		}
	}
}

func exchangeTCP(ctx context.Context, server string, question []byte) ([]byte, error) {
	conn, err := dialDNS(ctx, "tcp", server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(question))), question...)); err != nil {
		return nil, err
	}
	var head [2]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, binary.BigEndian.Uint16(head[:]))
	_, err = io.ReadFull(conn, answer)
	return answer, err
}

// parseAnswer returns the data of the records of that type. A name that does not
// exist has none.
func parseAnswer(answer []byte, id uint16, kind dnsmessage.Type) (records [][]byte, err error) {
	var p dnsmessage.Parser
	head, err := p.Start(answer)
	switch {
	case err != nil:
		return nil, err
	case head.ID != id || !head.Response:
		return nil, errors.New("the DNS server answers another question")
	case head.RCode == dnsmessage.RCodeNameError:
		return nil, nil
	case head.RCode != dnsmessage.RCodeSuccess:
		return nil, fmt.Errorf("the DNS server says %s", strings.TrimPrefix(head.RCode.String(), "RCode"))
	}
	if err := p.SkipAllQuestions(); err != nil {
		return nil, err
	}
	for {
		h, err := p.AnswerHeader()
		switch {
		case errors.Is(err, dnsmessage.ErrSectionDone):
			return records, nil
		case err != nil:
			return nil, err
		case h.Type != kind:
			err = p.SkipAnswer()
		default:
			var r dnsmessage.UnknownResource
			r, err = p.UnknownResource()
			records = append(records, r.Data)
		}
		if err != nil {
			return nil, err
		}
	}
}
