package issuer

import (
	"cmp"
	"crypto"
	"regexp"
	"slices"
	"strings"
	"time"

	"postseal/internal/failure"
	"postseal/issuer/ca"
	"postseal/issuer/cert"
	"postseal/issuer/store"
	"postseal/state"
)

// The default directories.
const (
	DefaultServer = "https://acme.castle.cloud/acme/directory"
	StagingServer = "https://acme-staging.castle.cloud/acme/directory"
)

// defaultTimeout is how long an order waits for its mail in one run.
const defaultTimeout = 30 * time.Minute

// Request asks for one certificate.
type Request struct {
	store.Settings
	KeyPath     string        // a private key to use instead of a new one
	ReuseKey    bool          // use the key of the certificate that is replaced, this time
	Force       bool          // even if nothing is due
	DryRun      bool          // store nothing in certs/
	Timeout     time.Duration // of this run; 0 means defaultTimeout
	Interactive *Interactive  // a person answers the mail; nil for the mail half
	Unattended  bool          // by a timer: waiting for a day is a failure
	Newcomer    bool          // a limit of the CA ends it, and in a batch all other new orders
	// Asked names the settings (server, profile, key-type, usage) that must match those of
	// an existing certificate; only Force replaces a different one.
	Asked []string
	// AskPassphrase is called for a Passphrase without a kind before an order is made. Nil
	// means a generated one.
	AskPassphrase func() (string, error)

	key      crypto.Signer // of KeyPath or the former certificate
	replaces string        // RFC 9773, Section 5
	queue    *queue        // of a batch; nil for a single order
	resume   bool          // take up an existing order, and make none
}

// check refuses an invalid request before anything is ordered, and fills in defaults.
func (r *Request) check() (err error) {
	if len(r.Emails) == 0 {
		return failure.Usage("give one", "no address is given")
	}
	r.Timeout = cmp.Or(r.Timeout, defaultTimeout)
	if r.Emails, err = cert.ParseAddresses(r.Emails); err != nil {
		return err
	}
	if r.Passphrase.Kind == cert.PassGiven {
		err = cert.CheckPassphrase(r.Passphrase.Value)
	}
	if r.Kind != "" {
		err = cmp.Or(CheckKindName(r.Kind), err)
	}
	return cmp.Or(ca.CheckServer(r.Server), r.checkKey(), r.checkWords(), err, r.Absolute())
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
			return failure.In(store.SettingKeyType, failure.Usage("leave it out",
				"%s does not fit the given key, which is of type %s", r.KeyType, actual))
		}
		r.KeyType = actual
	}
	if r.KeyType == "" {
		r.KeyType = cert.DefaultKeyType
	}
	return cmp.Or(r.checkKeyType(), cert.CheckUsages(r.Usages, r.KeyType))
}

func (r *Request) checkKeyType() error {
	if r.key != nil || r.KeyType == "" || slices.Contains(cert.KeyTypes, r.KeyType) {
		return nil
	}
	return failure.Usage("use one of "+strings.Join(cert.KeyTypes, ", "), "unknown key type %q", r.KeyType)
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

// Kind is a kind of certificate, [kind.K] of the configuration: one address can have a
// certificate of each, with its own key, CA, renewal and directory. An empty field means the
// value for certificates of no kind.
type Kind struct {
	Usage      []string
	KeyType    string
	KeyPath    string
	ReuseKey   *bool // nil: keep a key for encryption alone, since it opens old mail
	Server     string
	CABundle   string
	Profile    string
	Compat     []string
	P12        string
	DeployHook string
}

// kindName matches a name that is safe and short enough for a file name, and not part of an
// address: see store.Disk.PickName.
var kindName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$`)

// CheckKindName refuses an invalid name for a kind.
func CheckKindName(name string) error {
	if kindName.MatchString(name) {
		return nil
	}
	return failure.In("kind", failure.Usage("use at most 32 letters, digits, - and _, the first a letter or a digit", "invalid kind %q", name))
}

// Check refuses values that no certificate can have, whatever its key.
func (k *Kind) Check() error {
	r := Request{KeyPath: k.KeyPath}
	r.Usages, r.KeyType, r.Compat, r.P12 = k.Usage, k.KeyType, k.Compat, k.P12
	if k.Server != "" {
		if err := ca.CheckServer(k.Server); err != nil {
			return err
		}
	}
	return cmp.Or(r.checkKeyType(), r.checkWords(), cert.CheckUsages(k.Usage, k.KeyType))
}

// Into copies the kind's configuration to a request, except for settings given for this
// certificate alone.
func (k *Kind) Into(r *Request, given func(setting string) bool) {
	for _, s := range []struct {
		setting string
		field   *string
		value   string
	}{
		{"key-type", &r.KeyType, k.KeyType},
		{"key-path", &r.KeyPath, k.KeyPath},
		{"server", &r.Server, k.Server},
		{"ca-bundle", &r.CABundle, k.CABundle},
		{"profile", &r.Profile, k.Profile},
		{"p12", &r.P12, k.P12},
		{"deploy-hook", &r.DeployHook, k.DeployHook},
	} {
		if s.value != "" && !given(s.setting) {
			*s.field = s.value
		}
	}
	if k.Usage != nil && !given("usage") {
		r.Usages = k.Usage
	}
	if k.Compat != nil && !given("compat") {
		r.Compat = k.Compat
	}
	if given("reuse-key") {
		return
	}
	if r.KeepKey = cert.EncryptionOnly(r.Usages); k.ReuseKey != nil {
		r.KeepKey = *k.ReuseKey
	}
}

// renewed copies the present configuration of its kind, if that still exists, to a request
// for a renewal.
func (i *Issuer) renewed(r *Request) {
	i.Defaults.Into(&r.Settings)
	if k := i.Kinds[r.Kind]; k != nil && r.Kind != "" {
		k.Into(r, func(string) bool { return false })
	}
}
