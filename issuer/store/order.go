package store

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"postseal/issuer/cert"
	"postseal/state"
)

// Order is orders/NAME.json: all that the next run needs to go on.
type Order struct {
	Version int `json:"version"`
	Settings
	DryRun     bool         `json:"dry-run,omitempty"`
	Created    time.Time    `json:"created"`
	Since      time.Time    `json:"since"`         // of the first of the orders that this one has replaced
	URL        string       `json:"url,omitempty"` // of the order; "" until the CA answered
	Replaces   string       `json:"replaces,omitempty"`
	Key        string       `json:"key,omitempty"` // PEM; set before the CSR is sent
	Finalizing bool         `json:"finalizing,omitempty"`
	Refusal    *Refusal     `json:"refusal,omitempty"` // of the CSR, while the order lives on all the same
	Stored     bool         `json:"stored,omitempty"`  // certs/NAME is written, the hook not yet done
	HookError  string       `json:"hook-error,omitempty"`
	Challenges []*Challenge `json:"challenges"`
}

// Refusal is what a CA said to a CSR. Some then show the order as "processing" for ever.
type Refusal struct {
	Text string    `json:"text"`
	Hint string    `json:"hint,omitempty"`
	At   time.Time `json:"at"`
	Ours bool      `json:"ours,omitempty"` // the request is at fault (4xx), not the server
}

// Challenge is one address of an order. The CA's answers are not written down: a run that
// resumes asks again.
type Challenge struct {
	ID     string    `json:"id"`    // of the pending record
	Email  string    `json:"email"` // as ordered
	Posted time.Time `json:"posted,omitzero"`

	Value string `json:"-"` // the address as the CA wrote it
	Authz string `json:"-"` // URL
	URL   string `json:"-"`
	From  string `json:"-"` // who sends the mail
	Token string `json:"-"`
	Valid bool   `json:"-"`
}

// Name returns the address in the CA's form, which is the one to use in mail and
// in the CSR.
func (c *Challenge) Name() string { return cmp.Or(c.Value, c.Email) }

// DrySuffix is that of the NAME of a dry run's order.
const DrySuffix = ".dry-run"

// OrderPath returns the file of an order.
func (d *Disk) OrderPath(name string, dry bool) string {
	if dry {
		name += DrySuffix
	}
	return d.Path("orders", name+".json")
}

// ReadOrder returns nil if there is no order.
func ReadOrder(path string) (*Order, error) {
	o := new(Order)
	err := Read(path, o, func() bool { return o.Version == Version && len(o.Emails) > 0 })
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return o, nil
}

// Named is an order and its name, that of a dry run with its suffix.
type Named struct {
	Name string
	*Order
}

// Orders returns the orders on disk, dry runs among them, and tells damaged of what cannot
// be read. With the error of one that a newer postseal wrote come those before it.
func (d *Disk) Orders(damaged func(name string, err error)) (all []Named, err error) {
	entries, err := os.ReadDir(d.Path("orders"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, Error(d.Path("orders"), err)
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || name[0] == '.' {
			continue
		}
		switch o, err := ReadOrder(d.Path("orders", e.Name())); {
		case state.Newer(err) != nil:
			return all, Error(name, err)
		case err != nil:
			damaged(name, err)
		case o != nil:
			all = append(all, Named{name, o})
		}
	}
	return all, nil
}

// Settings are the options of a certificate that its renewals keep. Empty fields
// mean what the configuration file says of the CA, else the default.
type Settings struct {
	Emails     []string        `json:"emails"`
	Kind       string          `json:"kind,omitempty"` // [kind.K] of the configuration; "" for none
	Server     string          `json:"server"`
	CABundle   string          `json:"ca-bundle,omitempty"`
	Profile    string          `json:"profile,omitempty"`
	KeyType    string          `json:"key-type"`
	Usages     []string        `json:"usage,omitempty"`
	KeepKey    bool            `json:"reuse-key,omitempty"` // at each renewal
	P12        string          `json:"p12,omitempty"`
	Passphrase cert.Passphrase `json:"passphrase"`
	Out        string          `json:"out,omitempty"`
	DeployHook string          `json:"deploy-hook,omitempty"`
	FailHook   string          `json:"fail-hook,omitempty"`
	TokenJoin  string          `json:"token-join,omitempty"`
	Trigger    string          `json:"trigger,omitempty"`
	Settle     *Duration       `json:"settle,omitempty"`
	Compat     []string        `json:"compat,omitempty"`
	// Configured names the settings above that were not given for this certificate but
	// came from the configuration: its renewals take them from there again.
	Configured []string `json:"configured,omitempty"`
}

// The settings that can be Configured. A deploy hook that is empty is, too.
const (
	SettingDeployHook = "deploy-hook"
	SettingKeyType    = "key-type"
	SettingP12        = "p12"
)

// Defaults are what the configuration says now of the certificates that were not given
// their own.
type Defaults struct{ DeployHook, KeyType, P12 string }

// Into brings settings of a certificate up to date. A key type that does not go with the
// certificate's usages is for others, and what the configuration has no word for any
// more stays, but for a hook: somebody took that out.
func (d Defaults) Into(s *Settings) {
	configured := func(name string) bool { return slices.Contains(s.Configured, name) }
	if s.DeployHook == "" && !configured(SettingDeployHook) {
		s.Configured = append(slices.Clone(s.Configured), SettingDeployHook)
	}
	if configured(SettingDeployHook) {
		s.DeployHook = d.DeployHook
	}
	if d.KeyType != "" && configured(SettingKeyType) && cert.CheckUsages(s.Usages, d.KeyType) == nil {
		s.KeyType = d.KeyType
	}
	if d.P12 != "" && (s.P12 == "" || configured(SettingP12)) {
		s.P12 = d.P12
	}
}

// Duration is written as in "2s".
type Duration time.Duration

// String writes 30m0s as 30m.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if d >= Duration(time.Minute) && d%Duration(time.Minute) == 0 {
		s = strings.TrimSuffix(s, "0s")
	}
	if d >= Duration(time.Hour) && d%Duration(time.Hour) == 0 {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}

// Absolute makes file names survive a change of the working directory: a renewal
// runs elsewhere.
func (s *Settings) Absolute() error {
	for _, p := range []*string{&s.CABundle, &s.Out, &s.Passphrase.Path} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return fmt.Errorf("%q: %w", *p, err)
		}
		*p = abs
	}
	return nil
}
