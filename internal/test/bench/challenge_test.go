package bench

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postseal/internal/challenge"
	"postseal/internal/submit"
	"postseal/internal/test/mta"
	"postseal/internal/testca"
	"postseal/state"
)

// world is a DNS server with the CA's key and an SMTP server, on loopback.
type world struct{ dns, smtp string }

func newWorld(b *testing.B) world {
	b.Helper()
	ca, err := testca.Start(context.Background(), testca.Config{})
	check(b, err)
	b.Cleanup(func() { ca.Close() })
	ca.SetTXT(selector+"._domainkey."+caDomain, keyRecord(b))
	return world{ca.DNSAddr, mta.StartSink(b).Addr}
}

// clocked is a responder that knows how long it waited for others.
type clocked struct {
	*challenge.Responder
	waited time.Duration
}

func newClocked(b *testing.B, w world, dir *state.Dir) *clocked {
	b.Helper()
	server, err := submit.ParseServer("smtp://" + w.smtp)
	check(b, err)
	c := &clocked{Responder: &challenge.Responder{State: dir}}
	lookup := challenge.Resolver(w.dns)
	c.LookupTXT = func(ctx context.Context, name string) ([]string, error) {
		defer c.wait(time.Now())
		return lookup(ctx, name)
	}
	c.Send = func(ctx context.Context, env submit.Envelope, raw []byte, beforeDot func() error) error {
		defer c.wait(time.Now())
		return server.Send(ctx, env, raw, func() error {
			began := time.Now()
			defer func() { c.waited -= time.Since(began) }() // that is our own time
			return beforeDot()
		})
	}
	return c
}

func (c *clocked) wait(since time.Time) { c.waited += time.Since(since) }

const answers = 300

// BenchmarkChallenge is a challenge, from the mail to the reply.
func BenchmarkChallenge(b *testing.B) {
	once(b, func() {
		w, mail := newWorld(b), challengeMail(b)
		report.group(fmt.Sprintf("3. A challenge of 5 KB, DNS and SMTP on loopback; p50 and p95 of %d", answers))
		for _, where := range []string{onDisk, inMemory} {
			whole, own, cpu := answerAll(b, newClocked(b, w, stateWith(b, where, 0)), mail)
			report.quantiles("decision and reply, state in "+where, whole, "")
			report.quantiles("  beyond SMTP and DNS", own, "<= 3")
			report.add("  answers per core and second", "", []float64{1 / cpu}, nil, "")
		}
		report.quantiles("postseal-milter, MAIL to verdict", throughMilter(b, w, mail), "")
		verify(b, newClocked(b, w, stateWith(b, inMemory, 0)), mail)
	})
}

func (t *table) quantiles(name string, millis []float64, goal string) {
	t.add(name, "ms, p50", millis, nil, goal)
	t.add(name, "ms, p95", []float64{quantile(millis, 0.95)}, nil, "")
}

// answerAll returns how long each answer took, how much of that was neither SMTP
// nor DNS, in ms, and the processor time of one in seconds, the servers' included.
func answerAll(b *testing.B, c *clocked, mail []byte) (whole, own []float64, cpu float64) {
	for i := range answers + 10 {
		check(b, c.State.Put(record(strconv.Itoa(i), alice)))
		c.waited = 0
		cpuBefore, began := ownCPU(b), time.Now()
		out := c.Answer(context.Background(), challenge.Message{Raw: mail})
		took := time.Since(began)
		if out.Verdict != challenge.Answered {
			b.Fatal(out.Verdict, out.Reason)
		}
		if i < 10 {
			continue
		}
		cpu += ownCPU(b) - cpuBefore
		whole = append(whole, took.Seconds()*1e3)
		own = append(own, (took-c.waited).Seconds()*1e3)
	}
	return whole, own, cpu / answers
}

func ownCPU(b *testing.B) float64 {
	var ts unix.Timespec
	check(b, unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts))
	return time.Duration(ts.Nano()).Seconds()
}

// throughMilter returns how long a mail server waits for the verdict, in ms.
func throughMilter(b *testing.B, w world, mail []byte) (millis []float64) {
	dir := stateWith(b, onDisk, 0)
	socket := filepath.Join(shortDir(b, inMemory), "s")
	p := start(b, socket, program(b, "postseal-milter"), "--listen", "unix:"+socket, "--state", dir.Path(),
		"--smtp", "smtp://"+w.smtp, "--resolver", w.dns)
	fields, text, _ := bytes.Cut(mail, []byte("\r\n\r\n"))
	for i := range answers + 10 {
		check(b, dir.Put(record(strconv.Itoa(i), alice)))
		began := time.Now()
		check(b, deliver(p.socket, fields, text))
		if i >= 10 {
			millis = append(millis, time.Since(began).Seconds()*1e3)
		}
		if a, err := dir.Answer(strconv.Itoa(i)); err != nil || a == nil || a.Phase != state.Sent {
			b.Fatalf("answer %+v, %v", a, err)
		}
	}
	return millis
}

// deliver hands a message to a milter over a connection of its own.
func deliver(socket string, fields, text []byte) error {
	c, err := dial(socket)
	if err != nil {
		return err
	}
	defer c.Close()
	var send []byte
	for _, field := range bytes.Split(bytes.ReplaceAll(fields, []byte("\r\n "), []byte("\n ")), []byte("\r\n")) {
		name, value, _ := bytes.Cut(field, []byte(":"))
		send = append(send, packet('L', string(name)+"\x00"+string(value)+"\x00")...)
	}
	verdicts := ""
	for _, step := range [][]byte{envelope, append(send, packet('N', "")...), append(packet('B', string(text)), packet('E', "")...)} {
		code, err := c.exchange(step)
		if err != nil {
			return err
		}
		verdicts += string(code)
	}
	if verdicts != "cca" {
		return errors.New("replies " + verdicts)
	}
	return c.end()
}

// verify compares the decision, key at hand, with what no verifier can go below.
func verify(b *testing.B, c *clocked, mail []byte) {
	check(b, c.State.Put(record("1", alice)))
	text := keyRecord(b)
	c.LookupTXT = func(context.Context, string) ([]string, error) { return []string{text}, nil }
	sum := sha256.Sum256(mail)
	sig, err := rsa.SignPKCS1v15(nil, signingKey(), crypto.SHA256, sum[:])
	check(b, err)
	decide := func() {
		if out, _ := c.Compose(context.Background(), challenge.Message{Raw: mail}); out.Verdict != challenge.Answered {
			b.Fatal(out.Verdict, out.Reason)
		}
	}
	bare := func() {
		sum := sha256.Sum256(mail)
		check(b, rsa.VerifyPKCS1v15(&signingKey().PublicKey, crypto.SHA256, sum[:], sig))
	}
	ours, floor := inTurn(decide, bare, 200)
	report.add("parse, match, verify DKIM, write the reply", "µs", ours, floor, "")
	report.add("one RSA-2048 verification and SHA-256", "µs", floor, nil, "")
}

// inTurn times two functions, n calls of each in a round, in µs for each call.
func inTurn(f, g func(), n int) (a, b []float64) {
	for round := range rounds + 1 {
		x, y := perCall(f, n), perCall(g, n)
		if round > 0 {
			a, b = append(a, x), append(b, y)
		}
	}
	return a, b
}

func perCall(f func(), n int) (micros float64) {
	began := time.Now()
	for range n {
		f()
	}
	return time.Since(began).Seconds() * 1e6 / float64(n)
}
