package testca

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// DNSFault is how the DNS server fails for a name.
type DNSFault string

const (
	DNSWorks    DNSFault = ""
	DNSServFail DNSFault = "SERVFAIL"
	DNSRefused  DNSFault = "REFUSED"
	DNSTimeout  DNSFault = "TIMEOUT"  // no answer at all
	DNSTruncate DNSFault = "TRUNCATE" // TC over UDP, in full over TCP
)

// zone is what the DNS server knows: TXT records and faults, by name in lower
// case without the last dot.
type zone struct {
	file string // read afresh for each query; "" for none

	mu     sync.Mutex
	txt    map[string][]string
	faults map[string]DNSFault
}

func newZone(file string) *zone {
	return &zone{file: file, txt: map[string][]string{}, faults: map[string]DNSFault{}}
}

func canonicalName(name string) string { return asciiDomain(name) }

// SetTXT replaces the TXT records of a name; without values it has none.
func (ca *CA) SetTXT(name string, values ...string) {
	ca.zone.mu.Lock()
	defer ca.zone.mu.Unlock()
	if len(values) == 0 {
		delete(ca.zone.txt, canonicalName(name))
		return
	}
	ca.zone.txt[canonicalName(name)] = values
}

// SetDNSFault makes queries for a name fail, or work again.
func (ca *CA) SetDNSFault(name string, f DNSFault) {
	ca.zone.mu.Lock()
	defer ca.zone.mu.Unlock()
	ca.zone.faults[canonicalName(name)] = f
}

// lookup returns what is known of a name, the file's records after the others.
func (z *zone) lookup(name string) ([]string, DNSFault) {
	name = canonicalName(name)
	z.mu.Lock()
	txt, fault := z.txt[name], z.faults[name]
	z.mu.Unlock()
	more, fileFault := z.lookupFile(name)
	or(&fault, fileFault)
	return append(append([]string{}, txt...), more...), fault
}

// lookupFile reads the lines about a name; the form is in the package's
// documentation.
func (z *zone) lookupFile(name string) (txt []string, fault DNSFault) {
	if z.file == "" {
		return nil, DNSWorks
	}
	b, err := os.ReadFile(z.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, DNSWorks
	}
	if err != nil {
		return nil, DNSServFail
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		owner, rest := cutWord(lines.Text())
		if owner == "" || owner[0] == '#' || owner[0] == ';' || canonicalName(owner) != name {
			continue
		}
		kind, value := cutWord(rest)
		switch kind = strings.ToUpper(kind); {
		case kind == "TXT":
			txt = append(txt, unquote(value))
		case oneOf(DNSFault(kind), DNSServFail, DNSRefused, DNSTimeout, DNSTruncate):
			fault = DNSFault(kind)
		}
	}
	return txt, fault
}

// cutWord cuts the first word off a line; neither part has white space around.
func cutWord(s string) (word, rest string) {
	s = strings.TrimSpace(s)
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimSpace(s[i:])
}

// unquote takes off the quotes that people who know zone files write.
func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}

// ServeDNS answers one query.
func (z *zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	res := new(dns.Msg).SetReply(q)
	res.Authoritative = true
	if len(q.Question) != 1 {
		res.Rcode = dns.RcodeFormatError
		w.WriteMsg(res)
		return
	}
	_, overUDP := w.RemoteAddr().(*net.UDPAddr)
	txt, fault := z.lookup(q.Question[0].Name)
	switch {
	case fault == DNSTimeout:
		return
	case fault == DNSServFail:
		res.Rcode = dns.RcodeServerFailure
	case fault == DNSRefused:
		res.Rcode = dns.RcodeRefused
	case fault == DNSTruncate && overUDP:
		res.Truncated = true
	case len(txt) == 0:
		res.Rcode = dns.RcodeNameError
	case q.Question[0].Qtype == dns.TypeTXT || q.Question[0].Qtype == dns.TypeANY:
		res.Answer = txtRecords(q.Question[0].Name, txt)
	}
	if overUDP {
		res.Truncate(udpSize(q))
	}
	w.WriteMsg(res)
}

// udpSize is how large an answer may be: 512 bytes, or what EDNS offers.
func udpSize(q *dns.Msg) int {
	if opt := q.IsEdns0(); opt != nil {
		return max(dns.MinMsgSize, int(opt.UDPSize()))
	}
	return dns.MinMsgSize
}

func txtRecords(name string, values []string) []dns.RR {
	var all []dns.RR
	for _, v := range values {
		all = append(all, &dns.TXT{
			Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 0},
			Txt: characterStrings(v),
		})
	}
	return all
}

// characterStrings cuts a value into the strings of at most 255 bytes a TXT
// record is made of (RFC 1035, Section 3.3.14).
func characterStrings(v string) []string {
	// The library reads backslashes as escapes.
	v = strings.ReplaceAll(v, `\`, `\\`)
	var out []string
	for len(v) > 255 {
		cut := 255
		if v[cut-1] == '\\' {
			cut-- // keep an escape together
		}
		out = append(out, v[:cut])
		v = v[cut:]
	}
	return append(out, v)
}

// dnsError is a temporary failure as net.Resolver reports it.
func dnsError(name string, fault DNSFault) error {
	return &net.DNSError{Err: string(fault), Name: name, IsTemporary: true, IsTimeout: fault == DNSTimeout}
}

// lookupTXT asks the zone directly, for the check of replies.
func (z *zone) lookupTXT(name string) ([]string, error) {
	txt, fault := z.lookup(name)
	switch {
	case oneOf(fault, DNSServFail, DNSRefused, DNSTimeout):
		return nil, dnsError(name, fault)
	case len(txt) == 0:
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return txt, nil
}

// dnsServers are the UDP and the TCP half, on the same port.
type dnsServers struct{ udp, tcp *dns.Server }

func listenDNS(addr string, h dns.Handler) (*dnsServers, string, error) {
	const tries = 20 // for a port free on both protocols
	var lastErr error
	for range tries {
		udp, err := net.ListenPacket("udp", addr)
		if err != nil {
			return nil, "", err
		}
		tcp, err := net.Listen("tcp", udp.LocalAddr().String())
		if err != nil {
			udp.Close()
			lastErr = err
			continue
		}
		return &dnsServers{
			udp: &dns.Server{PacketConn: udp, Handler: h},
			tcp: &dns.Server{Listener: tcp, Handler: h},
		}, udp.LocalAddr().String(), nil
	}
	return nil, "", lastErr
}

// close ends both halves. The sockets are closed as well as the servers, for
// a server that has not begun to serve cannot be shut down.
func (s *dnsServers) close() {
	s.udp.Shutdown()
	s.tcp.Shutdown()
	s.udp.PacketConn.Close()
	s.tcp.Listener.Close()
}
