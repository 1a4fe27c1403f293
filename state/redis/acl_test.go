package redis

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"postseal/internal/test/redistest"
	"postseal/internal/test/statetest"
	"postseal/state"
)

// recipe starts a server with the unchanged files of contrib/redis.
func recipe(t *testing.T, directives ...string) *redistest.Server {
	t.Helper()
	const dir = "../../contrib/redis"
	users, err := filepath.Abs(filepath.Join(dir, "users.acl"))
	if err != nil {
		t.Fatal(err)
	}
	conf, err := os.ReadFile(filepath.Join(dir, "postseal.conf"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(conf), "/etc/postseal/redis.acl", users, 1)
	return redistest.Start(t, append(strings.Split(text, "\n"), directives...)...)
}

// The users of contrib/redis can do all that their halves do.
func TestRecipe(t *testing.T) {
	t.Parallel()
	server := recipe(t)
	issuer := open(t, "unix://postseal-issuer:issuer-password@"+server.Socket)
	mail := open(t, "unix://postseal-mail:mail-password@"+server.Socket)
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	x := mail.Index()
	defer x.Close()
	until(t, "the index to say that nobody waits", func() bool { found, err := x.Any(); return err == nil && !found })
	must("purge", issuer.Purge(time.Now()))
	must("forget", issuer.Forget(time.Hour, time.Now()))
	ordering := statetest.Record("1", alice, ca)
	ordering.Token = ""
	must("put", issuer.Put(ordering))
	p := statetest.Record("1", alice, ca)
	must("put again", issuer.Put(p))
	must("another CA", issuer.Put(statetest.Record("2", alice, ca+"2")))
	if found, _ := x.Any(); !found {
		t.Error("the index says that nobody waits")
	}
	_, err := mail.WaitToken(context.Background(), []string{alice}, time.Now)
	must("wait for the token", err)
	_, err = mail.CountPending()
	must("count", err)
	must("note", mail.Note(p, "later", "no answer from the name server", time.Now()))
	_, err = issuer.WaitNote(context.Background(), "1", nil)
	must("wait for the note", err)
	must("alive", mail.Alive("mx1.example.test", time.Now()))
	if halves, err := issuer.MailHalves(); err != nil || len(halves) != 1 {
		t.Errorf("mail halves: %v, %v", halves, err)
	}
	must("give back", mustClaim(t, mail, p).GiveBack())
	must("failed", mustClaim(t, mail, p).Failed("550", time.Now()))
	c := mustClaim(t, mail, p)
	_, _, err = mail.AnswersWithin(time.Hour, ca, time.Now())
	must("count answers", err)
	must("sending", c.Sending())

	answered := make(chan error, 1)
	go func() {
		_, err := issuer.WaitAnswer(context.Background(), "1", &state.Answer{Phase: state.Failed})
		answered <- err
	}()
	must("sent", c.Sent(time.Now()))
	must("wait for the answer", <-answered)
	all, err := issuer.Answers(100)
	if must("answers", err); len(all) != 1 {
		t.Errorf("%d answers", len(all))
	}
	_, err = issuer.All(time.Now())
	must("all", err)
	must("remove", issuer.Remove(alice, ca, ""))
	must("forget", issuer.Forget(time.Hour, time.Now().Add(2*time.Hour)))
	if info, err := issuer.client.Info(context.Background(), "persistence", "memory").Result(); err != nil ||
		!strings.Contains(info, "aof_enabled:1") || !strings.Contains(info, "maxmemory_policy:noeviction") {
		t.Errorf("the configuration is not what the file says: %v", err)
	}
}

// Acknowledged writes survive a restart. Redis replays scripts as transactions of the default
// user, and loses them if that has no rights.
func TestRecipeSurvives(t *testing.T) {
	t.Parallel()
	server := recipe(t)
	issuer := open(t, "unix://postseal-issuer:issuer-password@"+server.Socket)
	mail := open(t, "unix://postseal-mail:mail-password@"+server.Socket)
	p := put(t, issuer, statetest.Record("1", alice, ca))
	if err := mustClaim(t, mail, p).Sent(time.Now()); err != nil {
		t.Fatal(err)
	}
	server.Stop() // after a crash, something of the last two seconds may be missing
	server.Restart()
	if found, err := mail.Pending(alice, time.Now()); err != nil || len(found) != 1 {
		t.Errorf("pending after a restart: %v, %v", found, err)
	}
	if a, err := issuer.Answer("1"); err != nil || a == nil || a.Phase != state.Sent {
		t.Errorf("the answer after a restart: %+v, %v", a, err)
	}
}

// The users can do nothing else: the server refuses each of these.
func TestRecipeForbids(t *testing.T) {
	t.Parallel()
	server := recipe(t)
	issuer := open(t, "unix://postseal-issuer:issuer-password@"+server.Socket)
	mail := open(t, "unix://postseal-mail:mail-password@"+server.Socket)
	p := put(t, issuer, statetest.Record("1", alice, ca))
	if err := mustClaim(t, mail, p).Sent(time.Now()); err != nil {
		t.Fatal(err)
	}
	anonymous := open(t, server.URL())
	for _, c := range []struct {
		who  *Store
		args []any
	}{
		{mail, []any{"HSET", mail.pendingKey(alice), ca, "{}"}},
		{mail, []any{"DEL", mail.pendingKey(alice)}},
		{mail, []any{"HDEL", mail.pendingKey(alice), ca}},
		{mail, []any{"ZADD", "{postseal}:pending", 1, "x"}},
		{mail, []any{"ZREM", "{postseal}:pending", alice}},
		{mail, []any{"DEL", "{postseal}:pending"}},
		{mail, []any{"SET", "{postseal}:since", 1}},
		{mail, []any{"DEL", mail.answerKey("1")}},
		{mail, []any{"UNLINK", mail.answerKey("1")}},
		{mail, []any{"EXPIRE", mail.answerKey("1"), 0}},
		{mail, []any{"HDEL", mail.answerKey("1"), "json"}},
		{mail, []any{"SET", mail.answerKey("1"), ""}},
		{mail, []any{"RENAME", mail.answerKey("1"), mail.answerKey("2")}},
		{mail, []any{"ZREM", "{postseal}:answers", "1"}},
		{mail, []any{"DEL", "{postseal}:answers"}},
		{mail, []any{"DEL", mail.noteKey("1")}},
		{mail, []any{"SET", mail.noteKey("1"), ""}},
		{mail, []any{"DEL", "{postseal}:alive"}},
		{mail, []any{"GET", "other"}},
		{mail, []any{"KEYS", "*"}},
		{mail, []any{"SCAN", 0}},
		{mail, []any{"EVAL", "return redis.call('SET', 'other', 1)", 0}},
		{mail, []any{"EVAL", "return redis.call('HSET', ARGV[1], 'x', '{}')", 0, mail.pendingKey(alice)}},
		{mail, []any{"EVAL", "return redis.call('DEL', KEYS[1])", 1, mail.answerKey("1")}},
		{mail, []any{"EVAL", "return 1", 1, mail.pendingKey(alice)}},
		{mail, []any{"FLUSHALL"}},
		{mail, []any{"CONFIG", "GET", "*"}},
		{mail, []any{"ACL", "LIST"}},
		{mail, []any{"SUBSCRIBE", "other"}},
		{mail, []any{"PUBLISH", "other", "x"}},
		{mail, []any{"REPLICAOF", "NO", "ONE"}},
		{issuer, []any{"HSET", issuer.answerKey("1"), "phase", "sent"}},
		{issuer, []any{"HSET", issuer.noteKey("1"), "json", "{}"}},
		{issuer, []any{"ZADD", "{postseal}:alive", 1, "x"}},
		{issuer, []any{"SET", issuer.lockKey("1"), "x"}},
		{issuer, []any{"SET", "other", 1}},
		{issuer, []any{"ZADD", "{postseal}:rate", 1, "x"}},
		{issuer, []any{"FLUSHDB"}},
		{issuer, []any{"CONFIG", "SET", "dir", "/tmp"}},
		{issuer, []any{"ACL", "SETUSER", "x"}},
		{issuer, []any{"MODULE", "LIST"}},
		{anonymous, []any{"PING"}},
	} {
		err := c.who.client.Do(context.Background(), c.args...).Err()
		inScript := err != nil && strings.Contains(err.Error(), "The user executing the script can't")
		if !goredis.HasErrorPrefix(err, "NOPERM") && !goredis.HasErrorPrefix(err, "NOAUTH") && !inScript {
			t.Errorf("%v: %v, want a refusal", c.args, err)
		}
	}
	if _, err := issuer.Claim(p, "<c>", "<r>", time.Now()); err == nil || errors.As(err, new(*state.DoneError)) {
		t.Errorf("the issuing half claims: %v", err)
	}
	if err := mail.Put(p); err == nil {
		t.Error("the mail half puts")
	}
	if a, err := issuer.Answer("1"); err != nil || a == nil || a.Phase != state.Sent {
		t.Errorf("after all that: %+v, %v", a, err)
	}
}
