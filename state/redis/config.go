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

	goredis "github.com/redis/go-redis/v9"
)

// schemes are the URL schemes of go-redis.
var schemes = []string{"redis", "rediss", "unix"}

// IsURL reports whether a --state is meant for this package.
func IsURL(s string) bool {
	scheme, _, found := strings.Cut(s, "://")
	return found && slices.Contains(schemes, scheme)
}

// config is the content of a URL.
type config struct {
	own    url.Values // those of ownParameters
	prefix string
	name   string // the URL without user, password and parameters
	tls    bool
	host   string
	client func(files) goredis.UniversalClient
}

// files is the content of the files that a URL names.
type files struct {
	password string
	tls      *tls.Config // nil for the library's default
}

// parse reads a URL. Its errors quote only the names of parameters and files: the rest may
// hold a password.
func parse(s string) (*config, error) {
	u, err := url.Parse(s)
	if err != nil || !IsURL(s) || strings.Contains(u.Path, "@") { // a password after one slash too many
		return nil, errors.New("is not a URL of Redis: redis://[USER[:PASSWORD]@]HOST[:PORT][/DB], rediss://… or unix:///SOCKET; in a password, %, /, ?, #, [ and @ are written as %25, %2F, %3F, %23, %5B and %40")
	}
	if u.Scheme != "unix" && u.Hostname() == "" {
		return nil, errors.New("names no host")
	}
	c := &config{prefix: "postseal", tls: u.Scheme == "rediss", host: u.Hostname()}
	query, err := c.takeParameters(u)
	if err != nil {
		return nil, err
	}
	if c.own.Has("prefix") {
		c.prefix = c.own.Get("prefix")
	}
	if !legalPrefix(c.prefix) {
		return nil, fmt.Errorf("prefix %q: letters, digits, dots, hyphens and underscores", c.prefix)
	}
	if !c.tls && c.own.Get("ca")+c.own.Get("cert")+c.own.Get("key") != "" {
		return nil, errors.New("has ca, cert or key, which are for rediss://")
	}
	c.name = nameOf(u, c.prefix)
	return c, c.kind(u, query)
}

// ownParameters are the ones that go-redis does not know.
var ownParameters = []string{"prefix", "dir", "password-file", "ca", "cert", "key"}

// defaults are our defaults for go-redis' parameters: a mail waits meanwhile, records are
// small, and RESP 2 needs no right to HELLO.
var defaults = map[string]string{
	"protocol": "2", "max_retries": "2", "dial_timeout": "2s", "read_timeout": "2s", "write_timeout": "2s",
	"pipeline_pool_size": "-1",
}

// takeParameters takes our own parameters out of a URL and adds defaults for the others.
func (c *config) takeParameters(u *url.URL) (url.Values, error) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("has parameters that are not NAME=VALUE&NAME=VALUE with % written as %25")
	}
	for name := range query {
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_-") != "" { // a password with ? in it
			return nil, errors.New("has a parameter with an invalid name; in a password, ? is written as %3F")
		}
	}
	c.own = url.Values{}
	for _, name := range ownParameters {
		if len(query[name]) > 1 {
			return nil, fmt.Errorf("has parameter %s twice", name)
		}
		if query.Has(name) {
			c.own[name] = query[name]
			query.Del(name)
		}
	}
	for name, value := range defaults {
		if !query.Has(name) {
			query.Set(name, value)
		}
	}
	u.RawQuery = query.Encode()
	return query, nil
}

func legalPrefix(s string) bool {
	return s != "" && len(s) <= 64 && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
	}) < 0
}

// read reads the files that the URL names.
func (c *config) read() (f files, err error) {
	if path := c.own.Get("password-file"); path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			return f, fmt.Errorf("password-file: %w", err)
		}
		f.password = strings.TrimRight(string(data), "\r\n")
	}
	f.tls, err = c.readTLS()
	return f, err
}

// readTLS reads the files of a rediss URL. It returns nil for the library's default.
func (c *config) readTLS() (*tls.Config, error) {
	ca, cert, key := c.own.Get("ca"), c.own.Get("cert"), c.own.Get("key")
	if ca+cert+key == "" {
		return nil, nil
	}
	conf := &tls.Config{ServerName: c.host, MinVersion: tls.VersionTLS12}
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
