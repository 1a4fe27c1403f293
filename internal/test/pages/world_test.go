package pages

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net"
	"os"
	"strings"
	"testing"

	"postseal/internal/test/machine"
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
	must(t, machine.ServeDNS(ca.DNSAddr, func(name string) (machine.Name, bool) { return nameOf(name, ca.MailDomain), true }))
	must(t, machine.Forward(net.JoinHostPort(caHost, "25"), caSMTP))
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

// nameOf is what the DNS of the world has of a name: each domain has its mail host.
func nameOf(name, caDomain string) machine.Name {
	n := machine.Name{Address: "127.0.0.1"}
	if strings.HasSuffix(name, caDomain) {
		n.Address = caHost
	}
	if !strings.HasPrefix(name, "mail.") {
		n.Mail = "mail." + name
	}
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
