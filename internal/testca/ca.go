package testca

import (
	"context"
	"crypto"
	"crypto/rand"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/emersion/go-smtp"
)

// CA is a running test CA. Its exported fields are set by Start and do not
// change.
type CA struct {
	DirectoryURL  string
	RootPEM       []byte // of the certificates and of the HTTPS listener
	RootFile      string // the same in Config.Dir; "" without one
	SMIMERootPEM  []byte // of the challenges' signer, with SignSMIME only
	SMIMERootFile string
	SMTPAddr      string // HOST:PORT where replies come in
	DNSAddr       string // HOST:PORT, UDP and TCP
	MailDomain    string // what the challenges' From addresses end in
	EAB           EAB    // a binding that newAccount accepts

	cfg  Config
	base string // https://HOST:PORT
	// start makes the directory's URL a new one at each start, because
	// clients remember directories by URL, and ports come back.
	start   string
	ctx     context.Context
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
	journal *journal
	nonces  *nonces
	faults  *faults
	zone    *zone

	root, intermediate *authority
	smime              *smimeSigner
	dkimKey            crypto.Signer
	eabKey             []byte
	deliveries         chan struct{} // as many as there may be at once

	http         *http.Server
	smtp         *smtp.Server
	smtpListener net.Listener
	dns          *dnsServers
	closing      sync.Once

	mu             sync.Mutex
	closed         bool
	relay          string
	accounts       map[string]*account
	byThumb        map[string]*account
	orders         map[string]*order
	authzs         map[string]*authz
	byPart1        map[string]*authz
	unread         map[*authz]struct{} // have a reply nobody looked for yet
	waiting        map[*authz]struct{} // were posted and have no reply yet
	certs          map[string]*issued
	byARI          map[string]*issued
	replies        []Reply
	finalizeErrors int // yet to be answered
	refusals       int // of replies, yet to be answered
}

// EAB is an external account binding (RFC 8555, Section 7.3.4).
type EAB struct {
	KeyID   string `json:"kid"`
	HMACKey string `json:"hmac-key"` // base64url
}

// Start brings up a CA. It runs until Close is called or ctx ends.
func Start(ctx context.Context, cfg Config) (*CA, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	ca := &CA{
		MailDomain: cfg.Domain, start: strings.ToLower(randomAlnum(8)),
		cfg: cfg, journal: newJournal(cfg.OnEvent), nonces: newNonces(),
		relay: cfg.Relay, finalizeErrors: cfg.FinalizeErrors, refusals: cfg.RefuseMail,
		deliveries: make(chan struct{}, maxDeliveries),
		accounts:   map[string]*account{}, byThumb: map[string]*account{}, orders: map[string]*order{},
		authzs: map[string]*authz{}, byPart1: map[string]*authz{}, unread: map[*authz]struct{}{},
		waiting: map[*authz]struct{}{}, certs: map[string]*issued{}, byARI: map[string]*issued{},
	}
	ca.ctx, ca.cancel = context.WithCancel(ctx)
	if err := ca.setUp(); err != nil {
		ca.Close()
		return nil, err
	}
	context.AfterFunc(ctx, func() { ca.Close() })
	return ca, nil
}

func (ca *CA) setUp() (err error) {
	if ca.faults, err = newFaults(ca.cfg); err != nil {
		return err
	}
	ca.zone = newZone("")
	if ca.cfg.Dir != "" {
		ca.zone.file = filepath.Join(ca.cfg.Dir, "zone.txt")
	}
	for _, step := range []func() error{
		ca.setUpKeys, ca.setUpDKIM, ca.writeRoots, ca.listenDNS, ca.listenSMTP, ca.listenHTTPS,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// setUpKeys makes a root that nobody has seen before.
func (ca *CA) setUpKeys() (err error) {
	suffix := randomAlnum(6)
	if ca.root, err = newAuthority("postseal demo root "+suffix, nil); err != nil {
		return err
	}
	if ca.intermediate, err = newAuthority("postseal demo intermediate "+suffix, ca.root); err != nil {
		return err
	}
	ca.RootPEM = pemOf(ca.root.cert)
	ca.eabKey = make([]byte, 32)
	rand.Read(ca.eabKey)
	ca.EAB = EAB{KeyID: "postseal-demo", HMACKey: encode64(ca.eabKey)}
	if ca.cfg.Sign != SignSMIME {
		return nil
	}
	if ca.smime, err = newSMIMESigner(suffix); err != nil {
		return err
	}
	ca.SMIMERootPEM = pemOf(ca.smime.root.cert)
	return nil
}

func (ca *CA) writeRoots() error {
	if ca.cfg.Dir == "" {
		return nil
	}
	if err := os.MkdirAll(ca.cfg.Dir, 0o755); err != nil {
		return err
	}
	ca.RootFile = filepath.Join(ca.cfg.Dir, "root.pem")
	if err := os.WriteFile(ca.RootFile, ca.RootPEM, 0o644); err != nil {
		return err
	}
	if ca.smime == nil {
		return nil
	}
	ca.SMIMERootFile = filepath.Join(ca.cfg.Dir, "smime-root.pem")
	return os.WriteFile(ca.SMIMERootFile, ca.SMIMERootPEM, 0o644)
}

func (ca *CA) listenDNS() (err error) {
	if ca.dns, ca.DNSAddr, err = listenDNS(ca.cfg.DNSListen, ca.zone); err != nil {
		return fmt.Errorf("DNS: %w", err)
	}
	ca.background(func() { ca.dns.udp.ActivateAndServe() })
	ca.background(func() { ca.dns.tcp.ActivateAndServe() })
	return nil
}

func (ca *CA) listenSMTP() error {
	l, err := net.Listen("tcp", ca.cfg.SMTPListen)
	if err != nil {
		return fmt.Errorf("SMTP: %w", err)
	}
	ca.SMTPAddr = l.Addr().String()
	ca.smtp, ca.smtpListener = ca.newSMTPServer(), l
	ca.background(func() { ca.smtp.Serve(l) })
	return nil
}

func (ca *CA) listenHTTPS() error {
	tlsConfig, err := ca.root.newTLS()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", ca.cfg.Listen)
	if err != nil {
		return fmt.Errorf("ACME: %w", err)
	}
	ca.base = "https://" + l.Addr().String()
	ca.DirectoryURL = ca.url(kindDirectory, "")
	handler := ca.routes()
	if ca.cfg.Tamper != nil {
		handler = ca.cfg.Tamper(handler)
	}
	ca.http = &http.Server{Handler: handler, TLSConfig: tlsConfig, ErrorLog: log.New(nowhere{}, "", 0)}
	ca.background(func() { ca.http.ServeTLS(l, "", "") })
	return nil
}

// background runs f; Close waits for it to return.
func (ca *CA) background(f func()) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if ca.closed {
		return
	}
	ca.tasks.Add(1)
	go func() {
		defer ca.tasks.Done()
		f()
	}()
}

// SetRelay says where challenge mails go from now on.
func (ca *CA) SetRelay(addr string) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.relay = addr
}

func (ca *CA) relayAddr() string {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.relay
}

// Close stops the CA and returns when nothing of it runs any more.
func (ca *CA) Close() error {
	ca.closing.Do(ca.close)
	return nil
}

func (ca *CA) close() {
	ca.mu.Lock()
	ca.closed = true
	for a := range ca.waiting {
		a.timer.Stop()
	}
	ca.mu.Unlock()
	ca.cancel()
	if ca.http != nil {
		ca.http.Close()
	}
	if ca.smtp != nil {
		ca.smtp.Close()
		ca.smtpListener.Close() // in case Serve had not begun
	}
	if ca.dns != nil {
		ca.dns.close()
	}
	ca.tasks.Wait()
}
