// Package ca is one CA over ACME (RFC 8555, RFC 8823), and our account there: it sends
// requests, waits as long as the CA asks, and puts the CA's words into errors. It keeps what
// it learned about a CA beside the account.
package ca

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"postseal/internal/failure"
	"postseal/internal/https"
	"postseal/issuer/store"
	"postseal/state"
)

// Options are the same for all CAs of a run.
type Options struct {
	Disk    *store.Disk
	Version string // of the program, for User-Agent
	Account AccountOptions
	Note    func(text string) // receives what a user may want to know
	Trace   func(text string) // receives each request
}

// Settings say how to deal with one CA if an order does not. Empty fields mean the default.
type Settings struct {
	TokenJoin string // auto | string | bytes
	Trigger   string // auto | reply | post
	Settle    string // a duration
	Compat    []string
	Policy    state.Policy
}

// CA is one CA and our account there.
type CA struct {
	Server   string   // URL of the directory
	Settings Settings // from the configuration file
	options  Options
	client   *acme.Client

	dirMu sync.Mutex // held during the request for the directory
	dir   *acme.Directory

	mu      sync.Mutex
	account *account
	resume  time.Time // no request before it: the CA asked for a pause
	limits  map[string]*limit
}

// New returns the CA with that directory, without a request to it. It trusts the system's
// roots and all those in bundles, since the CA may need any of them; "" adds none.
func New(server string, bundles []string, settings Settings, o Options) (*CA, error) {
	if err := CheckServer(server); err != nil {
		return nil, err
	}
	hc, err := newHTTPClient(bundles, userAgent(o.Version), o.Trace)
	if err != nil {
		return nil, err
	}
	return &CA{Server: server, Settings: settings, options: o, limits: map[string]*limit{}, client: &acme.Client{
		Directory: server, HTTPClient: hc, UserAgent: userAgent(o.Version),
		PollTimeout: time.Nanosecond, // acmez finalizes once; we poll
	}}, nil
}

func (c *CA) now() time.Time { return c.options.Disk.Now() }

// CheckServer refuses anything but the https URL of a directory.
func CheckServer(server string) error {
	if !https.URL(server) {
		return failure.In("server", failure.Usage("give the https URL of an ACME directory", "%q is not an https URL", server))
	}
	return nil
}

// Directory returns the CA's directory, which it requests once.
func (c *CA) Directory(ctx context.Context) (*acme.Directory, error) {
	c.dirMu.Lock()
	defer c.dirMu.Unlock()
	if c.dir != nil {
		return c.dir, nil
	}
	var dir acme.Directory
	err := c.do(ctx, "reading the directory", func(ctx context.Context) (err error) {
		dir, err = c.client.GetDirectory(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	if dir.Meta == nil {
		dir.Meta = new(acme.DirectoryMeta)
	}
	c.dir = &dir
	return c.dir, nil
}

// Compat reports whether an order's list, or otherwise the settings, ask for a workaround.
func (c *CA) Compat(list []string, word string) bool {
	if list == nil {
		list = c.Settings.Compat
	}
	return slices.Contains(list, word)
}
