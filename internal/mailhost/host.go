package mailhost

import (
	"crypto"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-milter"
	"github.com/emersion/go-smtp"
)

const (
	sessionTimeout  = 5 * time.Minute // a milter may take its time within it
	maxMessageBytes = 10 << 20
)

// Config says what a mail host does.
type Config struct {
	Domain string // whose mail is kept here
	Listen string // default 127.0.0.1:0
	Milter string // unix:PATH or inet:PORT@HOST; none when empty
	Relay  string // HOST:PORT for mail to other domains; none: it is refused

	// DKIMKey and Selector sign what users of Domain send elsewhere.
	DKIMKey  crypto.Signer
	Selector string

	// OnEvent is told what happens, from several goroutines at once. It must
	// not call back into the host's SMTP server.
	OnEvent func(Event)
}

// Kind is what an Event is about.
type Kind string

const (
	Accepted  Kind = "accepted"  // by the milter, or there is none
	Discarded Kind = "discarded" // by the milter
	Refused   Kind = "refused"   // by the milter; Reason
	Unasked   Kind = "unasked"   // the milter could not be asked; Reason
	Delivered Kind = "delivered" // into the mailbox of To
	Relayed   Kind = "relayed"   // the relay took it
	Returned  Kind = "returned"  // the relay did not; Reason
)

// Event is something that happened to a message.
type Event struct {
	Kind    Kind
	From    string // the envelope's
	To      string // the recipients, separated by spaces
	Subject string // as it stands in the message, unfolded
	Signed  bool   // Relayed: with our DKIM signature
	Reason  string
}

// Host is a mail host that runs.
type Host struct {
	Addr string // HOST:PORT of its SMTP server

	config Config
	milter *milter.Client // nil if there is none
	server *smtp.Server
	served chan error

	mu        sync.Mutex
	mailboxes map[string][][]byte
}

// Start starts a mail host.
func Start(config Config) (*Host, error) {
	if config.Domain == "" {
		return nil, errors.New("mail host: no domain")
	}
	if config.Listen == "" {
		config.Listen = "127.0.0.1:0"
	}
	h := &Host{config: config, mailboxes: map[string][][]byte{}, served: make(chan error, 1)}
	var err error
	if config.Milter != "" {
		if h.milter, err = newMilterClient(config.Milter); err != nil {
			return nil, err
		}
	}
	l, err := listen(config.Listen)
	if err != nil {
		return nil, err
	}
	h.Addr = l.Addr().String()
	h.server = h.newServer()
	go func() { h.served <- h.server.Serve(l) }()
	return h, nil
}

// listen refuses what is not loopback: the host takes anything from anybody.
func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("mail host: %s is not a loopback address", addr), l.Close())
	}
	return l, nil
}

func (h *Host) newServer() *smtp.Server {
	server := smtp.NewServer(smtp.BackendFunc(h.newSession))
	server.Domain = "mail." + h.config.Domain
	server.EnableSMTPUTF8 = true
	server.MaxMessageBytes = maxMessageBytes
	server.ReadTimeout, server.WriteTimeout = sessionTimeout, sessionTimeout
	server.ErrorLog = log.New(io.Discard, "", 0) // clients that hang up are not news
	return server
}

// Close stops the host, lets messages that are being processed end, and cuts the
// connections that are open.
func (h *Host) Close() error {
	return errors.Join(h.server.Close(), <-h.served)
}

// Mailbox returns the messages for an address, oldest first, with CRLF at the
// ends of the lines.
func (h *Host) Mailbox(addr string) [][]byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([][]byte(nil), h.mailboxes[mailboxKey(addr)]...)
}

func (h *Host) store(addr string, msg []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := mailboxKey(addr)
	h.mailboxes[key] = append(h.mailboxes[key], msg)
}

// mailboxKey makes addresses comparable: few hosts tell local parts apart by case.
func mailboxKey(addr string) string { return strings.ToLower(addr) }

// isLocal reports whether an address is in our domain.
func (h *Host) isLocal(addr string) bool {
	return strings.EqualFold(domainOf(addr), h.config.Domain)
}

func domainOf(addr string) string {
	return addr[strings.LastIndexByte(addr, '@')+1:]
}

func (h *Host) event(e Event) {
	if h.config.OnEvent != nil {
		h.config.OnEvent(e)
	}
}
