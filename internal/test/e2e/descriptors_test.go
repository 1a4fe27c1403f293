package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	"postseal/internal/test/mta"
	"postseal/internal/testca"
)

// The usual 1,024 descriptors, used up by connections: postseal-milter says so, serves
// those who are connected, puts a challenge off that it cannot answer without one, and
// takes everybody again when there are some.
func TestThousandDescriptors(t *testing.T) {
	t.Parallel()
	y := newYard(t, testca.Config{Strict: true})
	const limit = 1024
	cmd := y.milterCommand(y.dir)
	args := append([]string{"-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, limit), "sh", cmd.Path}, cmd.Args[1:]...)
	limited := exec.Command("/bin/sh", append(args, "--max-connections", "2000")...)
	limited.Env, limited.Dir, limited.SysProcAttr = cmd.Env, cmd.Dir, cmd.SysProcAttr
	y.runMilter(limited, y.dir)
	msg, done := y.pendingMail(alice)

	early, err := y.client(0x1fffff).Session() // connected before the crowd
	y.must(err)
	defer early.Close()
	crowd := y.crowd(limit + 100)
	mta.WaitFor(t, "the log", func() bool { return strings.Contains(y.log.String(), "too many open files") })
	if action, err := show(early, "", alice, msg); action != milter.ActReplyCode {
		t.Errorf("a challenge without a descriptor: %q, %v, want a 4xx", byte(action), err)
	}
	if action, err := show(early, "bob@example.test", alice, []byte(lunch)); action != milter.ActAccept {
		t.Errorf("ordinary mail on an old connection: %q, %v", byte(action), err)
	}
	for _, conn := range crowd {
		conn.Close()
	}
	y.wantOrdinaryMail()
	y.must(y.milter("", alice, msg))
	done()
	y.wantReplies(testca.VerdictGood)
	lines := strings.Count(y.log.String(), "too many open files")
	if lines > 20 {
		t.Errorf("%d lines about it", lines)
	}
	t.Logf("%d connections, %d descriptors: 1 challenge put off, %d lines in the log, then 1 reply", len(crowd), limit, lines)
}

// crowd are connections that say nothing.
func (y *yard) crowd(n int) (conns []net.Conn) {
	y.t.Helper()
	for range n {
		conn, err := net.DialTimeout("unix", y.socket, time.Second)
		if err != nil {
			break // the backlog of the socket is full, too
		}
		conns = append(conns, conn)
	}
	return conns
}
