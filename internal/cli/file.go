package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/alecthomas/kong"

	"postseal/internal/failure"
	"postseal/internal/printable"
	"postseal/state"
)

// DefaultConfig is the file to read if it exists and no --config is given.
const DefaultConfig = "/etc/postseal/postseal.toml"

// Keys are the valid names at the top of the file: the flags of all programs, and the
// passwords that have no flag because a command line is public.
var Keys = []string{
	// all
	"state", "smtp", "smtp-ca", "smtp-password", "smtp-password-file", "helo", "resolver",
	// postseal
	"server", "test", "ca-bundle", "non-interactive", "verbose", "json",
	"email", "each", "from-file", "jobs", "contact", "agree-tos", "eab-kid", "eab-hmac-key-file", "profile",
	"key-type", "key-path", "usage", "passphrase", "passphrase-file", "no-passphrase", "p12", "out", "force",
	"dry-run", "timeout", "settle", "token-join", "trigger", "compat", "interactive", "deploy-hook", "revoke-hook", "fail-hook",
	"reuse-key", "to", "format", "former", "cert-path", "reason", "mail-to", "jitter", "reset-learned",
	"milter", "postfix-config", "mail-user", "mailbox", "message",
	// postseal-pipe
	"print", "passthrough", "answered-exit", "explain",
	// postseal-milter
	"listen", "socket-mode", "on-answered", "metrics", "max-connections", "max-answers",
}

// notInFile are flags that make no sense in a file.
var notInFile = []string{"kind", "plan", "accept-gone", "domain", "source", "help", "config", "version", "via", "dkim-key", "check", "failed", "prometheus", "probe", "success-status"}

// secretKeys are keys whose file nobody else may read.
var secretKeys = []string{"smtp-password", "passphrase"}

// File is the part of the configuration that is not a flag: its tables.
type File struct {
	Path         string          `toml:"-"` // "" if there is no file
	SMTPPassword string          `toml:"smtp-password"`
	SMIME        SMIME           `toml:"smime"`
	DKIM         []DKIMKey       `toml:"dkim"`
	CA           map[string]CA   `toml:"ca"`
	Kinds        map[string]Kind `toml:"kind"`
	Enroll       []Enroll        `toml:"enroll"`
	top          map[string]any  // the flags
}

// SMIME says who may sign S/MIME challenges.
type SMIME struct {
	Roots string `toml:"roots"` // PEM file; "" means the system's roots
}

// DKIMKey makes postseal sign the replies of one domain itself.
type DKIMKey struct {
	Domain   string `toml:"domain"`
	Selector string `toml:"selector"`
	Key      string `toml:"key"` // PEM file, PKCS#8 or PKCS#1
}

// CA holds the settings for one CA. Empty fields mean the default.
type CA struct {
	TokenJoin         string   `toml:"token-join"`
	Trigger           string   `toml:"trigger"`
	Settle            string   `toml:"settle"`
	Compat            []string `toml:"compat"`
	DKIM              string   `toml:"dkim"`
	AutoSubmitted     string   `toml:"auto-submitted"`
	Unsigned          string   `toml:"unsigned"`
	TrustedAuthservID string   `toml:"trusted-authserv-id"`
}

// Kind describes a kind of certificate. Empty fields mean the default. The issuing half
// checks its values.
type Kind struct {
	Usage      []string `toml:"usage"`
	KeyType    string   `toml:"key-type"`
	KeyPath    string   `toml:"key-path"`
	ReuseKey   *bool    `toml:"reuse-key"`
	Server     string   `toml:"server"`
	CABundle   string   `toml:"ca-bundle"`
	Profile    string   `toml:"profile"`
	Compat     []string `toml:"compat"`
	P12        string   `toml:"p12"`
	DeployHook string   `toml:"deploy-hook"`
}

// Enroll says whose certificates follow the mailboxes of a domain. "postseal enroll" checks
// its values.
type Enroll struct {
	Domain    string   `toml:"domain"`
	Source    string   `toml:"source"`
	Kinds     []string `toml:"kinds"`
	Exclude   []string `toml:"exclude"`
	Gone      string   `toml:"gone"`
	Grace     string   `toml:"grace"`
	MaxGone   string   `toml:"max-gone"`
	NewPerRun *int     `toml:"new-per-run"`
}

// CAFor returns the table for the ACME directory server: its own, or that of "*", or the
// defaults.
func (f *File) CAFor(server string) CA {
	if ca, ok := f.CA[server]; ok {
		return ca
	}
	return f.CA["*"]
}

// ReadFile reads and checks a configuration file. Every error has exit status 78, unless the
// machine is short of something.
func ReadFile(path string) (File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return File{}, failure.Config("give an existing file with --config, or none", "configuration file %q: %v", path, state.Cause(err))
	}
	f := File{Path: path}
	if _, err := toml.DecodeFile(path, &f.top); err != nil {
		return File{}, failure.Unreadable(err, "see postseal.toml(5)", "%s: %v", path, state.Cause(err))
	}
	meta, err := toml.DecodeFile(path, &f)
	if err != nil {
		return File{}, failure.Unreadable(err, "see postseal.toml(5)", "%s: %v", path, state.Cause(err))
	}
	if err := f.checkKeys(meta); err != nil {
		return File{}, err
	}
	if err := f.checkMode(info.Mode()); err != nil {
		return File{}, err
	}
	return f, f.checkTables()
}

// checkKeys refuses keys that no program knows. Top-level keys that are not flags have a
// field in File; below the top, the TOML library reports unused keys.
func (f *File) checkKeys(meta toml.MetaData) error {
	for _, key := range meta.Undecoded() {
		if len(key) == 1 && slices.Contains(Keys, key[0]) {
			continue
		}
		return failure.Config("see postseal.toml(5) for the keys", "%s: unknown key %q", f.Path, key.String())
	}
	return nil
}

func (f *File) checkMode(mode fs.FileMode) error {
	if mode.Perm()&0o004 == 0 {
		return nil
	}
	if key := f.secret(); key != "" {
		return failure.Config("run: chmod o-r "+printable.Word(f.Path), "%s holds a password (%s) and everyone can read it", f.Path, key)
	}
	return nil
}

// Has reports whether the file sets a flag to something other than "".
func (f *File) Has(flag string) bool {
	v, ok := f.top[flag]
	return ok && v != ""
}

// secret returns the name of a key that holds a secret, or "".
func (f *File) secret() string {
	for _, key := range secretKeys {
		if f.Has(key) {
			return key
		}
	}
	for _, key := range []string{"smtp", "state"} {
		if s, ok := f.top[key].(string); ok && HasPassword(s) {
			return key
		}
	}
	return ""
}

func (f *File) checkTables() error {
	for i, k := range f.DKIM {
		if k.Domain == "" || k.Selector == "" || k.Key == "" {
			return failure.Config("a [[dkim]] table needs domain, selector and key", "%s: [[dkim]] table %d is incomplete", f.Path, i+1)
		}
	}
	for name, ca := range f.CA {
		if err := ca.check(); err != nil {
			return failure.Config("see postseal.toml(5) for the values", "%s: [ca.%q]: %v", f.Path, name, err)
		}
	}
	return nil
}

// check reports the first invalid value of a key.
func (ca CA) check() error {
	for _, c := range []struct {
		key, value string
		legal      []string
	}{
		{"token-join", ca.TokenJoin, state.TokenJoins},
		{"trigger", ca.Trigger, state.Triggers},
		{"dkim", ca.DKIM, []string{"default", "strict", "relaxed-parent"}},
		{"auto-submitted", ca.AutoSubmitted, []string{"require", "ignore"}},
		{"unsigned", ca.Unsigned, []string{"refuse", "allow"}},
	} {
		if c.value != "" && !slices.Contains(c.legal, c.value) {
			return fmt.Errorf("%s = %q is not one of %s", c.key, c.value, strings.Join(c.legal, ", "))
		}
	}
	for _, compat := range ca.Compat {
		if !slices.Contains(state.Compats, compat) {
			return fmt.Errorf("compat: %q is not one of %s", compat, strings.Join(state.Compats, ", "))
		}
	}
	if ca.Settle != "" {
		if d, err := time.ParseDuration(ca.Settle); err != nil || d < 0 {
			return fmt.Errorf("settle = %q is not a duration such as 2s", ca.Settle)
		}
	}
	return nil
}

// resolver gives kong the values of the file. Kong asks resolvers after the environment, so
// it returns nothing for a flag whose variable is set.
type resolver struct {
	defaultPath string
	loaded      bool
	file        File
	inFile      string // the flag that last had its value from the file, for the error text
}

// Validate implements kong.Resolver.
func (r *resolver) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver.
func (r *resolver) Resolve(ctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	value, ok := r.file.top[flag.Name]
	if !ok || slices.Contains(notInFile, flag.Name) || slices.ContainsFunc(flag.Envs, isSet) {
		return nil, nil
	}
	r.inFile = flag.Name
	return asFlag(value), nil
}

func isSet(env string) bool {
	_, ok := os.LookupEnv(env)
	return ok
}

// load reads the file once: the one that --config or POSTSEAL_CONFIG names, or the user's
// own, or the default one if it exists.
func (r *resolver) load(ctx *kong.Context) error {
	if r.loaded {
		return nil
	}
	r.loaded = true
	path := configPath(ctx)
	if own := UserConfig(); path == "" && own != "" {
		if _, err := os.Stat(own); err == nil {
			path = own
		}
	}
	if path == "" {
		if _, err := os.Stat(r.defaultPath); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		path = r.defaultPath
	}
	var err error
	r.file, err = ReadFile(path)
	return err
}

func configPath(ctx *kong.Context) string {
	for _, flag := range ctx.Flags() {
		if flag.Name == "config" {
			if path, ok := ctx.FlagValue(flag).(string); ok {
				return path
			}
		}
	}
	return ""
}

// asFlag writes a TOML value in the form of a command line.
func asFlag(value any) any {
	list, ok := value.([]any)
	if !ok {
		return fmt.Sprint(value)
	}
	items := make([]string, len(list))
	for i, v := range list {
		items[i] = fmt.Sprint(v)
	}
	return strings.Join(items, ",")
}
