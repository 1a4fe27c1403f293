// Package ca is one CA over ACME (RFC 8555, RFC 8823), and our account there: it asks, waits
// as long as the CA asks to, and puts the CA's words into errors. The lessons about a CA
// are with its account.
package ca

import (
	"context"
	"net/http"
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
	Note    func(text string) // told what a user may want to know
	Trace   func(text string) // told of each request
}

// Settings say how to deal with one CA, where an order does not. Empty fields mean the
// default.
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
	Settings Settings // what the configuration file says of it
	options  Options
	client   *acme.Client
	http     *http.Client

	dirMu sync.Mutex // held while the directory is asked for
	dir   *acme.Directory

	mu      sync.Mutex
	account *account
	resume  time.Time // no request before it: the CA asked for a pause
	limits  map[string]*limit
}

// New returns the CA with that directory, without a request to it. Its
// roots are the system's and those in bundles, which add up, since each may be the one that
// a CA needs; "" adds none.
func New(server string, bundles []string, settings Settings, o Options) (*CA, error) {
	if err := CheckServer(server); err != nil {
		return nil, err
	}
	hc, err := newHTTPClient(bundles, userAgent(o.Version), o.Trace)
	if err != nil {
		return nil, err
	}
	return &CA{Server: server, Settings: settings, options: o, http: hc, limits: map[string]*limit{}, client: &acme.Client{
		Directory: server, HTTPClient: hc, UserAgent: userAgent(o.Version),
		PollTimeout: time.Nanosecond, // finalize once: we poll ourselves
	}}, nil
}

func (c *CA) now() time.Time { return c.options.Disk.Now() }

// CheckServer refuses what is not the https URL of a directory.
func CheckServer(server string) error {
	if !https.URL(server) {
		return failure.In("server", failure.Usage("give the https URL of an ACME directory", "%q is not an https URL", server))
	}
	return nil
}

// Directory returns the CA's directory, asked for once.
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

// Compat reports whether a workaround is asked for, by an order's list or else by the
// settings.
func (c *CA) Compat(list []string, word string) bool {
	if list == nil {
		list = c.Settings.Compat
	}
	return slices.Contains(list, word)
}
