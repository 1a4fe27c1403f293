package main

import (
	"path/filepath"
	"testing"

	"postseal/internal/check"
	"postseal/internal/test/redistest"
)

// redisAt looks at a Redis with some directives of redis.conf.
func redisAt(t *testing.T, user string, directives ...string) []check.Finding {
	t.Helper()
	server := redistest.Start(t, directives...)
	c := newChecker(t, check.Options{Redis: "unix://" + user + server.Socket})
	return found(t, c.checkState)
}

func TestRedis(t *testing.T) {
	users, err := filepath.Abs("../../contrib/redis/users.acl")
	if err != nil {
		t.Fatal(err)
	}
	const issuer, mail = "postseal-issuer:issuer-password@", "postseal-mail:mail-password@"
	for _, c := range []struct {
		name, user string
		directives []string
		status     check.Status
		words      string
	}{
		{"open", "", nil, check.OK, "version 7."},
		{"open", "", nil, check.OK, "may order and answer"},
		{"no file", "", nil, check.Warning, "forgets who waits"},
		{"evicting", "", []string{"maxmemory 100mb", "maxmemory-policy allkeys-lru"}, check.Warning, "allkeys-lru"},
		{"the recipe", issuer, []string{"aclfile " + users, "appendonly yes"}, check.OK, "may order, and postseal-mail may answer"},
		{"the recipe, mail half", mail, []string{"aclfile " + users}, check.Warning, "answer and not order"},
		{"password", "postseal-issuer:wrong@", []string{"aclfile " + users}, check.Failure, "WRONGPASS"},
		{"no password", "", []string{"requirepass x"}, check.Failure, "NOAUTH"},
		{"default user off", "all:x@", []string{"user default off", "user all on nopass ~* &* +@all", "appendonly yes"}, check.Failure, "forgets what scripts wrote"},
		{"neither", "all:x@", []string{"user all on nopass ~* &* +@all -hget -hset"}, check.Failure, "neither"},
		{"no mail user", "all:x@", []string{"user all on nopass ~* &* +@all -hmget"}, check.Warning, "is not known"},
		{"a mail user with too little", "all:x@", []string{"user all on nopass ~* &* +@all -hmget", "user postseal-mail on nopass ~* -@all"}, check.Failure, "postseal-mail may not answer"},
		{"replica", "", []string{"replicaof 127.0.0.1 1"}, check.Failure, "replica"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			wantFinding(t, redisAt(t, c.user, c.directives...), c.status, c.words)
		})
	}
}

func TestRedisAway(t *testing.T) {
	c := newChecker(t, check.Options{Redis: "unix:///nonexistent/s"})
	wantFinding(t, found(t, c.checkState), check.Failure, "no such file")
	c = newChecker(t, check.Options{Redis: "redis://u:hunter2@h/x"})
	wantFinding(t, found(t, c.checkState), check.Failure, "database number")
}
