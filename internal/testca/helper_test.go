package testca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-smtp"
	"github.com/mholt/acmez/v3/acme"
)

const alice = "alice@example.test"

// start runs a CA for one test.
func start(t testing.TB, cfg Config) *CA {
	t.Helper()
	ca, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ca.Close() })
	return ca
}

// mailbox is a mail server that hands each message to a channel.
type mailbox struct {
	addr  string
	mails chan received
	mu    sync.Mutex
	fail  []error // answers to the next messages
}

type received struct {
	from, to string
	utf8     bool
	raw      []byte
}

func newMailbox(t testing.TB) *mailbox {
	t.Helper()
	m := &mailbox{mails: make(chan received, 4096)}
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &boxSession{box: m}, nil }))
	s.EnableSMTPUTF8 = true
	s.ErrorLog = nowhere{}
	l, err := net.Listen("tcp", loopbackAnyPort)
	if err != nil {
		t.Fatal(err)
	}
	m.addr = l.Addr().String()
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(l) }()
	t.Cleanup(func() { s.Close(); l.Close(); <-done })
	return m
}

// next waits for a message.
func (m *mailbox) next(t testing.TB) received {
	t.Helper()
	select {
	case r := <-m.mails:
		return r
	case <-time.After(20 * time.Second):
		t.Fatal("no challenge mail came")
		return received{}
	}
}

// none asserts that no message is there. All ways to a message that should
// not be there are over when it is called.
func (m *mailbox) none(t testing.TB) {
	t.Helper()
	if n := len(m.mails); n != 0 {
		t.Fatalf("%d messages too many", n)
	}
}

type boxSession struct {
	box *mailbox
	got received
}

func (s *boxSession) Mail(from string, o *smtp.MailOptions) error {
	s.got = received{from: from, utf8: o.UTF8}
	return nil
}
func (s *boxSession) Rcpt(to string, _ *smtp.RcptOptions) error { s.got.to = to; return nil }
func (s *boxSession) Reset()                                    {}
func (s *boxSession) Logout() error                             { return nil }

func (s *boxSession) Data(r io.Reader) (err error) {
	if s.got.raw, err = io.ReadAll(r); err != nil {
		return err
	}
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	if len(s.box.fail) > 0 {
		err, s.box.fail = s.box.fail[0], s.box.fail[1:]
		return err
	}
	s.box.mails <- s.got
	return nil
}

// client is an ACME client that shares no code with the CA.
type client struct {
	*acme.Client
	t    testing.TB
	acct acme.Account
}

func newClient(t testing.TB, ca *CA) *client {
	t.Helper()
	c := unregistered(t, ca)
	acct, err := c.NewAccount(t.Context(), c.acct)
	if err != nil {
		t.Fatal(err)
	}
	c.acct = acct
	return c
}

func unregistered(t testing.TB, ca *CA) *client {
	t.Helper()
	return &client{
		t: t,
		Client: &acme.Client{
			Directory: ca.DirectoryURL, HTTPClient: httpClient(t, ca), PollInterval: 5 * time.Millisecond, PollTimeout: 20 * time.Second,
		},
		acct: acme.Account{TermsOfServiceAgreed: true, PrivateKey: newKey(t)},
	}
}

func httpClient(t testing.TB, ca *CA) *http.Client {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca.RootPEM) {
		t.Fatal("the root cannot be read")
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func newKey(t testing.TB) crypto.Signer {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (c *client) order(addrs ...string) acme.Order {
	c.t.Helper()
	var o acme.Order
	for _, a := range addrs {
		o.Identifiers = append(o.Identifiers, acme.Identifier{Type: "email", Value: a})
	}
	o, err := c.NewOrder(c.t.Context(), c.acct, o)
	if err != nil {
		c.t.Fatal(err)
	}
	return o
}

func (c *client) authz(o acme.Order, i int) acme.Authorization {
	c.t.Helper()
	a, err := c.GetAuthorization(c.t.Context(), c.acct, o.Authorizations[i])
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

func (c *client) postChallenge(a acme.Authorization) acme.Challenge {
	c.t.Helper()
	ch, err := c.InitiateChallenge(c.t.Context(), c.acct, a.Challenges[0])
	if err != nil {
		c.t.Fatal(err)
	}
	return ch
}

func (c *client) thumbprint() string {
	tp, err := c.acct.Thumbprint()
	if err != nil {
		c.t.Fatal(err)
	}
	return tp
}

// reply is a mail under construction.
type reply struct {
	envelopeFrom, envelopeTo string
	head                     []field
	body                     string
	sign                     func([]byte) []byte
}

// replyTo answers a challenge mail as RFC 8823, Section 3.2, has it.
func (c *client) replyTo(mail received, a acme.Authorization, join Join) *reply {
	c.t.Helper()
	e, err := parseEntity(mail.raw)
	if err != nil {
		c.t.Fatal(err)
	}
	part1, err := e.subjectToken()
	if err != nil {
		c.t.Fatal(err)
	}
	to := a.Challenges[0].From
	if r := e.all("Reply-To"); len(r) == 1 {
		to = r[0]
	}
	r := &reply{envelopeFrom: a.Identifier.Value, envelopeTo: to}
	r.head = []field{
		{"From", a.Identifier.Value}, {"To", to}, {"Subject", "Re: ACME: " + part1},
		{"Date", time.Now().Format(time.RFC1123Z)}, {"Message-ID", "<" + randomAlnum(16) + "@example.test>"},
	}
	if id := e.all("Message-ID"); len(id) == 1 {
		r.head = append(r.head, field{"In-Reply-To", id[0]}, field{"References", id[0]})
	}
	r.head = append(r.head, field{"MIME-Version", "1.0"}, field{"Content-Type", "text/plain; charset=us-ascii"}, field{"Content-Transfer-Encoding", "7bit"})
	r.body = block(responseDigest(join, part1, a.Challenges[0].Token, c.thumbprint()))
	return r
}

func block(digest string) string {
	return beginResponse + "\r\n" + digest + "\r\n" + endResponse + "\r\n"
}

// set replaces a header field, or removes it without a value.
func (r *reply) set(name, value string) {
	var head []field
	for _, f := range r.head {
		if !strings.EqualFold(f.name, name) {
			head = append(head, f)
		}
	}
	if value != "" {
		head = append(head, field{name, value})
	}
	r.head = head
}

// send hands the reply to the CA's mail host.
func (r *reply) send(t testing.TB, ca *CA) error {
	t.Helper()
	msg := message(r.head, r.body)
	if r.sign != nil {
		msg = r.sign(msg)
	}
	return sendRaw(t, ca, r.envelopeFrom, r.envelopeTo, msg)
}

// sendRaw speaks SMTP itself where it matters: the client library would mend
// bare line feeds.
func sendRaw(t testing.TB, ca *CA, from, to string, msg []byte) error {
	t.Helper()
	conn, err := net.Dial("tcp", ca.SMTPAddr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := smtp.NewClient(conn)
	if err := c.Mail(from, &smtp.MailOptions{UTF8: needsSMTPUTF8(from, to)}); err != nil {
		return err
	}
	if err := c.Rcpt(to, nil); err != nil {
		return err
	}
	if _, err := c.Data(); err != nil {
		return err
	}
	// Beside the client's back: none of these messages has a leading dot.
	if _, err := conn.Write(append(bytes.Clone(msg), "\r\n.\r\n"...)); err != nil {
		return err
	}
	return c.Noop() // reads the answer to DATA, see below
}

func mustSend(t testing.TB, ca *CA, r *reply) {
	t.Helper()
	if err := r.send(t, ca); err != nil {
		t.Fatal(err)
	}
}

// signer returns a DKIM signer for a domain, whose key it publishes at the CA.
func signer(t testing.TB, ca *CA, domain string, names []string) func([]byte) []byte {
	t.Helper()
	key, err := dkimKey(0)
	if err != nil {
		t.Fatal(err)
	}
	record, err := dkimRecord(key.Public(), false)
	if err != nil {
		t.Fatal(err)
	}
	ca.SetTXT("s1._domainkey."+domain, record)
	return func(msg []byte) []byte {
		var out bytes.Buffer
		err := dkim.Sign(&out, bytes.NewReader(msg), &dkim.SignOptions{
			Domain: domain, Selector: "s1", Signer: key, HeaderKeys: names,
			HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
		})
		if err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
}

// csr makes a request for addresses, changed by the edits.
func csr(t testing.TB, key crypto.Signer, addrs []string, edits ...func(*x509.CertificateRequest)) []byte {
	t.Helper()
	r := &x509.CertificateRequest{EmailAddresses: addrs}
	for _, e := range edits {
		e(r)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, r, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func withUsage(bits ...int) func(*x509.CertificateRequest) {
	return func(r *x509.CertificateRequest) {
		b := make([]byte, 2)
		last := 0
		for _, n := range bits {
			b[n/8] |= 0x80 >> (n % 8)
			last = max(last, n)
		}
		der, err := asn1.Marshal(asn1.BitString{Bytes: b[:last/8+1], BitLength: last + 1})
		if err != nil {
			panic(err)
		}
		r.ExtraExtensions = append(r.ExtraExtensions, pkix.Extension{Id: oidKeyUsage, Critical: true, Value: der})
	}
}

// obtain goes all the way: order, mail, reply, POST, finalize, download.
func (c *client) obtain(ca *CA, box *mailbox, addr string) *x509.Certificate {
	c.t.Helper()
	o := c.order(addr)
	a := c.authz(o, 0)
	mustSend(c.t, ca, c.replyTo(box.next(c.t), a, ca.cfg.Join))
	c.postChallenge(a)
	return c.finish(o, newKey(c.t))
}

// finish finalizes a ready order and downloads what comes of it.
func (c *client) finish(o acme.Order, key crypto.Signer, edits ...func(*x509.CertificateRequest)) *x509.Certificate {
	c.t.Helper()
	var addrs []string
	for _, id := range o.Identifiers {
		addrs = append(addrs, id.Value)
	}
	o, err := c.FinalizeOrder(c.t.Context(), c.acct, o, csr(c.t, key, addrs, edits...))
	if err != nil {
		c.t.Fatal(err)
	}
	return c.download(o)
}

func (c *client) download(o acme.Order) *x509.Certificate {
	c.t.Helper()
	chains, err := c.GetCertificateChain(c.t.Context(), c.acct, o.Certificate)
	if err != nil {
		c.t.Fatal(err)
	}
	certs := parsePEM(c.t, chains[0].ChainPEM)
	if len(certs) != 2 {
		c.t.Fatalf("the chain has %d certificates, not leaf and intermediate", len(certs))
	}
	return certs[0]
}

func waitEvents(t testing.TB, ca *CA, kind Kind, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := ca.Wait(ctx, func(c Counters) bool { return c.Events[kind] >= n }); err != nil {
		t.Fatalf("waiting for %d × %s: %v; counters %+v", n, kind, err, ca.Counters())
	}
}
