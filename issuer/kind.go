package issuer

import (
	"cmp"
	"regexp"

	"postseal/internal/failure"
	"postseal/issuer/ca"
	"postseal/issuer/cert"
)

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
