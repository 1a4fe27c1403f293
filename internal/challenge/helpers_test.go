package challenge

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"postseal/internal/submit"
	"postseal/state"
)

const (
	caFrom   = "acme-challenge+1@ca.example"
	alice    = "alice@example.test"
	part1    = "V4nE8NhYh6edBpfQTg5qqQ"
	server   = "https://ca.example/directory"
	selector = "s1"
)

// now is the time of every test. The library uses the real clock to date signatures.
var now = time.Now().Truncate(time.Second)

var caKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// keyRecord is the DKIM record of caKey.
func keyRecord() string {
	der, err := x509.MarshalPKIXPublicKey(caKey().Public())
	if err != nil {
		panic(err)
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
}

// challengeMail is a genuine challenge before its signature.
func challengeMail() string {
	return strings.ReplaceAll(`From: `+caFrom+`
To: `+alice+`
Subject: ACME: `+part1+`
Date: `+now.Format(time.RFC1123Z)+`
Message-ID: <challenge-1@ca.example>
Auto-Submitted: auto-generated; type=acme
MIME-Version: 1.0
Content-Type: text/plain

This is a challenge.
`, "\n", "\r\n")
}

// signedBy signs a message as the CA does, over the given fields or those of the strict
// policy.
func signedBy(t testing.TB, domain, mail string, fields ...string) []byte {
	t.Helper()
	if fields == nil {
		fields = strictList
	}
	var out bytes.Buffer
	err := dkim.Sign(&out, strings.NewReader(mail), &dkim.SignOptions{
		Domain: domain, Selector: selector, Signer: caKey(), HeaderKeys: fields,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// zone is a DNS that holds TXT records and counts look-ups.
type zone struct {
	mu      sync.Mutex
	txt     map[string][]string
	fail    error
	lookups int
}

func (z *zone) lookup(_ context.Context, name string) ([]string, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.lookups++
	if z.fail != nil {
		return nil, z.fail
	}
	if records, ok := z.txt[strings.ToLower(name)]; ok {
		return records, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// outbox is an SMTP server that accepts everything, or fails in one way.
type outbox struct {
	mu   sync.Mutex
	sent []string
	env  []submit.Envelope
	fail error
}

func (o *outbox) send(_ context.Context, env submit.Envelope, raw []byte, beforeDot func() error) error {
	if err := beforeDot(); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fail != nil {
		return o.fail
	}
	o.env = append(o.env, env)
	o.sent = append(o.sent, string(raw))
	return nil
}

// site is everything around a responder.
type site struct {
	*Responder
	dns *zone
	out *outbox
}

// newSite returns a responder for a state directory in which alice waits for a
// challenge, with a DNS that has the CA's key.
func newSite(t testing.TB) *site {
	t.Helper()
	dir := state.Open(t.TempDir() + "/state")
	if _, err := dir.Create(); err != nil {
		t.Fatal(err)
	}
	s := &site{dns: &zone{txt: map[string][]string{selector + "._domainkey.ca.example": {keyRecord()}}}, out: &outbox{}}
	s.Responder = &Responder{
		State: dir, LookupTXT: s.dns.lookup, Send: s.out.send, TokenWait: time.Millisecond,
		Now: func() time.Time { return now },
	}
	s.put(t, pending())
	return s
}

func (s *site) put(t testing.TB, p *state.Pending) {
	t.Helper()
	if err := s.State.Put(p); err != nil {
		t.Fatal(err)
	}
}

// pending is the record of alice's order.
func pending() *state.Pending {
	return &state.Pending{
		ID: "order-1", Email: alice, Server: server, From: caFrom,
		Token: "x6I65YvEk6xC4KV0QMvdJw", Thumbprint: "hC4xyXNn8ZDH4yrcp93Zj3qgQs7LyT_GUL45YD7IVMQ",
		Join: "string", Created: now.Add(-time.Second), Expires: now.Add(time.Hour),
	}
}
