package redis

import (
	"crypto/tls"
	"errors"
	"net/url"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// opTimeout bounds one call of this package, all retries included.
const opTimeout = 4 * time.Second

// bufferSize is that of each direction of a connection, in bytes. Records are small,
// and so is the process of the mail half.
const bufferSize = 8 << 10

// noMaintenance keeps the library from asking for notices that only Redis' own cloud sends:
// the users of contrib/redis may not ask.
var noMaintenance = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}

// kind chooses the client as go-redis does (UniversalOptions): Sentinel's if the URL has
// master_name, a Cluster's if it has addr alone.
func (c *config) kind(u *url.URL, query url.Values) (err error) {
	switch {
	case query.Has("master_name"):
		err = c.sentinel(u)
	case query.Has("addr"):
		err = c.cluster(u)
	default:
		err = c.single(u)
	}
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "redis: "))
	}
	return nil
}

var errReplicas = errors.New("reading from replicas is not supported: they lag behind")

func (c *config) single(u *url.URL) error {
	o, err := goredis.ParseURL(u.String())
	if err != nil {
		return err
	}
	o.DialerRetries, o.ContextTimeoutEnabled, o.DisableIdentity = 1, true, true
	o.ReadBufferSize, o.WriteBufferSize = bufferSize, bufferSize
	o.MaintNotificationsConfig = noMaintenance
	c.client = func(f files) goredis.UniversalClient {
		f.apply(&o.Password, &o.TLSConfig)
		o.Dialer = boundedDialer(o)
		return goredis.NewClient(o)
	}
	return nil
}

func (c *config) sentinel(u *url.URL) error {
	o, err := goredis.ParseFailoverURL(u.String())
	if err != nil {
		return err
	}
	if o.RouteByLatency || o.RouteRandomly || o.ReplicaOnly {
		return errReplicas
	}
	o.DialerRetries, o.ContextTimeoutEnabled, o.DisableIdentity = 1, true, true
	o.ReadBufferSize, o.WriteBufferSize = bufferSize, bufferSize
	c.client = func(f files) goredis.UniversalClient {
		f.apply(&o.Password, &o.TLSConfig)
		forAnyHost(o.TLSConfig)
		o.Dialer = boundedDialer(&goredis.Options{DialTimeout: o.DialTimeout, TLSConfig: o.TLSConfig})
		return goredis.NewFailoverClient(o)
	}
	return nil
}

func (c *config) cluster(u *url.URL) error {
	o, err := goredis.ParseClusterURL(u.String())
	if err != nil {
		return err
	}
	if o.RouteByLatency || o.RouteRandomly || o.ReadOnly {
		return errReplicas
	}
	o.DialerRetries, o.ContextTimeoutEnabled, o.DisableIdentity = 1, true, true
	o.ReadBufferSize, o.WriteBufferSize = bufferSize, bufferSize
	o.MaintNotificationsConfig = noMaintenance
	c.client = func(f files) goredis.UniversalClient {
		f.apply(&o.Password, &o.TLSConfig)
		forAnyHost(o.TLSConfig)
		o.Dialer = boundedDialer(&goredis.Options{DialTimeout: o.DialTimeout, TLSConfig: o.TLSConfig})
		return goredis.NewClusterClient(o)
	}
	return nil
}

// apply adds the content of the files to the library's options.
func (f files) apply(password *string, security **tls.Config) {
	if f.password != "" {
		*password = f.password
	}
	if f.tls != nil && *security != nil {
		f.tls.InsecureSkipVerify = (*security).InsecureSkipVerify
		*security = f.tls
	}
}

// forAnyHost makes each server prove its own name, since there are several.
func forAnyHost(conf *tls.Config) {
	if conf != nil {
		conf.ServerName = ""
	}
}
