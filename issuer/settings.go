package issuer

import (
	"crypto"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"postseal/internal/failure"
	"postseal/issuer/cert"
	"postseal/state"
)

// The directories that are used unless the user names one.
const (
	DefaultServer = "https://acme.castle.cloud/acme/directory"
	StagingServer = "https://acme-staging.castle.cloud/acme/directory"
)

// DefaultTimeout is how long an order waits for its mail in one run.
const DefaultTimeout = 30 * time.Minute

// Settings are the options of a certificate that its renewals keep. Empty fields
// mean what the configuration file says of the CA, else the default.
type Settings struct {
	Emails     []string        `json:"emails"`
	Server     string          `json:"server"`
	CABundle   string          `json:"ca-bundle,omitempty"`
	Profile    string          `json:"profile,omitempty"`
	KeyType    string          `json:"key-type"`
	Usages     []string        `json:"usage,omitempty"`
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

// into brings settings of a certificate up to date. A key type that does not go with the
// certificate's usages is for others, and what the configuration has no word for any
// more stays, but for a hook: somebody took that out.
func (d Defaults) into(s *Settings) {
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

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	parsed, err := time.ParseDuration(s)
	*d = Duration(parsed)
	return err
}

// Request asks for one certificate.
type Request struct {
	Settings
	KeyPath     string        // a private key to use instead of a new one
	ReuseKey    bool          // use the key of the certificate that is replaced
	Force       bool          // though nothing is due
	DryRun      bool          // store nothing in certs/
	Timeout     time.Duration // of this run; 0 means DefaultTimeout
	Interactive *Interactive  // a person answers the mail; nil for the mail half
	// Asked names the settings (server, profile, key-type, usage) that must be those of a
	// certificate that is in place already; another is replaced by Force alone.
	Asked []string
	// AskPassphrase is called for a Passphrase without a kind, if an order is to be
	// made. Nil means a generated one.
	AskPassphrase func() (string, error)

	key      crypto.Signer // of KeyPath or the former certificate
	replaces string        // RFC 9773, Section 5
	renewal  bool          // not somebody's order who reads what is said
	queue    *queue        // of a batch; nil for a single order
}

// check refuses what makes no sense before anything is ordered, and fills in the
// defaults that the key decides.
func (r *Request) check() (err error) {
	if len(r.Emails) == 0 {
		return failure.Usage("give one with -e", "no address is given")
	}
	if r.Emails, err = cert.ParseAddresses(r.Emails); err != nil {
		return err
	}
	if err := CheckServer(r.Server); err != nil {
		return err
	}
	if err := r.checkKey(); err != nil {
		return err
	}
	if err := r.checkWords(); err != nil {
		return err
	}
	if r.Passphrase.Kind == cert.PassGiven {
		err = cert.CheckPassphrase(r.Passphrase.Value)
	}
	return err
}

func (r *Request) checkKey() (err error) {
	if r.KeyPath != "" && r.key == nil {
		if r.key, err = cert.ReadKey(r.KeyPath); err != nil {
			return err
		}
	}
	if r.key != nil {
		actual, err := cert.KeyTypeOf(r.key)
		if err != nil {
			return err
		}
		if r.KeyType != "" && r.KeyType != actual {
			return failure.In(SettingKeyType, failure.Usage("leave it out", "%s does not fit the given key, which is of type %s", r.KeyType, actual))
		}
		r.KeyType = actual
	}
	if r.KeyType == "" {
		r.KeyType = cert.DefaultKeyType
	}
	if r.key == nil && !slices.Contains(cert.KeyTypes, r.KeyType) {
		return failure.Usage("use one of "+strings.Join(cert.KeyTypes, ", "), "unknown key type %q", r.KeyType)
	}
	return cert.CheckUsages(r.Usages, r.KeyType)
}

func (r *Request) checkWords() error {
	words := []struct {
		setting string
		values  []string
		legal   []string
	}{
		{"p12", []string{r.P12}, cert.Formats},
		{"token-join", []string{r.TokenJoin}, state.TokenJoins},
		{"trigger", []string{r.Trigger}, state.Triggers},
		{"compat", r.Compat, state.Compats},
	}
	for _, w := range words {
		for _, v := range w.values {
			if v != "" && !slices.Contains(w.legal, v) {
				return failure.In(w.setting, failure.Usage("use "+strings.Join(w.legal, ", "), "unknown value %q", v))
			}
		}
	}
	if r.Settle != nil && *r.Settle < 0 {
		return failure.In("settle", failure.Usage("use a duration such as 2s", "%s is negative", time.Duration(*r.Settle)))
	}
	return nil
}

// absolute makes file names survive a change of the working directory: a renewal
// runs elsewhere.
func (s *Settings) absolute() error {
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

// compat reports whether a workaround is asked for, by the settings or else by the
// CA's table.
func compat(list, table []string, word string) bool {
	if list == nil {
		list = table
	}
	return slices.Contains(list, word)
}
