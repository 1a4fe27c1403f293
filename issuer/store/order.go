package store

import (
	"cmp"
	"fmt"
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
	Since      time.Time    `json:"since"`         // when the first of the orders that this one replaces was made
	URL        string       `json:"url,omitempty"` // of the order; "" until the CA answers
	Replaces   string       `json:"replaces,omitempty"`
	Key        string       `json:"key,omitempty"` // PEM; set before the CSR is sent
	Finalizing bool         `json:"finalizing,omitempty"`
	Refusal    *Refusal     `json:"refusal,omitempty"` // of the CSR, although the order still exists
	Stored     bool         `json:"stored,omitempty"`  // certs/NAME is written, but the hook has not run
	HookError  string       `json:"hook-error,omitempty"`
	Challenges []*Challenge `json:"challenges"`
}

// Refusal is a CA's refusal of a CSR. Some CAs then show the order as "processing" for ever.
type Refusal struct {
	Text string    `json:"text"`
	Hint string    `json:"hint,omitempty"`
	At   time.Time `json:"at"`
	Ours bool      `json:"ours,omitempty"` // the request is at fault (4xx), not the server
}

// Challenge is one address of an order. It does not keep the CA's answers: a run that resumes
// asks again.
type Challenge struct {
	ID     string    `json:"id"`    // of the pending record
	Email  string    `json:"email"` // as ordered
	Posted time.Time `json:"posted,omitzero"`

	Value string `json:"-"` // the address as the CA wrote it
	Authz string `json:"-"` // URL
	URL   string `json:"-"`
	From  string `json:"-"` // the sender of the mail
	Token string `json:"-"`
	Valid bool   `json:"-"`
}

// Name returns the address in the CA's form, for mail and the CSR.
func (c *Challenge) Name() string { return cmp.Or(c.Value, c.Email) }

// DrySuffix ends the NAME of a dry run's order.
const DrySuffix = ".dry-run"

// OrderPath returns the file of an order.
func (d *Disk) OrderPath(name string, dry bool) string {
	if dry {
		name += DrySuffix
	}
	return d.Path("orders", name+".json")
}

// ReadOrder returns the order at path, nil if there is none.
func ReadOrder(path string) (*Order, error) {
	return orNone(Read(path, func(o *Order) bool { return o.Version == Version && len(o.Emails) > 0 }))
}

// Named is an order with its name, which has a suffix for a dry run.
type Named struct {
	Name string
	*Order
}

// Orders returns the orders on disk, including dry runs, and calls damaged for those that it
// cannot read. If a newer postseal wrote one, it returns those before it with the error.
func (d *Disk) Orders(damaged func(name string, err error)) (all []Named, err error) {
	names, err := Names(d.Path("orders"))
	if err != nil {
		return nil, Error(d.Path("orders"), err)
	}
	for _, name := range names {
		switch o, err := ReadOrder(d.OrderPath(name, false)); {
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

// Settings are the options of a certificate that its renewals keep. Empty fields mean the
// configuration file's settings for the CA, or the default.
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
	// Configured names the settings above that came from the configuration: renewals take
	// them from there again.
	Configured []string `json:"configured,omitempty"`
}

// The settings that can be Configured. That includes an empty deploy hook.
const (
	SettingDeployHook = "deploy-hook"
	SettingKeyType    = "key-type"
	SettingP12        = "p12"
)

// Defaults are the configuration's present values for certificates without their own.
type Defaults struct{ DeployHook, KeyType, P12 string }

// Into updates the settings of a certificate. It skips a key type that does not suit the
// certificate's usages, and keeps settings that the configuration no longer has, except for a
// hook: somebody has removed that.
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

// Duration is a time in the form "2s".
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

// Absolute makes file names independent of the working directory: a renewal runs elsewhere.
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
