package hosts

import (
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"postseal/internal/mta"
)

// redis is a redis-server on the hub that writes each command to disk.
type redis struct {
	t    *testing.T
	dir  string
	cmd  *exec.Cmd
	log  mta.Output
	addr string
}

func startRedis(t *testing.T) *redis {
	t.Helper()
	r := &redis{t: t, dir: t.TempDir(), addr: hub + ":6379"}
	r.start()
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("redis-server said:\n%s", r.log.String())
		}
	})
	return r
}

func (r *redis) start() {
	r.t.Helper()
	r.cmd = exec.Command("redis-server", "--bind", hub, "--port", "6379", "--protected-mode", "no",
		"--dir", r.dir, "--appendonly", "yes", "--save", "")
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	r.cmd.Stdout, r.cmd.Stderr = &r.log, &r.log
	if err := r.cmd.Start(); err != nil {
		r.t.Fatalf("%v (Debian package redis-server)", err)
	}
	mta.WaitFor(r.t, "redis-server", func() bool {
		conn, err := net.DialTimeout("tcp", r.addr, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (r *redis) stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	_ = r.cmd.Wait() // it says what it wants about being told to
}

// report prints what it was asked to do since it started.
func (r *redis) report(certs int) {
	out, err := exec.Command("redis-cli", "-h", hub, "info", "commandstats").CombinedOutput()
	if err != nil {
		r.t.Errorf("redis-cli: %v: %s", err, out)
		return
	}
	text := regexp.MustCompile(`cmdstat_([a-z|]+):calls=(\d+),usec=(\d+)`)
	var calls, usec int
	var each []string
	for _, m := range text.FindAllStringSubmatch(string(out), -1) {
		n, _ := strconv.Atoi(m[2])
		us, _ := strconv.Atoi(m[3])
		each = append(each, m[1]+" "+m[2])
		switch m[1] { // what scripts call is counted too
		case "evalsha", "eval", "hgetall", "zcount", "publish", "ping", "zrange", "zremrangebyscore", "subscribe":
			calls, usec = calls+n, usec+us
		}
	}
	r.t.Logf("redis-server was asked %d times for %d certificates, %d us: %s", calls, certs, usec, strings.Join(each, ", "))
}
