package redis

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	goredis "github.com/redis/go-redis/v9"

	"postseal/internal/test/redistest"
	"postseal/internal/test/statetest"
	"postseal/state"
)

func open(t testing.TB, url string) *Store {
	t.Helper()
	s, err := Open(url)
	if err != nil {
		t.Fatal(err)
	}
	s.Damaged = func(key string, err error) { t.Errorf("damaged: %s: %v", key, err) }
	t.Cleanup(func() { s.Close() })
	return s
}

// world is a server that all tests share, each under its own prefix.
func world(t testing.TB, url string, many int) *statetest.World {
	raw := open(t, url)
	ctx := context.Background()
	must := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	return &statetest.World{
		Open: func(damaged func(string, error)) state.Store {
			s := open(t, url)
			s.Damaged = damaged
			return s
		},
		// A silent process's lock ends by itself: TestLocks.
		Abandon: func(_ state.Claim, id string) { must(raw.client.Del(ctx, raw.lockKey(id)).Err()) },
		DamagePending: func(addr, server string, data []byte) {
			must(raw.client.HSet(ctx, raw.pendingKey(addr), server, data).Err())
			must(raw.client.ZAdd(ctx, raw.key("pending"), goredis.Z{Score: float64(time.Now().Add(time.Hour).UnixMilli()), Member: state.Key(addr)}).Err())
		},
		DamageAnswer: func(id string, data []byte) {
			must(raw.client.HSet(ctx, raw.answerKey(id), "json", data).Err())
			must(raw.client.ZAdd(ctx, raw.key("answers"), goredis.Z{Score: float64(time.Now().UnixMilli()), Member: id}).Err())
		},
		Fill: func(records []*state.Pending) { fill(t, raw, records) },
		Many: many,
	}
}

// fill writes records as Put does, without waiting for each.
func fill(t testing.TB, s *Store, records []*state.Pending) {
	t.Helper()
	ctx := context.Background()
	if err := putScript().Load(ctx, s.client).Err(); err != nil {
		t.Fatal(err)
	}
	for len(records) > 0 {
		n := min(100, len(records))
		_, err := s.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
			for _, r := range records[:n] {
				r.Version = state.Version
				data, _ := json.Marshal(r)
				putScript().EvalSha(ctx, p, []string{s.pendingKey(r.Email), s.key("pending"), s.key("since")},
					state.Key(r.Email), r.Server, data, r.Expires.UnixMilli(), slots, s.key("pending"), state.Version)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		records = records[n:]
	}
}

func TestStore(t *testing.T) {
	server := redistest.Start(t)
	statetest.Run(t, func(t *testing.T) *statetest.World {
		return world(t, server.URL()+"?prefix="+prefixOf(t), 100_000)
	})
}

// prefixOf turns the name of a test into a prefix.
func prefixOf(t testing.TB) string {
	name := []byte(t.Name())
	for i, c := range name {
		if c == '/' {
			name[i] = '.'
		}
	}
	return string(name)
}

// Everything in which miniredis equals Redis: all but time, which does not pass for expiring
// keys, and rights, persistence and memory, which it lacks.
func TestStoreMini(t *testing.T) {
	statetest.Run(t, func(t *testing.T) *statetest.World {
		return world(t, "redis://"+miniredis.RunT(t).Addr(), 1000)
	})
}
