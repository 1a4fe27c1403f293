package readme

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"postseal/internal/testca"
)

// The world that the pages speak of. The machine is the mail server of example.org,
// where you have a mailbox; the CA's mail host is somewhere else.
const (
	domain   = "example.org"
	caHost   = "192.0.2.1"
	caSMTP   = "127.0.0.9:2525"
	selector = "s1"
	keyFile  = "/etc/postseal/example.org.pem"
	rootFile = "/etc/ssl/test-ca.pem"
)

// startWorld starts a CA that checks replies strictly, its mail host and the DNS, and
// publishes the DKIM key of the domain.
func startWorld(t *testing.T, key *rsa.PrivateKey) *testca.CA {
	ca, err := testca.Start(context.Background(), testca.Config{
		Dir: t.TempDir(), Strict: true, SMTPListen: caSMTP, Relay: "127.0.0.1:25", Validate: testca.ValidateOnArrival,
	})
	must(t, err)
	t.Cleanup(func() { ca.Close() })
	must(t, os.WriteFile(rootFile, ca.RootPEM, 0o644))
	serveDNS(t, ca)
	forward(t, net.JoinHostPort(caHost, "25"), caSMTP)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	must(t, err)
	for _, selector := range []string{selector, "mail"} { // the recipes have the second one
		ca.SetTXT(selector+"._domainkey."+domain, "v=DKIM1; k=rsa; p="+base64.StdEncoding.EncodeToString(public))
	}
	return ca
}

// makeKey makes the key, in the place that most pages name.
func makeKey(t *testing.T) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	must(t, os.MkdirAll("/etc/postseal", 0o755))
	must(t, os.WriteFile(keyFile, private, 0o640))
	return key
}

// serveDNS is the DNS of the world: each domain has its mail host, and TXT records
// are what the CA's own server says.
func serveDNS(t *testing.T, ca *testca.CA) {
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
	must(t, err)
	tcp, err := net.Listen("tcp", "127.0.0.1:53")
	must(t, err)
	go dns.ActivateAndServe(nil, udp, handler)
	go dns.ActivateAndServe(tcp, nil, handler)
}

func answerHost(q *dns.Msg, caDomain string) *dns.Msg {
	res := new(dns.Msg).SetReply(q)
	res.Authoritative = true
	name := strings.TrimSuffix(strings.ToLower(q.Question[0].Name), ".")
	hdr := dns.RR_Header{Name: q.Question[0].Name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET, Ttl: 60}
	addr := "127.0.0.1"
	if strings.HasSuffix(name, caDomain) {
		addr = caHost
	}
	switch {
	case q.Question[0].Qtype == dns.TypeA:
		res.Answer = []dns.RR{&dns.A{Hdr: hdr, A: net.ParseIP(addr)}}
	case q.Question[0].Qtype == dns.TypeMX && !strings.HasPrefix(name, "mail."):
		res.Answer = []dns.RR{&dns.MX{Hdr: hdr, Preference: 10, Mx: "mail." + q.Question[0].Name}}
	}
	return res
}

// forward passes connections on: the test CA listens on loopback alone, and mail
// servers send nothing to loopback addresses that an MX names.
func forward(t *testing.T, from, to string) {
	l, err := net.Listen("tcp", from)
	must(t, err)
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
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
			}()
		}
	}()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
