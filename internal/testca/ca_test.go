package testca

import (
	"crypto/x509"
	"encoding/pem"
	"testing"
)

func parsePEM(t testing.TB, b []byte) []*x509.Certificate {
	t.Helper()
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return certs
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, c)
	}
}

func TestIssue(t *testing.T) {
	box := newMailbox(t)
	ca := start(t, Config{Relay: box.addr})
	cert := newClient(t, ca).obtain(ca, box, alice)
	if len(cert.EmailAddresses) != 1 || cert.EmailAddresses[0] != alice {
		t.Errorf("the certificate is for %q", cert.EmailAddresses)
	}
	if n := ca.Counters().Events[EventIssued]; n != 1 {
		t.Errorf("%d certificates counted", n)
	}
}
