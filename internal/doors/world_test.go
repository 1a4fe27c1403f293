//go:build doors

package doors

import (
	"io"
	"net"
	"strings"

	"github.com/miekg/dns"

	"postseal/internal/testca"
)

// serveDNS answers at 127.0.0.1:53 as the DNS of the world: MX and A of the two
// domains, and for TXT whatever the CA's own server says.
func serveDNS(ca *testca.CA) error {
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		if len(q.Question) == 1 && q.Question[0].Qtype == dns.TypeTXT {
			if answer, err := dns.Exchange(q, ca.DNSAddr); err == nil {
				w.WriteMsg(answer)
				return
			}
		}
		w.WriteMsg(answerHost(q, ca.MailDomain))
	})
	udp, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		return err
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:53")
	if err != nil {
		return err
	}
	go dns.ActivateAndServe(nil, udp, handler)
	go dns.ActivateAndServe(tcp, nil, handler)
	return nil
}

func answerHost(q *dns.Msg, caDomain string) *dns.Msg {
	res := new(dns.Msg).SetReply(q)
	res.Authoritative = true
	addresses := map[string]string{domain: "127.0.0.1", "mail." + domain: "127.0.0.1", caDomain: caHost, "mail." + caDomain: caHost}
	name := strings.TrimSuffix(strings.ToLower(q.Question[0].Name), ".")
	addr, known := addresses[name]
	if !known {
		res.Rcode = dns.RcodeNameError
		return res
	}
	hdr := dns.RR_Header{Name: q.Question[0].Name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET, Ttl: 60}
	switch q.Question[0].Qtype {
	case dns.TypeA:
		res.Answer = []dns.RR{&dns.A{Hdr: hdr, A: net.ParseIP(addr)}}
	case dns.TypeMX:
		if !strings.HasPrefix(name, "mail.") {
			res.Answer = []dns.RR{&dns.MX{Hdr: hdr, Preference: 10, Mx: "mail." + q.Question[0].Name}}
		}
	}
	return res
}

// forward passes connections on: the CA listens on loopback alone, and mail servers
// send no mail to loopback addresses that an MX names.
func forward(from, to string) error {
	l, err := net.Listen("tcp", from)
	if err != nil {
		return err
	}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go join(in, to)
		}
	}()
	return nil
}

func join(in net.Conn, to string) {
	defer in.Close()
	out, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer out.Close()
	go func() {
		io.Copy(out, in)
		out.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(in, out)
}
