package machine

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"

	"github.com/miekg/dns"
)

// Name is what the DNS of the world has of a name.
type Name struct {
	Mail    string // the host that takes the mail, MX; "" for none
	Address string // IPv4; "" for none
}

// ServeDNS answers at port 53 of the machine as the DNS of the world, until the
// machine ends. TXT records are what the server at txt says, which is that of a test
// CA. look is asked for names in lower case without the final dot; what it does not
// know does not exist.
func ServeDNS(txt string, look func(name string) (n Name, known bool)) error {
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		if len(q.Question) == 1 && q.Question[0].Qtype == dns.TypeTXT {
			if answer, err := dns.Exchange(q, txt); err == nil {
				_ = w.WriteMsg(answer) // whoever asked asks again
				return
			}
		}
		_ = w.WriteMsg(answerFrom(q, look))
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

func answerFrom(q *dns.Msg, look func(string) (Name, bool)) *dns.Msg {
	res := new(dns.Msg).SetReply(q)
	res.Authoritative = true
	asked := q.Question[0]
	n, known := look(strings.TrimSuffix(strings.ToLower(asked.Name), "."))
	hdr := dns.RR_Header{Name: asked.Name, Rrtype: asked.Qtype, Class: dns.ClassINET, Ttl: 60}
	switch {
	case !known:
		res.Rcode = dns.RcodeNameError
	case asked.Qtype == dns.TypeA && n.Address != "":
		res.Answer = []dns.RR{&dns.A{Hdr: hdr, A: net.ParseIP(n.Address)}}
	case asked.Qtype == dns.TypeMX && n.Mail != "":
		res.Answer = []dns.RR{&dns.MX{Hdr: hdr, Preference: 10, Mx: n.Mail + "."}}
	}
	return res
}

// Forward gives the machine an address and passes connections to it on, until the machine
// ends: a test CA listens on loopback alone, and mail servers send no mail to loopback
// addresses that an MX names.
func Forward(from, to string) error {
	host, _, err := net.SplitHostPort(from)
	if err != nil {
		return err
	}
	if out, err := exec.Command("ip", "address", "add", host, "dev", "lo").CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %w\n%s", err, out)
	}
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
