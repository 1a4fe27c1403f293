// Package resolve asks recursive name servers, each often enough that a silent one or a lost
// packet costs only time.
//
// Package net gives each server the five seconds of resolv.conf(5), which is all the time
// that a waiting mail server leaves us, names the wrong server in its errors, and has no CAA.
// This package uses net's parser, x/net/dns/dnsmessage, which leaves the bytes of a record
// unchanged.
//
// Rules:
//
//  1. An answer is final: records, or that none exist. After NXDOMAIN from the first server,
//     Client does not ask the second.
//  2. After anything else it asks the next server, and then all servers once more: silence,
//     SERVFAIL, REFUSED, a server that knows nothing and asks nobody.
//  3. It ignores an answer to another question: an attacker may be guessing.
//  4. EDNS is optional: after FORMERR, NOTIMP or BADVERS, Client asks again without it (RFC
//     6891, Section 7), and after silence in the second round.
//  5. If an answer does not fit into a packet, Client asks again over TCP.
//  6. All of it ends within the time of the caller's context.
package resolve

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// rounds is how often Client asks each server: UDP may lose a packet.
const rounds = 2

// maxServers bounds the servers of resolv.conf(5), so that each has enough time.
const maxServers = 5

// maxWait bounds one question to one server, however much time is left.
const maxWait = 5 * time.Second

// Client asks the server of Addr, HOST:PORT, or those of resolv.conf(5) if that is
// empty. Time bounds one look-up with all its tries.
type Client struct {
	Addr string
	Time time.Duration
	Conf string // instead of /etc/resolv.conf
}

// TXT returns the TXT records of a name that ends with a dot, the strings of each
// joined (RFC 6376, Section 3.6.2.2). Its errors are *net.DNSError, with IsNotFound or
// IsTemporary set.
func (c *Client) TXT(ctx context.Context, name string) ([]string, error) {
	records, err := c.Records(ctx, name, dnsmessage.TypeTXT)
	return texts(name, records, err)
}

func texts(name string, records []dnsmessage.ResourceBody, err error) (all []string, _ error) {
	if err != nil {
		return nil, err
	}
	if len(records) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	for _, record := range records {
		all = append(all, strings.Join(record.(*dnsmessage.TXTResource).TXT, ""))
	}
	return all, nil
}

// Records returns the records of a type of a name that ends with a dot; the server follows
// aliases. A missing record is not an error.
func (c *Client) Records(ctx context.Context, name string, kind dnsmessage.Type) ([]dnsmessage.ResourceBody, error) {
	if _, err := newQuery(name, kind, false); err != nil { // an invalid name has no record
		return nil, &net.DNSError{Err: err.Error(), Name: name, IsNotFound: true}
	}
	ctx, cancel := context.WithTimeout(ctx, c.Time)
	defer cancel()
	servers, wait := c.servers()
	return askEach(ctx, servers, wait, name, kind)
}

// askEach asks the servers in turn. It shares the remaining time out among the remaining
// tries.
func askEach(ctx context.Context, servers []string, wait time.Duration, name string, kind dnsmessage.Type) ([]dnsmessage.ResourceBody, error) {
	failed := make([]error, len(servers))
	for round := range rounds {
		for i, server := range servers {
			left := time.Until(deadline(ctx)) / time.Duration((rounds-round)*len(servers)-i)
			try, cancel := context.WithTimeout(ctx, min(left, wait))
			records, err := ask(try, server, name, kind, round == 0)
			cancel()
			if err == nil {
				return records, nil
			}
			if ctx.Err() != nil && failed[i] != nil {
				break // earlier errors say more than that time ran out
			}
			failed[i] = err
		}
	}
	return nil, describe(name, servers, failed)
}

func deadline(ctx context.Context) time.Time {
	t, _ := ctx.Deadline()
	return t
}

// describe names each server that failed, with its error.
func describe(name string, servers []string, failed []error) error {
	e := &net.DNSError{Name: name, IsTemporary: true}
	for i, err := range failed {
		if err == nil {
			continue
		}
		e.IsTimeout = e.IsTimeout || errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err)
		if e.Server == "" {
			e.Server, e.Err = servers[i], cause(err)
		} else {
			e.Err += "; on " + servers[i] + ": " + cause(err)
		}
	}
	if e.Err == "" {
		e.Err = "timeout"
	}
	return e
}

func cause(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded), os.IsTimeout(err):
		return "timeout"
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return err.Error()
}

// servers returns the servers to ask, in order, and the longest time for each. From
// resolv.conf(5) it takes nameserver and the option timeout; it asks each server twice,
// whatever attempts says, in the order of the file.
func (c *Client) servers() (servers []string, wait time.Duration) {
	if c.Addr != "" {
		return []string{c.Addr}, maxWait
	}
	wait = maxWait
	path := c.Conf
	if path == "" {
		path = "/etc/resolv.conf"
	}
	data, _ := os.ReadFile(path) // without it, ask the servers on this machine
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		switch {
		case len(f) > 1 && f[0] == "nameserver" && len(servers) < maxServers:
			addr := net.JoinHostPort(f[1], "53")
			if _, err := netip.ParseAddr(f[1]); err == nil && !slices.Contains(servers, addr) { // libc accepts no name either
				servers = append(servers, addr)
			}
		case len(f) > 1 && f[0] == "options":
			for _, option := range f[1:] {
				if s, ok := strings.CutPrefix(option, "timeout:"); ok {
					if n, err := strconv.ParseUint(s, 10, 8); err == nil {
						wait = min(maxWait, max(1, time.Duration(n))*time.Second)
					}
				}
			}
		}
	}
	if len(servers) == 0 {
		return []string{"127.0.0.1:53", "[::1]:53"}, wait
	}
	return servers, wait
}
