package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"postseal/state"
)

// Store is a state.Store on Redis.
type Store struct {
	// Damaged receives the key of each record that is not valid. Several goroutines may call
	// it. Nil drops the reports.
	Damaged func(key string, err error)

	client goredis.UniversalClient
	name   string
	dir    string
	prefix string // of all keys, with the braces of a hash tag

	pendingEvents, answerEvents events
	naming                      state.Naming
}

// Check says what is wrong with a URL, without looking at the files that it names. The error
// holds no password.
func Check(url string) error {
	_, err := parse(url)
	return err
}

// Open returns the store at a URL without connecting: the mail half must run, and
// pass ordinary mail, while Redis is away. The error says what is wrong with the URL
// or a file that it names, and holds no password.
func Open(url string) (*Store, error) {
	goredis.SetLogger(silent{})
	c, err := parse(url)
	if err != nil {
		return nil, err
	}
	f, err := c.read()
	if err != nil {
		return nil, err
	}
	s := &Store{client: c.client(f), name: c.name, dir: c.own.Get("dir"), prefix: "{" + c.prefix + "}"}
	s.pendingEvents = events{client: s.client, channel: s.key("pending")}
	s.answerEvents = events{client: s.client, channel: s.key("answers")}
	return s, nil
}

// silent keeps the library from writing to stderr: its calls return the errors.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// Dir returns the directory for accounts, orders and certificates that the URL names, "" for
// the default.
func (s *Store) Dir() string { return s.dir }

// String implements state.Store.
func (s *Store) String() string { return s.name }

// Close ends the connections.
func (s *Store) Close() error { return s.client.Close() }

// key returns the name of a key. The braces make all of them one slot of a Cluster,
// which scripts over several keys need.
func (s *Store) key(parts ...string) string { return s.prefix + ":" + strings.Join(parts, ":") }

// op bounds one call, go-redis' retries included.
func op() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), opTimeout)
}

// run runs a script. A script can run again after a lost reply.
func (s *Store) run(script func() *goredis.Script, keys []string, args ...any) (any, error) {
	ctx, cancel := op()
	defer cancel()
	v, err := script().Run(ctx, s.client, keys, args...).Result()
	return v, s.explain(err)
}

// explain tells a server that is away from one that refuses. It returns nil for nil.
func (s *Store) explain(err error) error {
	var said goredis.Error
	switch {
	case err == nil, errors.Is(err, goredis.Nil):
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return &state.UnreachableError{Store: s.name, Err: errors.New("no answer in time")}
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return fmt.Errorf("%s: %w", s.name, err)
	case errors.As(err, &said) && strings.Contains(said.Error(), "unauthenticated"):
		return fmt.Errorf("%s says: NOAUTH Authentication required", s.name) // Redis' answer to a short command
	case errors.As(err, &said) && refuses(said):
		return fmt.Errorf("%s says: %s", s.name, said.Error())
	}
	return &state.UnreachableError{Store: s.name, Err: err}
}

// refuses reports whether a server's error is permanent.
func refuses(said goredis.Error) bool {
	code, _, _ := strings.Cut(said.Error(), " ")
	switch code {
	case "ERR":
		return !strings.HasPrefix(said.Error(), "ERR max number of clients")
	case "NOAUTH", "WRONGPASS", "NOPERM", "WRONGTYPE", "DENIED":
		return true
	}
	return false
}

// isWrongType reports whether a key holds another type than ours.
func isWrongType(err error) bool { return goredis.HasErrorPrefix(err, "WRONGTYPE") }

// Patience while Redis is away, for writes that must not be lost: an order can wait for a
// restart or a failover, a mail cannot.
const (
	orderPatience = 20 * time.Second
	mailPatience  = 5 * time.Second
)

// patiently retries do until it succeeds or patience ends.
func patiently(patience time.Duration, do func() error) error {
	var away *state.UnreachableError
	end := time.Now().Add(patience)
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := do()
		if !errors.As(err, &away) || time.Now().Add(pause).After(end) {
			return err
		}
		time.Sleep(pause)
	}
}

// newer returns the error for a record of a newer version under a key.
func newer(key string, record []byte) error {
	return &state.NewerError{Path: key, Version: state.VersionOf(record)}
}

func (s *Store) damaged(key string, err error) {
	s.naming.Report(s.Damaged, key, err)
}

// script hashes a script on its first run, which most processes never reach.
func script(source string) func() *goredis.Script {
	return sync.OnceValue(func() *goredis.Script { return goredis.NewScript(source) })
}
