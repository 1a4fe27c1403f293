package bench

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// piped is a program that reads a message from stdin.
type piped struct {
	name, goal  string
	args        []string
	millis, cpu []float64
}

// run returns how long the program took from fork to exit, and its user and system time,
// in ms.
func (x *piped) run(b *testing.B, mail []byte) (took, cpu float64) {
	cmd := exec.Command(x.args[0], x.args[1:]...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(mail), &out, &out
	began := time.Now()
	if err := cmd.Run(); err != nil {
		b.Fatalf("%v: %v\n%s", x.args, err, out.Bytes())
	}
	took = time.Since(began).Seconds() * 1e3
	return took, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds() * 1e3
}

// BenchmarkPipe is a process for each message.
func BenchmarkPipe(b *testing.B) {
	once(b, func() {
		mail := ordinaryMail(b)
		all := pipes(b)
		for i := range 110 {
			for _, x := range all {
				if took, cpu := x.run(b, mail); i >= 10 {
					x.millis, x.cpu = append(x.millis, took), append(x.cpu, cpu)
				}
			}
		}
		report.group("4. A process for each message: fork, exec, read 5.3 KB, exit; 100 rounds")
		for _, x := range all {
			report.add(x.name, "ms", x.millis, all[0].millis, x.goal)
			report.add("", "ms of CPU", x.cpu, all[0].cpu, x.goal)
		}
		report.quantiles("postseal-pipe, a challenge", pipeChallenge(b), "<= 15")
	})
}

func pipes(b *testing.B) []*piped {
	rc := filepath.Join(shortDir(b, inMemory), "procmailrc")
	check(b, os.WriteFile(rc, []byte("DEFAULT=/dev/null\n"), 0o600))
	conf := filepath.Join(shortDir(b, inMemory), "postseal.toml")
	check(b, os.WriteFile(conf, []byte("smtp = \"smtp://localhost:25\"\n"), 0o600))
	pipe := program(b, "postseal-pipe")
	all := []*piped{
		{name: "static Go program that reads stdin", args: []string{program(b, "reader")}},
		{name: "postseal-pipe", goal: "<= 2.2", args: []string{pipe}},
		{name: "postseal-pipe --config", args: []string{pipe, "--config", conf}},
	}
	for _, other := range [][]string{{"procmail", "-m", rc}, {"python3", "-c", "import sys; sys.stdin.buffer.read()"}} {
		if path, err := exec.LookPath(other[0]); err == nil {
			all = append(all, &piped{name: other[0], args: append([]string{path}, other[1:]...)})
		} else {
			report.say("%s is not installed", other[0])
		}
	}
	return all
}

// pipeChallenge returns how long it takes to answer, in ms.
func pipeChallenge(b *testing.B) (millis []float64) {
	w, mail, dir := newWorld(b), challengeMail(b), stateWith(b, onDisk, 0)
	x := piped{args: []string{program(b, "postseal-pipe"), "--state", dir.Path(), "--smtp", "smtp://" + w.smtp, "--resolver", w.dns}}
	for i := range 110 {
		check(b, dir.Put(record(strconv.Itoa(i), alice)))
		took, _ := x.run(b, mail)
		if i >= 10 {
			millis = append(millis, took)
		}
		if a, err := dir.Answer(strconv.Itoa(i)); err != nil || a == nil || a.Phase != "sent" {
			b.Fatalf("answer %+v, %v", a, err)
		}
	}
	return millis
}
