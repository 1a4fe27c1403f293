package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"postseal/internal/test/mta"
)

// behind is a Postfix with a milter, and what was measured of them.
type behind struct {
	name      string
	goal      string
	post      *mta.Instance
	milter    *process // nil for none
	messages  int      // in a round
	rate, cpu []float64
	rss       []float64
}

// newBehind starts a Postfix whose milter run starts at the socket it is given.
func newBehind(b *testing.B, name, goal string, run func(socket string) *process) *behind {
	b.Helper()
	x := &behind{name: name, goal: goal, messages: 1000}
	config := mta.Postfix{Users: []string{"alice"}, Transport: "discard:"}
	if run != nil {
		config.Milters = "unix:postseal/s"
	}
	x.post = mta.StartPostfix(b, config)
	if run != nil {
		x.milter = run(filepath.Join(x.post.SocketDir(os.Getuid()), "s"))
	}
	return x
}

// round sends messages, each over a connection of its own.
func (x *behind) round(b *testing.B, file string, count bool) {
	before := 0.0
	if x.milter != nil {
		before = x.milter.cpu(b)
	}
	start := time.Now()
	out, err := exec.Command("smtp-source", "-s", "8", "-m", strconv.Itoa(x.messages), "-F", file,
		"-f", "bob@"+caDomain, "-t", alice, x.post.SMTPAddr).CombinedOutput()
	if err != nil {
		b.Fatalf("smtp-source: %v\n%s", err, out)
	}
	took := time.Since(start).Seconds()
	x.post.WaitEmpty()
	if !count {
		return
	}
	x.rate = append(x.rate, float64(x.messages)/took)
	if x.milter != nil {
		x.cpu = append(x.cpu, (x.milter.cpu(b)-before)*1000/float64(x.messages))
		x.rss = append(x.rss, x.milter.rss(b))
	}
}

func startPostseal(b testing.TB, socket, dir string) *process {
	return start(b, socket, program(b, "postseal-milter"), "--listen", "unix:"+socket, "--state", dir, "--socket-mode", "0666")
}

// BenchmarkPostfix is ordinary mail through a mail server.
func BenchmarkPostfix(b *testing.B) {
	once(b, func() {
		mail := filepath.Join(shortDir(b, inMemory), "mail")
		check(b, os.WriteFile(mail, bytes.ReplaceAll(ordinaryMail(b), []byte("\r\n"), []byte("\n")), 0o644))
		postseal := func(pending int) func(string) *process {
			return func(socket string) *process { return startPostseal(b, socket, stateWith(b, inMemory, pending).Path()) }
		}
		all := []*behind{
			newBehind(b, "no milter", "", nil),
			newBehind(b, "C, libmilter, accepts at MAIL", "", func(socket string) *process {
				return start(b, socket, program(b, "accept"), "unix:"+socket)
			}),
			newBehind(b, "C, libmilter, accepts at the end of header", "", func(socket string) *process {
				return start(b, socket, program(b, "accept"), "unix:"+socket, "fields")
			}),
			newBehind(b, "postseal-milter, nothing pending", "<= 0.4", postseal(0)),
			newBehind(b, "postseal-milter, 1 pending", "<= 0.6", postseal(1)),
			newBehind(b, "postseal-milter, 10,000 pending", "<= 0.6", postseal(10_000)),
		}
		if _, err := exec.LookPath("opendkim"); err == nil {
			opendkim := newBehind(b, "opendkim, verifying", "", func(socket string) *process { return startOpenDKIM(b, socket) })
			opendkim.messages = 300
			all = append(all, opendkim)
		}
		for round := range rounds + 1 {
			for _, x := range all {
				x.round(b, mail, round > 0)
			}
		}
		report.postfix(all)
	})
}

func (t *table) postfix(all []*behind) {
	t.group("1. Ordinary mail of 5.3 KB and 25 fields through Postfix, a connection for each message")
	c := all[1]
	for _, x := range all {
		t.add(x.name, "milter CPU s/1,000", x.cpu, c.cpu, x.goal)
	}
	for _, x := range all {
		goal := ""
		if x.goal != "" {
			goal = ">= 0.97"
		}
		t.add(x.name, "messages/s", x.rate, c.rate, goal)
	}
	for _, x := range all {
		goal := ""
		if x.goal == "<= 0.4" {
			goal = "<= 15"
		}
		t.add(x.name, "RSS MB", x.rss, nil, goal)
	}
	if len(all) < 7 {
		t.say("opendkim is not installed: apt-get install opendkim")
	}
}

// startOpenDKIM starts a verifier that has the key at hand.
func startOpenDKIM(b *testing.B, socket string) *process {
	dir := shortDir(b, inMemory)
	keys, conf := filepath.Join(dir, "keys"), filepath.Join(dir, "conf")
	check(b, os.WriteFile(keys, []byte(selector+"._domainkey."+caDomain+" "+keyRecord(b)+"\n"), 0o644))
	text := fmt.Sprintf("Mode v\nTestPublicKeys %s\nSyslog no\nOn-BadSignature accept\nPidFile %s/pid\n", keys, dir)
	check(b, os.WriteFile(conf, []byte(text), 0o644))
	path, err := exec.LookPath("opendkim")
	check(b, err)
	return start(b, socket, path, "-f", "-x", conf, "-p", "unix:"+socket)
}
