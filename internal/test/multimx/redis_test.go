package multimx

import (
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"postseal/internal/test/redistest"
)

const redisPort = 6379

// startRedis starts a redis-server on the hub that writes each command to disk.
func startRedis(t *testing.T) *redistest.Server {
	t.Helper()
	return redistest.OnPort(t, redisPort, "bind "+hub, "appendonly yes")
}

// reportRedis prints what it was asked to do since it started.
func (s *site) reportRedis(certs int) {
	out, err := exec.Command("redis-cli", "-s", s.redis.Socket, "info", "commandstats").CombinedOutput()
	if err != nil {
		s.t.Errorf("redis-cli: %v: %s", err, out)
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
	s.t.Logf("redis-server was asked %d times for %d certificates, %d us: %s", calls, certs, usec, strings.Join(each, ", "))
}
