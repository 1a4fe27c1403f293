package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"postseal/internal/test/statetest"
	"postseal/state"
)

// A compromised mail half writes whatever users.acl lets it. The issuing half names that,
// leaves it out, and reads on; other mail halves go on answering.
func TestHostileMailHalf(t *testing.T) {
	t.Parallel()
	server := recipe(t)
	issuer := open(t, "unix://postseal-issuer:issuer-password@"+server.Socket)
	mail := open(t, "unix://postseal-mail:mail-password@"+server.Socket)
	var named atomic.Int32
	issuer.Damaged = func(key string, err error) {
		if named.Add(1); len(key) > 100 || len(err.Error()) > 200 {
			t.Errorf("%.200q is named with %.300q", key, err)
		}
	}
	good, bad := put(t, issuer, statetest.Record("good", alice, ca)), put(t, issuer, statetest.Record("bad", "bob@example.test", ca))
	if err := mustClaim(t, mail, good).Sent(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := mail.Note(good, "refused", "whatever", time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := mail.Alive("mx.example.test", time.Now()); err != nil {
		t.Fatal(err)
	}

	huge := strings.Repeat("x", 2*maxReply)
	write := func(args ...any) {
		t.Helper()
		if err := mail.client.Do(context.Background(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	write("HSET", mail.answerKey("bad"), "json", huge, "phase", "failed")
	write("HSET", mail.noteKey("bad"), "json", huge, "count", huge)
	write("ZADD", "{postseal}:answers", 1e15, huge, 1e15, "bad")
	write("ZADD", "{postseal}:alive", 1e12, huge)
	for n, score := range []any{1e15, 253402300800000, math.Inf(1), math.Inf(-1), -1e300} {
		write("ZADD", "{postseal}:alive", score, fmt.Sprint("mx", n))
	}

	if a, err := issuer.Answer("bad"); a != nil || err != nil {
		t.Errorf("the huge answer: %v, %v", a, err)
	}
	if all, err := issuer.Answers(20); err != nil || len(all) != 1 || all[0].ID != "good" {
		t.Errorf("answers: %v, %v", all, err)
	}
	if notes, err := issuer.Notes([]string{"bad", "good"}); err != nil || len(notes) != 1 || notes[0].ID != "good" || notes[0].Count != 1 {
		t.Errorf("notes: %v, %v", notes, err)
	}
	halves, err := issuer.MailHalves()
	if err != nil || len(halves) != 2 {
		t.Errorf("mail halves: %v, %v", halves, err)
	}
	if _, err := json.Marshal(halves); err != nil {
		t.Errorf("a forged sign of life cannot be told as JSON: %v", err)
	}
	if named.Load() != 3 {
		t.Errorf("%d keys were named, want the answer, the note and the signs of life", named.Load())
	}
	if err := mustClaim(t, mail, bad).GiveBack(); err != nil {
		t.Errorf("another mail half: %v", err)
	}
}

// A mail half can make answers as fast as they are removed. This keeps no command running.
func TestForgetEnds(t *testing.T) {
	t.Parallel()
	server := recipe(t)
	issuer := open(t, "unix://postseal-issuer:issuer-password@"+server.Socket)
	mail := open(t, "unix://postseal-mail:mail-password@"+server.Socket)
	const fill = "for n = 1, 3000 do redis.call('ZADD', KEYS[1], 1, ARGV[1] .. n) end"
	for n := range 10 {
		if err := mail.client.Eval(context.Background(), fill, []string{"{postseal}:answers"}, n).Err(); err != nil && err.Error() != "redis: nil" {
			t.Fatal(err)
		}
	}
	if err := issuer.Forget(time.Hour, time.Now()); err != nil {
		t.Fatal(err)
	}
	left, err := issuer.client.ZRange(context.Background(), "{postseal}:answers", 0, -1).Result()
	if err != nil || len(left) != 30_000-mostForgotten {
		t.Errorf("%d are left, %v; want that it removed %d", len(left), err, mostForgotten)
	}
}

// A server that lies, or somebody in between, ends no program: the library allocates any
// length that a server announces.
func TestHostileServer(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]string{
		"negative":      "*2\r\n$-9\r\n",
		"huge":          "*2\r\n$9223372036854775800\r\n",
		"large":         "*2\r\n$3000000000\r\n",
		"many":          "*2000000000\r\n",
		"many pairs":    "%2000000000\r\n",
		"deep":          strings.Repeat("*1\r\n", 1<<20),
		"in pieces":     "*262144\r\n" + strings.Repeat("$1000000\r\n"+strings.Repeat("x", 1000000)+"\r\n", 20),
		"an attribute":  "|1\r\n$1\r\nx\r\n$1\r\nx\r\n",
		"endless line":  "+" + strings.Repeat("x", 1<<20),
		"endless error": "-ERR " + strings.Repeat("x", 1<<20),
		"no number":     "*x\r\n",
		"no reply":      "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, "redis://"+liar(t, reply))
			if found, err := s.Pending(alice, time.Now()); err == nil {
				t.Errorf("pending: %v", found)
			}
			if _, err := s.Answer("1"); err == nil {
				t.Error("an answer")
			}
			if _, err := s.MailHalves(); err == nil {
				t.Error("mail halves")
			}
			if c, err := s.Claim(statetest.Record("1", alice, ca), "<c>", "<r>", time.Now()); err == nil {
				t.Errorf("a claim: %v", c)
			}
			x := s.Index()
			defer x.Close()
			if found, err := x.Any(); !found || err == nil {
				t.Errorf("somebody waits: %v, %v", found, err)
			}
		})
	}
}

// The bounds hold for each reply, not for a connection.
func TestReplyBounds(t *testing.T) {
	large := fmt.Sprintf("$%d\r\n%s\r\n", maxString, strings.Repeat("x", maxString))
	many := fmt.Sprintf("*%d\r\n%s", maxElements-1, strings.Repeat(":1\r\n", maxElements-1))
	for name, c := range map[string]struct {
		reply string
		times int
		ok    bool
	}{
		"large":            {large, 3 * maxReply / maxString, true},
		"many":             {many, 3, true},
		"deep":             {strings.Repeat("*1\r\n", maxDepth) + ":1\r\n", 100, true},
		"too deep":         {strings.Repeat("*1\r\n", maxDepth+1) + ":1\r\n", 1, false},
		"too long":         {"+" + strings.Repeat("x", maxLine), 1, false},
		"too large":        {fmt.Sprintf("$%d\r\n", maxString+1), 1, false},
		"too large in all": {"*17\r\n" + strings.Repeat(large, maxReply/maxString), 1, false},
		"too many":         {fmt.Sprintf("*%d\r\n", maxElements+1), 1, false},
		"too many in all":  {"*2\r\n" + many + many, 1, false},
		"negative":         {"$-2\r\n", 1, false},
	} {
		b, err := new(bounded), error(nil)
		for range c.times {
			if err == nil {
				err = b.look([]byte(c.reply))
			}
		}
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// liar is a server with the same reply to each command.
func liar(t *testing.T, reply string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for b := make([]byte, 64<<10); ; {
					if _, err := c.Read(b); err != nil {
						return
					}
					if _, err := c.Write([]byte(reply)); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// What a mail half forges ends by itself, so that nobody has to clean up after it: the counts
// of replies within hours, signs of life once another mail half reports one.
func TestForgedScores(t *testing.T) {
	t.Parallel()
	server := recipe(t)
	issuer := open(t, "unix://postseal-issuer:issuer-password@"+server.Socket)
	mail := open(t, "unix://postseal-mail:mail-password@"+server.Socket)
	p := put(t, issuer, statetest.Record("1", alice, ca))
	if err := mustClaim(t, mail, p).Sent(time.Now()); err != nil {
		t.Fatal(err)
	}
	for n := range 2 * state.MostHalves {
		for _, key := range []string{"{postseal}:alive", "{postseal}:rate", mail.rateKey(ca), "{postseal}:answers"} {
			if err := mail.client.ZAdd(context.Background(), key, goredis.Z{Score: math.Inf(1), Member: fmt.Sprint("mx", n)}).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if all, toCA, err := mail.AnswersWithin(time.Hour, ca, time.Now()); all != 1 || toCA != 1 || err != nil {
		t.Errorf("%d and %d claims, %v, want 1", all, toCA, err)
	}
	if err := mail.Alive("mx.example.test", time.Now()); err != nil {
		t.Fatal(err)
	}
	if halves, err := issuer.MailHalves(); err != nil || len(halves) != 1 || halves[0].Host != "mx.example.test" {
		t.Errorf("mail halves: %v, %v", halves, err)
	}
	if err := issuer.Forget(time.Hour, time.Now()); err != nil {
		t.Fatal(err)
	}
	if ids, err := issuer.client.ZRange(context.Background(), "{postseal}:answers", 0, -1).Result(); err != nil || len(ids) != 1 {
		t.Errorf("answers: %v, %v", ids, err)
	}
	if a, err := issuer.Answer("1"); err != nil || a == nil || a.Phase != state.Sent {
		t.Errorf("the real answer: %+v, %v", a, err)
	}
}
