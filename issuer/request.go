package issuer

import (
	"cmp"
	"crypto"
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

// DefaultTimeout is how long an order waits for its mail in one run.
const DefaultTimeout = 30 * time.Minute

// Request asks for one certificate.
type Request struct {
	store.Settings
	KeyPath     string        // a private key to use instead of a new one
	ReuseKey    bool          // use the key of the certificate that is replaced, this time
	Force       bool          // even if nothing is due
	DryRun      bool          // store nothing in certs/
	Timeout     time.Duration // of this run; 0 means DefaultTimeout
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
	r.Timeout = cmp.Or(r.Timeout, DefaultTimeout)
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
