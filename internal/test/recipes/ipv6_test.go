//go:build doors

package recipes

import (
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"
)

const (
	smtp6  = "[::1]:25"
	relay6 = "[::1]:2525" // where the way out of a host without IPv4 begins
)

// onlyIPv6 gives the machine names, a resolver and a way out at ::1; the files that say so
// name no other address.
func (s *site) onlyIPv6() {
	s.t.Helper()
	s.smtp = smtp6
	s.ca.SetRelay(smtp6)
	s.writeFile("/etc/hosts", "::1 mail.example.test mail localhost\n", 0o644)
	s.writeFile("/etc/resolv.conf", "nameserver ::1\noptions timeout:2 attempts:1\n", 0o644)
	socket, err := net.ListenPacket("udp6", "[::1]:53")
	s.must(err)
	go dns.ActivateAndServe(nil, socket, dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		if answer, err := dns.Exchange(q, "127.0.0.1:53"); err == nil {
			_ = w.WriteMsg(answer) // whoever asked asks again
		}
	}))
	s.wayOut()
	s.sh("postconf -e inet_protocols=ipv6 relayhost=" + relay6)
}

// wayOut passes on what Postfix sends: the CA's mail host has no IPv6.
func (s *site) wayOut() {
	s.t.Helper()
	l, err := net.Listen("tcp6", relay6)
	s.must(err)
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", caSMTP)
			if err != nil {
				in.Close()
				continue
			}
			go func() { io.Copy(out, in); out.Close() }()
			go func() { io.Copy(in, out); in.Close() }()
		}
	}()
}

func inet6Milter(s *site) { s.startMilter("tcp", "[::1]:8891", "--listen", "inet:8891@[::1]") }

// Nothing of the host is at an IPv4 address: Postfix, the milter, the resolver, and the
// server that localhost names.
func TestIPv6Only(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.signOurselves()
		s.maildirs()
		s.onlyIPv6()
		s.appendFile("/etc/postfix/main.cf", strings.ReplaceAll(s.readFile(contrib("postfix-milter/main.cf.inet")), "127.0.0.1", "[::1]"))
		s.startPostfix()
		if listening("tcp", smtpAddr) {
			t.Fatal("Postfix listens at IPv4, too")
		}
		inet6Milter(s)
		milterRow(inet6Milter).run(s, "Postfix, milter, IPv6 only")
	})
}

// The host has both, and its IPv4 side takes no connection and answers no question: that
// resolver is the first, and localhost is the first address of that mail server, and a
// challenge is answered all the same.
func TestIPv4Dead(t *testing.T) {
	onMachine(t, "postfix", func(s *site) {
		s.signOurselves()
		s.maildirs()
		s.onlyIPv6()
		s.writeFile("/etc/hosts", "127.0.0.1 localhost mail.example.test mail\n::1 localhost mail.example.test mail\n", 0o644)
		s.silent("127.0.0.2:53")
		s.deaf(smtpAddr)
		s.writeFile("/etc/resolv.conf", "nameserver 127.0.0.2\nnameserver ::1\noptions timeout:2 attempts:1\n", 0o644)
		s.sh("postconf -e inet_protocols=all")
		s.add("postfix-milter/main.cf", "/etc/postfix/main.cf")
		s.ownSocket()
		s.startPostfix()
		unixMilter(s)
		s.wantOrder()
		s.wantFlow("carol")
	})
}

// silent is a DNS server whose packets get lost.
func (s *site) silent(addr string) {
	s.t.Helper()
	socket, err := net.ListenPacket("udp", addr)
	s.must(err)
	s.t.Cleanup(func() { socket.Close() })
}

// deaf makes a port whose packets get lost: the queue of those who want to connect is
// full, and the kernel drops what comes for it.
func (s *site) deaf(addr string) {
	s.t.Helper()
	at, err := net.ResolveTCPAddr("tcp4", addr)
	s.must(err)
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	s.must(err)
	s.must(syscall.Bind(fd, &syscall.SockaddrInet4{Port: at.Port, Addr: [4]byte(at.IP.To4())}))
	s.must(syscall.Listen(fd, 0))
	first, err := net.Dial("tcp4", addr) // takes the only place
	s.must(err)
	s.t.Cleanup(func() { first.Close() })
	if listening("tcp4", addr) {
		s.t.Fatal("somebody could connect")
	}
}
