//go:build packages

package release

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"postseal/internal/test/machine"
)

// restarts of socket and service, for each door, while somebody swaps the socket.
const restarts = 200

// The user postseal, who reads what strangers send, has been taken over, and puts a link
// to a file of root in the place of everything that root makes where the socket is:
// systemd changes owner and mode of a socket by its name.
func TestPackageSwap(t *testing.T) {
	if !machine.Inside() {
		t.Parallel()
		dir, err := kit.Path()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := machine.Run(t, machine.Spec{Image: "package", Kit: dir, Boot: true, Limit: 10 * time.Minute}); err != nil {
			t.Fatal(err)
		}
		return
	}
	a := &admin{T: t, booted: true}
	a.must(os.Remove("/usr/sbin/policy-rc.d"))
	a.sh("dpkg -i " + inKit(testVersion))
	a.sh("groupadd --system postfix; groupadd --system smmsp; mkdir -p /var/spool/postfix; echo canary >/root/canary; chmod 600 /root/canary")
	for _, unit := range []string{"postseal-milter.socket", "postseal-milter.service"} {
		dir := "/etc/systemd/system/" + unit + ".d"
		a.must(os.MkdirAll(dir, 0o755))
		a.must(os.WriteFile(dir+"/often.conf", []byte("[Unit]\nStartLimitIntervalSec=0\n"), 0o644))
	}
	for _, door := range []struct{ name, socket, group string }{
		{"postfix", "/var/spool/postfix/postseal/milter.sock", "postfix"},
		{"sendmail", "/run/postseal/milter.sock", "smmsp"},
	} {
		t.Run(door.name, func(t *testing.T) {
			b := a.with(t)
			b.sh("postseal init -n --agree-tos --via " + door.name + " && systemctl daemon-reload")
			b.swap(door.socket)
			b.sh("systemctl restart postseal-milter.socket")
			b.want(door.socket, b.sh("stat -c '%F %a %U:%G' "+door.socket), "socket 660 postseal:"+door.group)
			b.speaks(door.socket)
			b.sh("systemctl stop postseal-milter.socket postseal-milter.service")
		})
	}
}

// swapper is what runs as postseal: in each directory it makes a link of whatever is
// called like the socket, as often as it can.
const swapper = `
my ($dir, @targets) = @ARGV;
for (my $i = 0; ; $i++) {
	chdir $dir or next;
	if (-l "milter.sock") { next unless $i % 200000 == 0; unlink "milter.sock"; next }
	next unless -e "milter.sock";
	rename "milter.sock", "away" or unlink "milter.sock";
	symlink $targets[$i % @targets], "milter.sock";
}`

// swap restarts socket and service while two swappers run, and wants that nothing of
// root's changes.
func (a *admin) swap(socket string) {
	a.Helper()
	canaries := "stat -c '%n %F %a %U:%G %Y' /etc/shadow /root /root/canary /etc /usr/bin/postseal && sha256sum /etc/shadow /root/canary"
	before := a.sh(canaries)
	for range 2 {
		cmd := exec.Command("setpriv", "--reuid=postseal", "--regid=postseal", "--init-groups", "perl", "-e", swapper, "--",
			filepath.Dir(socket), "/etc/shadow", "/root/canary")
		a.must(cmd.Start())
		a.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
	for n := range restarts {
		_ = exec.Command("systemctl", "restart", "postseal-milter.socket", "postseal-milter.service").Run()
		if now := a.sh(canaries); now != before {
			a.Fatalf("after %d restarts:\n%s\nwas\n%s", n+1, now, before)
		}
	}
	a.Logf("%s: %d restarts of socket and service, nothing of root's changed", socket, restarts)
}

// speaks wants a milter behind a socket: it answers the offer of options.
func (a *admin) speaks(socket string) {
	a.Helper()
	conn, err := net.Dial("unix", socket)
	a.must(err)
	defer conn.Close()
	offer := []byte{0, 0, 0, 13, 'O'}
	for _, n := range []uint32{6, 0x1ff, 0x1fffff} {
		offer = binary.BigEndian.AppendUint32(offer, n)
	}
	_, err = conn.Write(offer)
	a.must(err)
	answer := make([]byte, 5)
	_, err = io.ReadFull(conn, answer)
	a.must(err)
	a.want(socket, string(answer[4:]), "O")
}
