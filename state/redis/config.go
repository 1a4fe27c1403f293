package redis

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// schemes are those of go-redis.
var schemes = []string{"redis", "rediss", "unix"}

// IsURL tells whether a --state is for this package.
func IsURL(s string) bool {
	scheme, _, found := strings.Cut(s, "://")
	return found && slices.Contains(schemes, scheme)
}

// HasPassword tells whether a URL holds a password, even if it is no legal one.
func HasPassword(s string) bool {
	_, rest, _ := strings.Cut(s, "://")
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		if _, password, _ := strings.Cut(rest[:at], ":"); password != "" {
			return true
		}
	}
	_, query, _ := strings.Cut(rest, "?")
	for _, param := range strings.Split(query, "&") {
		if name, value, _ := strings.Cut(param, "="); name == "password" && value != "" {
			return true
		}
	}
	return false
}

// Patience with a server, unless the URL says otherwise: a mail waits meanwhile.
const (
	dialTimeout = 2 * time.Second
	ioTimeout   = 2 * time.Second
	opTimeout   = 4 * time.Second // for one call of this package, whatever is tried again
	retries     = 2
)

// bufferSize is that of each direction of a connection, in bytes. Records are small,
// and so is the process of the mail half.
const bufferSize = 8 << 10

// config is what a URL says.
type config struct {
	dir    string
	prefix string
	name   string // the URL without user, password and parameters
	client goredis.UniversalClient
	dials  func() []string // where it connects; nil if that is not known before
}

// parse reads a URL and the files that it names. No error holds any of the URL's
// text but the names of its parameters: there may be a password in it.
func parse(s string) (*config, error) {
	u, err := url.Parse(s)
	if err != nil || !IsURL(s) || strings.Contains(u.Path, "@") { // a password after one slash too many
		return nil, errors.New("is no URL of Redis: redis://[USER[:PASSWORD]@]HOST[:PORT][/DB], rediss://… or unix:///SOCKET; in a password, %, /, ?, #, [ and @ are written as %25, %2F, %3F, %23, %5B and %40")
	}
	if u.Scheme != "unix" && u.Hostname() == "" {
		return nil, errors.New("names no host")
	}
	c := &config{prefix: "postseal"}
	own, err := takeParameters(u)
	if err != nil {
		return nil, err
	}
	if own.Has("prefix") {
		c.prefix = own.Get("prefix")
	}
	if !legalPrefix(c.prefix) {
		return nil, fmt.Errorf("prefix %q: letters, digits, dots, hyphens and underscores", c.prefix)
	}
	c.dir = own.Get("dir")
	password, err := readPassword(own.Get("password-file"))
	if err != nil {
		return nil, err
	}
	security, err := readTLS(u, own)
	if err != nil {
		return nil, err
	}
	c.name = nameOf(u, c.prefix)
	return c, c.connect(u, password, security)
}

// ownParameters are those that go-redis does not know.
var ownParameters = []string{"prefix", "dir", "password-file", "ca", "cert", "key"}

// takeParameters takes our own parameters out of a URL.
func takeParameters(u *url.URL) (own url.Values, err error) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("has parameters that are not NAME=VALUE&NAME=VALUE with % written as %25")
	}
	own = url.Values{}
	for _, name := range ownParameters {
		if len(query[name]) > 1 {
			return nil, fmt.Errorf("has parameter %s twice", name)
		}
		if query.Has(name) {
			own[name] = query[name]
			query.Del(name)
		}
	}
	u.RawQuery = query.Encode()
	return own, nil
}

func legalPrefix(s string) bool {
	return s != "" && len(s) <= 64 && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && strings.IndexRune("-_.", r) < 0
	}) < 0
}

func readPassword(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("password-file: %w", err)
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}

// readTLS reads the files of a rediss URL; nil for the library's defaults.
func readTLS(u *url.URL, own url.Values) (*tls.Config, error) {
	ca, cert, key := own.Get("ca"), own.Get("cert"), own.Get("key")
	if ca+cert+key == "" {
		return nil, nil
	}
	if u.Scheme != "rediss" {
		return nil, errors.New("has ca, cert or key, which are for rediss://")
	}
	conf := &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: %s holds no certificate", ca)
		}
	}
	if cert+key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("cert and key: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// nameOf writes a URL for people: never with a password.
func nameOf(u *url.URL, prefix string) string {
	name := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	if prefix != "postseal" {
		name.RawQuery = "prefix=" + prefix
	}
	return name.String()
}

// connect makes the client: that of Sentinel for master_name, that of a Cluster for
// addr without it, as go-redis tells them apart (UniversalOptions).
func (c *config) connect(u *url.URL, password string, security *tls.Config) (err error) {
	query := u.Query()
	switch {
	case query.Has("master_name"):
		err = c.sentinel(u, password, security)
	case query.Has("addr"):
		err = c.cluster(u, password, security)
	default:
		err = c.single(u, password, security)
	}
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "redis: "))
	}
	return nil
}

func (c *config) single(u *url.URL, password string, security *tls.Config) error {
	o, err := goredis.ParseURL(u.String())
	if err != nil {
		return err
	}
	setDefault(&o.Password, password)
	setDefault(&o.Protocol, 2)
	setDefault(&o.DialTimeout, dialTimeout)
	setDefault(&o.ReadTimeout, ioTimeout)
	setDefault(&o.WriteTimeout, ioTimeout)
	setDefault(&o.MaxRetries, retries)
	setDefault(&o.PipelinePoolSize, -1)
	o.DialerRetries, o.ContextTimeoutEnabled, o.DisableIdentity = 1, true, true
	o.ReadBufferSize, o.WriteBufferSize = bufferSize, bufferSize
	o.MaintNotificationsConfig = noMaintenance
	mergeTLS(&o.TLSConfig, security)
	c.dials = func() []string { return []string{o.Addr} }
	c.client = goredis.NewClient(o)
	return nil
}

func (c *config) sentinel(u *url.URL, password string, security *tls.Config) error {
	o, err := goredis.ParseFailoverURL(u.String())
	if err != nil {
		return err
	}
	if o.RouteByLatency || o.RouteRandomly || o.ReplicaOnly {
		return errors.New("replicas cannot be read from: they lag behind")
	}
	setDefault(&o.Password, password)
	setDefault(&o.Protocol, 2)
	setDefault(&o.DialTimeout, dialTimeout)
	setDefault(&o.ReadTimeout, ioTimeout)
	setDefault(&o.WriteTimeout, ioTimeout)
	setDefault(&o.MaxRetries, retries)
	setDefault(&o.PipelinePoolSize, -1)
	o.DialerRetries, o.ContextTimeoutEnabled, o.DisableIdentity = 1, true, true
	o.ReadBufferSize, o.WriteBufferSize = bufferSize, bufferSize
	mergeTLS(&o.TLSConfig, security)
	c.client = goredis.NewFailoverClient(o)
	return nil
}

func (c *config) cluster(u *url.URL, password string, security *tls.Config) error {
	o, err := goredis.ParseClusterURL(u.String())
	if err != nil {
		return err
	}
	if o.RouteByLatency || o.RouteRandomly || o.ReadOnly {
		return errors.New("replicas cannot be read from: they lag behind")
	}
	setDefault(&o.Password, password)
	setDefault(&o.Protocol, 2)
	setDefault(&o.DialTimeout, dialTimeout)
	setDefault(&o.ReadTimeout, ioTimeout)
	setDefault(&o.WriteTimeout, ioTimeout)
	setDefault(&o.MaxRetries, retries)
	setDefault(&o.PipelinePoolSize, -1)
	o.DialerRetries, o.ContextTimeoutEnabled, o.DisableIdentity = 1, true, true
	o.ReadBufferSize, o.WriteBufferSize = bufferSize, bufferSize
	o.MaintNotificationsConfig = noMaintenance
	mergeTLS(&o.TLSConfig, security)
	c.client = goredis.NewClusterClient(o)
	return nil
}

// noMaintenance keeps the library from asking for notices that only Redis' own cloud
// has: the users of contrib/redis may not ask.
var noMaintenance = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}

// mergeTLS adds what the URL's files say to what the library made of the URL.
func mergeTLS(have **tls.Config, files *tls.Config) {
	if files != nil && *have != nil {
		files.InsecureSkipVerify = (*have).InsecureSkipVerify
		*have = files
	}
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
