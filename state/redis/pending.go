package redis

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"postseal/state"
)

// slots is how many CAs may wait for one address at the same time.
const slots = 9

//go:embed lua/put.lua
var putSource string

//go:embed lua/remove.lua
var removeSource string

var putScript, removeScript = script(putSource), script(removeSource)

func (s *Store) pendingKey(addr string) string { return s.key("pending", state.Key(addr)) }

// Put implements state.Store. While Redis is away it retries for some seconds.
//
// The first record after a time without any waits for the rest of the lease: until then an
// Index that does not know of it may still say that nobody waits.
func (s *Store) Put(p *state.Pending) error {
	_, err := s.write(p, "", orderPatience)
	return err
}

// Take implements state.Store.
func (s *Store) Take(p *state.Pending) (other *state.Pending, err error) {
	return s.write(p, p.ID, orderPatience)
}

// write writes a record, unless one with another id than only exists. It returns that one.
func (s *Store) write(p *state.Pending, only string, patience time.Duration) (other *state.Pending, err error) {
	p.Version = state.Version
	record, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	expiry := int64(0)
	if !p.Expires.IsZero() {
		expiry = max(p.Expires.UnixMilli(), 1)
	}
	keys := []string{s.pendingKey(p.Email), s.key("pending"), s.key("since")}
	var age int64
	err = patiently(patience, func() error {
		v, err := s.run(putScript, keys, state.Key(p.Email), p.Server, record, expiry, slots, s.key("pending"), state.Version, only)
		if there, ok := v.(string); ok {
			if state.VersionOf([]byte(there)) > state.Version {
				return newer(keys[0], []byte(there))
			}
			other, err = state.ParsePending([]byte(there))
			return err
		}
		age, _ = v.(int64)
		return err
	})
	if err != nil || other != nil {
		return other, err
	}
	if age < 0 {
		return nil, fmt.Errorf("%d CAs are already waited for at %s", slots, p.Email)
	}
	time.Sleep(lease - time.Duration(age)*time.Millisecond)
	return nil, nil
}

// Remove implements state.Store. While Redis is away it retries for some seconds.
func (s *Store) Remove(addr, server, id string) error {
	return s.remove(addr, server, id, orderPatience)
}

func (s *Store) remove(addr, server, id string, patience time.Duration) error {
	return patiently(patience, func() error {
		_, err := s.run(removeScript, []string{s.pendingKey(addr), s.key("pending")}, state.Key(addr), server, s.key("pending"), state.Version, s.noteKey(""), id)
		return err
	})
}

// Purge implements state.Store. The records expire by themselves; the set of addresses
// does not.
func (s *Store) Purge(now time.Time) error {
	ctx, cancel := op()
	defer cancel()
	return s.explain(s.client.ZRemRangeByScore(ctx, s.key("pending"), "-inf", fmt.Sprint(now.UnixMilli())).Err())
}

// Pending implements state.Store.
func (s *Store) Pending(addr string, now time.Time) ([]*state.Pending, error) {
	return s.PendingAny([]string{addr}, now)
}

// PendingAny implements state.Store, in one round trip.
func (s *Store) PendingAny(addrs []string, now time.Time) ([]*state.Pending, error) {
	keys := make([]string, len(addrs))
	for i, addr := range addrs {
		keys[i] = s.pendingKey(addr)
	}
	found, err := s.records(keys)
	if err != nil {
		return nil, err
	}
	return state.Current(found, now), nil
}

// batch is how many keys one round trip asks for.
const batch = 500

// All implements state.Store.
func (s *Store) All(now time.Time) (all []*state.Pending, err error) {
	ctx, cancel := op()
	defer cancel()
	names, err := s.client.ZRange(ctx, s.key("pending"), 0, -1).Result()
	if err != nil {
		return nil, s.explain(err)
	}
	for len(names) > 0 {
		n := min(batch, len(names))
		keys := make([]string, n)
		for i, name := range names[:n] {
			keys[i] = s.key("pending", name)
		}
		some, err := s.records(keys)
		if newer := state.Newer(err); newer != nil {
			s.damaged(newer.Path, err)
		} else if err != nil {
			return nil, err
		}
		all, names = append(all, some...), names[n:]
	}
	return state.Current(all, now), nil
}

// records reads all records under some keys. It reports damaged ones and leaves them out. If
// one is of a newer version, it returns that error beside the others.
func (s *Store) records(keys []string) (found []*state.Pending, err error) {
	if len(keys) == 0 {
		return nil, nil
	}
	ctx, cancel := op()
	defer cancel()
	var tooNew error
	replies := make([]*goredis.MapStringStringCmd, len(keys))
	// The error is the first command's; each command has its own.
	_, _ = s.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for i, key := range keys {
			replies[i] = p.HGetAll(ctx, key)
		}
		return nil
	})
	for i, reply := range replies {
		byServer, err := reply.Result()
		if isWrongType(err) {
			s.damaged(keys[i], err)
			continue
		}
		if err != nil {
			return nil, s.explain(err)
		}
		some, err := s.parse(keys[i], byServer)
		if err != nil {
			tooNew = err
		}
		found = append(found, some...)
	}
	return found, tooNew
}

// parse reads the records of one address. A record for another address is somebody's mistake
// or worse.
func (s *Store) parse(key string, byServer map[string]string) (found []*state.Pending, tooNew error) {
	for server, record := range byServer {
		p, err := state.ParsePending([]byte(record))
		if err == nil && (s.pendingKey(p.Email) != key || p.Server != server) {
			err = fmt.Errorf("it is for %s at %s", p.Email, p.Server)
		}
		if state.Newer(err) != nil {
			tooNew = newer(key, []byte(record))
			continue
		}
		if err != nil {
			s.damaged(key, err)
			continue
		}
		found = append(found, p)
	}
	return found, tooNew
}

// CountPending implements state.Store: it counts addresses.
func (s *Store) CountPending() (int, error) {
	ctx, cancel := op()
	defer cancel()
	n, err := s.waiting(ctx, time.Now())
	return int(n), err
}

// clockGrace is how far the clocks of hosts may differ: an expired record counts for that
// long, and whoever reads it decides whether it has expired.
const clockGrace = time.Hour

// waiting counts the addresses for which somebody waits.
func (s *Store) waiting(ctx context.Context, now time.Time) (int64, error) {
	n, err := s.client.ZCount(ctx, s.key("pending"), fmt.Sprint(now.Add(-clockGrace).UnixMilli()), "+inf").Result()
	return n, s.explain(err)
}
